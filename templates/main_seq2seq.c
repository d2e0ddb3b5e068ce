/* A small program around the model.
 *
 *   model ID ID …      reads these tokens and prints those that it writes about them
 *   model --selftest   compares tokens and logits with golden.h: one line PASS or FAIL; exits with 0 or 4
 *
 * On a bare machine, which calls main(0, NULL), it is the self-test; so it is without arguments.
 */
#include "writing.h"

/* The first token that is written about a source, greedily. */
static int32_t begin(const int32_t *source, uint32_t count) {
    static const int32_t start[EDGEC_START_COUNT] = EDGEC_START;
    model_sampling(0.0f, 0, 1.0f, 0);
    return model_encode(source, count) < 0 ? -1 : model_prefill(start, EDGEC_START_COUNT);
}

int main(int argc, char **argv) {
    static int32_t source[EDGEC_CONTEXT];
    hal_init();
    if (argc < 2 || (argc == 2 && same(argv[1], "--selftest"))) {
        return as_golden(begin(GOLDEN_SOURCE, GOLDEN_SOURCE_COUNT));
    }
    const int32_t count = parse_tokens("text", argc, argv, source);
    if (count < 0) {
        return 2;
    }
    return generate(begin(source, (uint32_t)count));
}
