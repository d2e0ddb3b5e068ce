/* What the demo programs of models that write text share: greedy tokens, printed or compared with golden.h. */
#ifndef EDGEC_WRITING_H
#define EDGEC_WRITING_H

#include "console.h"
#include "golden.h"

#define NEW_TOKENS 16u

static inline void print_token(int32_t token) {
    if (token < 0) {
        hal_print("-");
    }
    print_unsigned(token < 0 ? 0u - (uint32_t)token : (uint32_t)token);
}

/* The verdict on the tokens from `token` on, the first that was written, and on the last logits: 0 or 4. */
static inline int as_golden(int32_t token) {
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

/* Prints NEW_TOKENS tokens from `token` on, or as many as the context holds. */
static inline int generate(int32_t token) {
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

#endif
