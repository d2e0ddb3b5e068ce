"""What a change costs in quality, to rank remedies by: the logarithm of perplexity after over perplexity before.

Measured on SmolLM2-135M-Instruct, WikiText-2 test, 20 windows of 512 (docs/compression.md). Another model's figure is
another; the order is what is used. None: not measured, ranked behind everything that was.
"""

from __future__ import annotations

from itertools import pairwise
from math import log

DENSE, EIGHT_BITS = 35.88, 36.089  # float weights; 8 bits in groups of 32, as the chip runs it
BITS = {4: log(39.775 / EIGHT_BITS)}  # of the blocks' matrices, GPTQ in groups of 64, from 8 bits
DEPTH = ((0.0, 0.0), (2 / 30, log(46.24 / DENSE)), (4 / 30, log(71.25 / DENSE)))  # by the share of blocks removed
PATTERN = {"8:16": log(107.19 / DENSE)}  # all matrices of the blocks
CACHE_4_BITS, SMOOTHED_4_BITS = log(49.024 / EIGHT_BITS), log(40.644 / EIGHT_BITS)  # without and with smooth_keys
# Tokens left of 49,152, by WikiText-2's validation text; 8 windows, a token being one of the original's.
VOCABULARY = {32768: 0.136, 16384: 0.928, 8192: 1.720, 4096: 2.782, 2048: 3.955}
FEED_FORWARD_8_16 = log(77.56 / DENSE)


def bits_loss(before: int, after: int) -> float | None:
    """Fewer bits of the blocks' matrices; widths from 8 down count as one."""
    if before < 8 and before != after:
        start = BITS.get(before)
        end = BITS.get(after)
        return None if start is None or end is None else max(0.0, end - start)
    return BITS.get(after)


def depth_loss(removed: int, of: int) -> float:
    """Blocks removed: linear between the measured shares, and on along the last line."""
    share = removed / of
    (a, at_a), (b, at_b) = next((p for p in pairwise(DEPTH) if share <= p[1][0]), DEPTH[-2:])
    return at_a + (share - a) * (at_b - at_a) / (b - a)


def vocab_loss(size: int) -> float | None:
    """So many tokens left of the vocabulary. On a text of fewer words it is a tenth of it (docs/compression.md)."""
    return VOCABULARY.get(size)
