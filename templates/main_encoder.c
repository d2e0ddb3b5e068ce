/* A small program around the model.
 *
 *   model ID ID …      prints the vector of these tokens, its numbers as the bits of floats
 *   model --selftest   compares a vector with golden.h: one line PASS or FAIL; exits with 0 or 4
 *
 * On a bare machine, which calls main(0, NULL), it is the self-test; so it is without arguments.
 */
#include "golden.h"
#include "hal.h"
#include "model.h"

static float embedding[EDGEC_EMBEDDING];

static void print_unsigned(uint32_t value) {
    char text[11];
    char *p = text + sizeof text;
    *--p = '\0';
    do {
        *--p = (char)('0' + value % 10u);
        value /= 10u;
    } while (value > 0);
    hal_print(p);
}

static int same(const char *a, const char *b) {
    while (*a != '\0' && *a == *b) {
        a++, b++;
    }
    return *a == *b;
}

/* FNV-1a, 32 bits. */
static uint32_t fnv(const void *data, uint32_t bytes) {
    const uint8_t *p = data;
    uint32_t hash = 2166136261u;
    for (uint32_t i = 0; i < bytes; i++) {
        hash = (hash ^ p[i]) * 16777619u;
    }
    return hash;
}

static int selftest(void) {
    model_encode(GOLDEN_PROMPT, GOLDEN_PROMPT_COUNT, embedding);
    const uint32_t hash = fnv(embedding, sizeof embedding);
    if (hash != GOLDEN_EMBEDDING_FNV) {
        hal_print("FAIL: the hash of the vector is ");
        print_unsigned(hash);
        hal_print(", golden is ");
        print_unsigned(GOLDEN_EMBEDDING_FNV);
        hal_print("\n");
        return 4;
    }
    hal_print("PASS: a vector of ");
    print_unsigned(EDGEC_EMBEDDING);
    hal_print(" numbers agrees bit for bit\n");
    return 0;
}

/* The token id in decimal, or -1. */
static int32_t parse(const char *text) {
    int32_t value = 0;
    if (*text == '\0') {
        return -1;
    }
    for (; *text != '\0'; text++) {
        if (*text < '0' || *text > '9' || value >= (int32_t)EDGEC_VOCAB) {
            return -1;
        }
        value = 10 * value + (*text - '0');
    }
    return value < (int32_t)EDGEC_VOCAB ? value : -1;
}

static void print_hex(uint32_t value) {
    char text[10];
    text[8] = ' ';
    text[9] = '\0';
    for (uint32_t i = 0; i < 8u; i++) {
        text[7u - i] = "0123456789abcdef"[value >> (4u * i) & 15u];
    }
    hal_print(text);
}

int main(int argc, char **argv) {
    static int32_t tokens[EDGEC_CONTEXT];
    uint32_t count = 0;
    hal_init();
    if (argc < 2 || (argc == 2 && same(argv[1], "--selftest"))) {
        return selftest();
    }
    for (int i = 1; i < argc; i++) {
        const int32_t token = parse(argv[i]);
        if (token < 0 || count == EDGEC_CONTEXT) {
            hal_print(token < 0 ? "not a token id: " : "the context is too short for the text; from: ");
            hal_print(argv[i]);
            hal_print("\n");
            return 2;
        }
        tokens[count++] = token;
    }
    model_encode(tokens, count, embedding);
    for (uint32_t i = 0; i < EDGEC_EMBEDDING; i++) {
        const union {
            float number;
            uint32_t bits;
        } value = {.number = embedding[i]};
        print_hex(value.bits);
    }
    hal_print("\n");
    return 0;
}
