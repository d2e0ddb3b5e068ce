/* A small program around the model.
 *
 *   model ID ID …      prints the vector of these tokens, its numbers as the bits of floats
 *   model --selftest   compares a vector with golden.h: one line PASS or FAIL; exits with 0 or 4
 *
 * On a bare machine, which calls main(0, NULL), it is the self-test; so it is without arguments.
 */
#include "console.h"
#include "golden.h"

static float embedding[EDGEC_EMBEDDING];

static int selftest(void) {
    model_encode(GOLDEN_PROMPT, GOLDEN_PROMPT_COUNT, embedding);
    if (!agrees("the vector", embedding, sizeof embedding, GOLDEN_EMBEDDING_FNV)) {
        return 4;
    }
    hal_print("PASS: a vector of ");
    print_unsigned(EDGEC_EMBEDDING);
    hal_print(" numbers agrees bit for bit\n");
    return 0;
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
    hal_init();
    if (argc < 2 || (argc == 2 && same(argv[1], "--selftest"))) {
        return selftest();
    }
    const int32_t count = parse_tokens("text", argc, argv, tokens);
    if (count < 0) {
        return 2;
    }
    model_encode(tokens, (uint32_t)count, embedding);
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
