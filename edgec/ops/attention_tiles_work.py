"""What the busiest core does of a tile of attention: scores and values of some positions (`kernels/attention*/`).

Scores go by row and head, in parts of the positions where these are few; four positions together, over words of a
head. Values go by words of a head, two rows or heads with the same values together. What is no whole word, and fewer
than four positions, goes element by element. Fitted to 300 calls by themselves, cold, on the public model of Siracusa:
heads of 4 to 64 elements, multiples of 4 or only of 2, 1 to 16 rows, 1 to 127 positions; tried on 90 others.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import lru_cache
from itertools import accumulate
from typing import Any

from edgec.ops.attention_work import shares
from edgec.ops.op import CORES, Work

MAC, FLOP = 0.25, 4.0  # cycles in which the cycles are counted (targets/siracusa.toml)
FEW = 8 * CORES  # rows and heads that are not split in positions, nor are whole rounds of the cores
TILE = 4  # positions
# Cycles of scores by the keys' bits: elements of a word; a call, a row and head or part of it, four positions, a word
# of them, a position by itself, an element of one.
SCORES = {8: (4, 527.0, 190.0, 52.4, 8.8, 16.9, 11.9), 4: (8, 575.0, 209.0, 54.9, 29.1, 24.9, 15.4)}
WORD_ALONE = 4.0  # a word of a position by itself, of 8 bits
# Of values: a call, a head of a core, a row and head of it, an element that begins at 0, a word; four positions of a
# word of two rows or heads, and of one; a position of a word behind them, and its loops; an element of no whole word.
VALUES, HEAD, UNIT, ZERO, WORD = 588.0, 76.0, 109.0, 4.4, 39.0
PAIR_TILE, ONE_TILE, REST, REST_LOOP, LEFT = 24.6, 16.8, 13.4, 83.0, 11.8
# The same of 4 bits, by words of eight elements, whose halves share bytes: a word, four positions, a byte of others.
VALUES_I4, WORD_I4, ZERO_I4, TILE_I4, BYTE_I4 = 486.0, 187.0, 8.8, 46.5, 26.6
# Elements that are capped: a core's, and each core's turn at the divider, which all share.
CAPPED, DIVIDED, CAP = 54.0, 14.0, 112.0


def scores_work(bits: int) -> Callable[[dict[str, Any]], Work]:
    """The work of scores with keys of so many bits."""

    def work(a: dict[str, Any]) -> Work:
        units, d, count = int(a["m"] * a["n_heads"]), int(a["head_dim"]), int(a["count"])
        return _work(_scores(bits, units, d, count), units * d * count)

    return work


def values_work(a: dict[str, Any]) -> Work:
    """The work of values of 8 bits."""
    m, heads, kv, d, count = (int(a[key]) for key in ("m", "n_heads", "n_kv_heads", "head_dim", "count"))
    return _work(_values(m, heads, kv, d, count, not a["first"]), m * heads * d * count)


def values_i4_work(a: dict[str, Any]) -> Work:
    """The work of values of 4 bits."""
    units, d, count = int(a["m"] * a["n_heads"]), int(a["head_dim"]), int(a["count"])
    return _work(_values_i4(units, d, count, not a["first"]), units * d * count)


def cap_work(a: dict[str, Any]) -> Work:
    """The work of a cap: rows and heads are shared, and the divider."""
    m, units = int(a["m"]), int(a["m"] * a["n_heads"])
    seen = a["pos"] + (m + 1) / 2  # on the average: cores with less to do leave the divider to others
    busy = -(-units // -(-units // CORES)) if units else 0  # cores
    share = max(CAPPED, DIVIDED * busy) / CAP
    return Work(flops=round(24 * units * seen * share), parallel=units)


def _work(cycles: float, macs: int) -> Work:
    return Work(macs, round(CORES * max(0.0, cycles - MAC * macs / CORES) / FLOP), CORES)


def _busiest(units: int, parts: Sequence[float]) -> float:
    """The most cycles of a core, where cores share the parts of all units evenly: neighbours are a core's."""
    sums = [0.0, *accumulate(parts)]  # of the first parts of a unit

    def before(part: int) -> float:
        return part // len(parts) * sums[-1] + sums[part % len(parts)]

    return max((before(mine.stop) - before(mine.start) for mine in shares(units * len(parts), CORES)), default=0.0)


@lru_cache(maxsize=8192)
def _scores(bits: int, units: int, d: int, count: int) -> float:
    elements, call, piece, tile, word, position, element = SCORES[bits]
    parts = 1 if units % CORES == 0 or units >= FEW else CORES
    most = -(-count // parts)

    def of_part(seen: int) -> float:
        if d % elements == 0 and seen >= TILE:
            return -(-seen // TILE) * (tile + d // elements * word)
        each = d // elements * WORD_ALONE if bits == 8 and d % elements == 0 else d * element
        return seen * (position + each)

    return call + _busiest(units, [piece + of_part(max(0, min(most, count - part * most))) for part in range(parts)])


@lru_cache(maxsize=8192)
def _values(m: int, heads: int, kv: int, d: int, count: int, begins: bool) -> float:
    words = -(-d // TILE)
    apart = m if kv * words < CORES else 1  # rows, where cores had nothing to do without
    units = heads // kv * (m if apart == 1 else 1)  # that share a head's values
    pairs, tiles, rest = units // 2, count // TILE, count % TILE

    def of_head(first: int, taken: int) -> float:
        width = min(d - TILE * first, TILE * taken)
        whole, left = divmod(width, TILE)
        cycles = HEAD + units * (UNIT + (ZERO * width if begins else 0.0) + LEFT * left * count + REST * whole * rest)
        cycles += whole * (pairs * (WORD + PAIR_TILE * tiles) + units % 2 * (WORD + ONE_TILE * tiles))
        return cycles + (REST_LOOP * 2 * pairs * whole if tiles and rest else 0.0)

    def of_core(mine: range) -> float:
        cycles, at = 0.0, mine.start
        while at < mine.stop:
            taken = min(words - at % words, mine.stop - at)
            cycles += of_head(at % words, taken)
            at += taken
        return cycles

    return VALUES + max((of_core(mine) for mine in shares(kv * words * apart, CORES)), default=0.0)


@lru_cache(maxsize=8192)
def _values_i4(units: int, d: int, count: int, begins: bool) -> float:
    half = d // 2
    words = -(-half // TILE)

    def of_word(word: int) -> float:
        width = min(half - TILE * word, TILE)
        whole = count // TILE if width == TILE else 0
        alone = (count - TILE * whole) * width
        return WORD_I4 + (ZERO_I4 * width if begins else 0.0) + TILE_I4 * whole + BYTE_I4 * alone

    return VALUES_I4 + _busiest(units, [of_word(word) for word in range(words)])
