/* A small program around the model.
 *
 *   model ID ID …      reads these tokens and prints those that it writes about them
 *   model --selftest   compares tokens and logits with golden.h: one line PASS or FAIL; exits with 0 or 4
 *
 * On a bare machine, which calls main(0, NULL), it is the self-test; so it is without arguments.
 */
#include "golden.h"
#include "hal.h"
#include "model.h"

#define NEW_TOKENS 16u

static const int32_t START[EDGEC_START_COUNT] = EDGEC_START;

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

static void print_token(int32_t token) {
    if (token < 0) {
        hal_print("-");
    }
    print_unsigned(token < 0 ? 0u - (uint32_t)token : (uint32_t)token);
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

/* The first token that is written about a source, greedily. */
static int32_t begin(const int32_t *tokens, uint32_t count) {
    model_sampling(0.0f, 0, 1.0f, 0);
    return model_encode(tokens, count) < 0 ? -1 : model_prefill(START, EDGEC_START_COUNT);
}

static int selftest(void) {
    int32_t token = begin(GOLDEN_SOURCE, GOLDEN_SOURCE_COUNT);
    for (uint32_t i = 0; i < GOLDEN_COUNT; i++) {
        if (i > 0) {
            token = model_decode(token);
        }
        if (token != GOLDEN_TOKENS[i]) {
            hal_print("FAIL: new token ");
            print_unsigned(i);
            hal_print(" is ");
            print_token(token);
            hal_print(", golden is ");
            print_token(GOLDEN_TOKENS[i]);
            hal_print("\n");
            return 4;
        }
    }
    const uint32_t hash = fnv(model_logits(), EDGEC_VOCAB * (uint32_t)sizeof(float));
    if (hash != GOLDEN_LOGITS_FNV) {
        hal_print("FAIL: the tokens agree, the hash of the last logits is ");
        print_unsigned(hash);
        hal_print(", golden is ");
        print_unsigned(GOLDEN_LOGITS_FNV);
        hal_print("\n");
        return 4;
    }
    hal_print("PASS: ");
    print_unsigned(GOLDEN_COUNT);
    hal_print(" tokens and the last logits agree bit for bit\n");
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
    int32_t token = begin(tokens, count);
    for (uint32_t i = 0; token >= 0 && i < NEW_TOKENS; i++) {
        print_token(token);
        hal_print(i + 1 < NEW_TOKENS ? " " : "\n");
        token = i + 1 < NEW_TOKENS ? model_decode(token) : token;
    }
    if (token < 0) {
        hal_print("\nthe context is full\n");
    }
    return 0;
}
