/* The program that edgec's verification talks to, on the host and in the emulator.
 *
 * It reads commands from hal_read, little endian, and answers each with one HAL_REPLY record, before which
 * come the HAL_TRACE records of the steps that ran:
 *
 *     1 reset                                                    → nothing
 *     2 sampling   f32 temperature, u32 top_k, f32 top_p, u64 seed → nothing
 *     3 prefill    u32 count, i32 tokens[count]                  → i32 next token
 *     4 decode     i32 token                                     → i32 next token
 *     5 quit                                                     → nothing, and exits with 0
 *     6 logits                                                   → f32 logits[EDGEC_VOCAB]
 *     7 encode     u32 count, i32 tokens[count]                  → i32 status, f32 embedding[EDGEC_EMBEDDING]
 *
 * A model that makes vectors knows 1, 5 and 7, one that continues text all but 7, and one that writes about a source
 * knows all, its answer to 7 being the status alone.
 */
#include "hal.h"
#include "model.h"

enum { RESET = 1, SAMPLING, PREFILL, DECODE, QUIT, LOGITS, ENCODE };

static void receive(void *data, uint32_t bytes) {
    if (hal_read(data, bytes) != bytes) {
        hal_exit(1); /* the other side is gone */
    }
}

static void reply(uint32_t command, const void *data, uint32_t bytes) {
    const hal_record record = {HAL_REPLY, command, bytes};
    hal_write(&record, sizeof record);
    hal_write(data, bytes);
}

/* One token more than fits, so that the model's own check of its context is what answers. */
static int32_t tokens[EDGEC_CONTEXT + 1u];

static uint32_t receive_tokens(void) {
    uint32_t count;
    receive(&count, sizeof count);
    if (count > EDGEC_CONTEXT + 1u) {
        hal_print("more tokens than the context holds\n");
        hal_exit(1);
    }
    receive(tokens, count * (uint32_t)sizeof tokens[0]);
    return count;
}

#ifdef EDGEC_EMBEDDING
static void encode(void) {
    static struct {
        int32_t status;
        float embedding[EDGEC_EMBEDDING];
    } answer;
    const uint32_t count = receive_tokens();
    answer.status = model_encode(tokens, count, answer.embedding);
    reply(ENCODE, &answer, sizeof answer);
}
#else
#ifdef EDGEC_START
static void encode(void) {
    const uint32_t count = receive_tokens();
    const int32_t status = model_encode(tokens, count);
    reply(ENCODE, &status, sizeof status);
}
#endif

static void sampling(void) {
    struct {
        float temperature;
        uint32_t top_k;
        float top_p;
        uint32_t seed[2]; /* low half first; a uint64_t would be padded */
    } options;
    receive(&options, sizeof options);
    model_sampling(options.temperature, options.top_k, options.top_p,
                   (uint64_t)options.seed[1] << 32 | options.seed[0]);
}

static int32_t prefill(void) {
    const uint32_t count = receive_tokens();
    return model_prefill(tokens, count);
}
#endif

int main(void) {
    hal_init();
    for (;;) {
        uint32_t command;
#ifndef EDGEC_EMBEDDING
        int32_t token;
#endif
        receive(&command, sizeof command);
        switch (command) {
#ifdef EDGEC_EMBEDDING
        case RESET: /* nothing is left of a text */
            reply(command, NULL, 0);
            break;
#else
        case RESET:
            model_reset();
            reply(command, NULL, 0);
            break;
        case SAMPLING:
            sampling();
            reply(command, NULL, 0);
            break;
        case PREFILL:
            token = prefill();
            reply(command, &token, sizeof token);
            break;
        case DECODE:
            receive(&token, sizeof token);
            token = model_decode(token);
            reply(command, &token, sizeof token);
            break;
        case LOGITS:
            reply(command, model_logits(), EDGEC_VOCAB * (uint32_t)sizeof(float));
            break;
#endif
#if defined(EDGEC_EMBEDDING) || defined(EDGEC_START)
        case ENCODE:
            encode();
            break;
#endif
        case QUIT:
            reply(command, NULL, 0);
            hal_exit(0);
        default:
            hal_print("unknown command\n");
            hal_exit(1);
        }
    }
}
