/* A small program around the model.
 *
 *   model ID ID …      continues these tokens and prints the next ones
 *   model              continues the golden prompt
 *   model --selftest   compares tokens and logits with golden.h: one line PASS or FAIL; exits with 0 or 4
 *
 * On a bare machine, which calls main(0, NULL), it is the self-test.
 */
#include "console.h"
#include "golden.h"

#define NEW_TOKENS 16u

static void print_token(int32_t token) {
    if (token < 0) {
        hal_print("-");
    }
    print_unsigned(token < 0 ? 0u - (uint32_t)token : (uint32_t)token);
}

static void start(void) {
    model_sampling(0.0f, 0, 1.0f, 0); /* greedy */
    model_reset();
}

static int selftest(void) {
    start();
    int32_t token = model_prefill(GOLDEN_PROMPT, GOLDEN_PROMPT_COUNT);
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
    if (!agrees("the last logits", model_logits(), EDGEC_VOCAB * (uint32_t)sizeof(float),
                GOLDEN_LOGITS_FNV)) {
        return 4;
    }
    hal_print("PASS: ");
    print_unsigned(GOLDEN_COUNT);
    hal_print(" tokens and the last logits agree bit for bit\n");
    return 0;
}

static int generate(int32_t token) {
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

int main(int argc, char **argv) {
    static int32_t prompt[EDGEC_CONTEXT];
    hal_init();
    if (argc == 0 || (argc == 2 && same(argv[1], "--selftest"))) {
        return selftest();
    }
    start();
    if (argc == 1) {
        return generate(model_prefill(GOLDEN_PROMPT, GOLDEN_PROMPT_COUNT));
    }
    const int32_t count = parse_tokens("prompt", argc, argv, prompt);
    if (count < 0) {
        return 2;
    }
    return generate(model_prefill(prompt, (uint32_t)count));
}
