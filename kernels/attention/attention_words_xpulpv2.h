/* One row at the first positions, whose heads do not fill the cores, or not evenly: a core has whole heads, which is the
 * shortest code, but for the values. Their words of four elements are many, so that no core has more than one above its even share.
 * The cores work as a team (edgec_fork.h).
 */
#ifndef EDGEC_ATTENTION_WORDS_XPULPV2_H
#define EDGEC_ATTENTION_WORDS_XPULPV2_H

#include "attention_found_xpulpv2.h"
#include "attention_one_xpulpv2.h"

#include "edgec_fork.h"

static void edgec_attention_words(const void *args, uint32_t core, uint32_t n_cores) {
    EDGEC_ALL_CORES(n_cores);
    EDGEC_KNOWN(edgec_attention_args, a, args);
    const uint32_t d = a->head_dim, kv = a->n_kv_heads, words = d / 4u, group = a->n_heads / kv;
    const uint32_t length = a->pos + 1u;
    const edgec_range heads = edgec_share(a->n_heads, core, n_cores);
    uint32_t first = heads.begin, j = 0;
    EDGEC_UNROLL_1
    for (; first >= group; first -= group) { /* few as a rule: shorter than a division */
        j++;
    }
    for (uint32_t head = heads.begin; head < heads.end; head++) {
        *edgec_found(a, EDGEC_FOUND_FACTOR, head) =
            edgec_weights(a, head, j, length, edgec_most_scale(a->v_scale + j, kv, length, 0),
                          a->s + head * a->lds, a->p + head * a->lds);
        if (++first == group) {
            first = 0;
            j++;
        }
    }
    hal_barrier();
    const edgec_range mine = edgec_share(a->n_heads * words, core, n_cores);
    uint32_t head = 0, word = mine.begin;
    first = j = 0;
    EDGEC_UNROLL_1
    for (; word >= words; word -= words) {
        head++;
        if (++first == group) {
            first = 0;
            j++;
        }
    }
    for (uint32_t left = mine.end - mine.begin; left > 0; left--) {
        edgec_mix_head(a->p + head * a->lds, a->v + j * d + 4u * word, kv * d, 4, length,
                       *edgec_found(a, EDGEC_FOUND_FACTOR, head), a->y + head * d + 4u * word);
        if (++word == words) {
            word = 0;
            head++;
            if (++first == group) {
                first = 0;
                j++;
            }
        }
    }
}

#endif
