/* What the demo programs share: token ids and numbers as text, and the verdict on a hash. */
#ifndef EDGEC_CONSOLE_H
#define EDGEC_CONSOLE_H

#include "hal.h"
#include "model.h"

static inline void print_unsigned(uint32_t value) {
    char text[11];
    char *p = text + sizeof text;
    *--p = '\0';
    do {
        *--p = (char)('0' + value % 10u);
        value /= 10u;
    } while (value > 0);
    hal_print(p);
}

static inline int same(const char *a, const char *b) {
    while (*a != '\0' && *a == *b) {
        a++, b++;
    }
    return *a == *b;
}

/* FNV-1a, 32 bits. */
static inline uint32_t fnv(const void *data, uint32_t bytes) {
    const uint8_t *p = data;
    uint32_t hash = 2166136261u;
    for (uint32_t i = 0; i < bytes; i++) {
        hash = (hash ^ p[i]) * 16777619u;
    }
    return hash;
}

/* Whether the bytes of `what` have the golden hash; prints a line if not. */
static inline int agrees(const char *what, const void *data, uint32_t bytes, uint32_t golden) {
    const uint32_t hash = fnv(data, bytes);
    if (hash != golden) {
        hal_print("FAIL: the hash of ");
        hal_print(what);
        hal_print(" is ");
        print_unsigned(hash);
        hal_print(", golden is ");
        print_unsigned(golden);
        hal_print("\n");
    }
    return hash == golden;
}

/* The token id in decimal, or -1. */
static inline int32_t parse(const char *text) {
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

/* The arguments from the first on as ids into tokens[EDGEC_CONTEXT]; how many, or -1 after printing what is wrong.
 * `what` they are: "prompt". */
static inline int32_t parse_tokens(const char *what, int argc, char **argv, int32_t *tokens) {
    int32_t count = 0;
    for (int i = 1; i < argc; i++) {
        const int32_t token = parse(argv[i]);
        if (token < 0) {
            hal_print("not a token id: ");
        } else if (count == (int32_t)EDGEC_CONTEXT) {
            hal_print("the context is too short for the ");
            hal_print(what);
            hal_print("; from: ");
        } else {
            tokens[count++] = token;
            continue;
        }
        hal_print(argv[i]);
        hal_print("\n");
        return -1;
    }
    return count;
}

#endif
