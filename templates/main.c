/* A small program around the model.
 *
 *   model ID ID …      continues these tokens and prints the next ones
 *   model              continues the golden prompt
 *   model --selftest   compares tokens and logits with golden.h: one line PASS or FAIL; exits with 0 or 4
 *
 * On a bare machine, which calls main(0, NULL), it is the self-test.
 */
#include "writing.h"

int main(int argc, char **argv) {
    static int32_t prompt[EDGEC_CONTEXT];
    hal_init();
    model_sampling(0.0f, 0, 1.0f, 0); /* greedy */
    model_reset();
    if (argc == 0 || (argc == 2 && same(argv[1], "--selftest"))) {
        return as_golden(model_prefill(GOLDEN_PROMPT, GOLDEN_PROMPT_COUNT));
    }
    if (argc == 1) {
        return generate(model_prefill(GOLDEN_PROMPT, GOLDEN_PROMPT_COUNT));
    }
    const int32_t count = parse_tokens("prompt", argc, argv, prompt);
    if (count < 0) {
        return 2;
    }
    return generate(model_prefill(prompt, (uint32_t)count));
}
