"""What a matmul with N:M sparsity counts as work: kept products, searches for their inputs, XpulpV2's other cycles.

Rows go by in passes of four, then of one; a pass finds the codes and places of a unit of eight kept codes once. What
is left of a group goes one by one (`kernels/matmul_w4a8_nm/matmul_w4a8_nm_xpulpv2.c`). Fitted to 150 calls by
themselves, cold, of all widths and patterns on the public model of Siracusa, and tried on 46 others.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any

from edgec.ops.op import CORES, Work
from edgec.packing import n_groups
from edgec.packing_nm import UNIT, Pattern, kept

ROWS = 4  # for which the kernels look a weight's input up once
SEARCH = 1.75  # products that such a look-up is priced as (edgec/cost/engine.py)
MAC, FLOP = 1.0, 4.0  # cycles in which the cycles are counted (targets/siracusa.toml)
CALL, PASS, CHANNEL = 509.0, 129.0, 62.0  # a call, a pass, a channel of it
GROUP = {1: 42.0, ROWS: 209.0}  # of a channel, by rows
LEFT = 175.0  # a kept code of a row that fills no unit
CODES = {2: 4.0, 3: 20.0, 4: 1.0, 5: 14.0, 6: 14.0, 7: 30.0, 8: 0.0}  # a unit's codes by bits
PLACES = {(1, 2): 3.0, (2, 4): 9.0, (3, 4): 0.0, (4, 8): 19.0, (6, 8): 9.0, (8, 16): 10.0, (12, 16): 0.0}  # its places
INPUTS = {
    (1, 2): 20.0,
    (2, 4): 18.0,
    (3, 4): 39.0,
    (4, 8): 20.0,
    (6, 8): 35.0,
    (8, 16): 38.0,
    (12, 16): 38.0,
}  # a row's


def nm_work(bits: int, pattern: Pattern, a: dict[str, Any]) -> Work:
    """The work of a call of one width and pattern."""
    m, n, k, group_size = (int(a[key]) for key in ("m", "n", "k", "group_size"))
    macs, searches = m * n * kept(k, pattern), -(-m // ROWS) * n * kept(k, pattern)
    channels = -(-n // CORES)
    counted = MAC * (macs + SEARCH * searches) * channels / n
    rest = max(0.0, _cycles(bits, pattern, m, channels, k, min(k, group_size)) - counted) / FLOP
    return Work(macs, round(rest * n / channels), n, searches)


@lru_cache(maxsize=8192)
def _cycles(bits: int, pattern: Pattern, m: int, channels: int, k: int, group_size: int) -> float:
    groups = n_groups(k, group_size)
    codes = [(kept(group_size, pattern), groups - 1), (kept(k - (groups - 1) * group_size, pattern), 1)]
    units = sum(count * (size // UNIT) for size, count in codes)
    left = sum(count * (size % UNIT) for size, count in codes)
    cycles = CALL
    for rows, passes in ((ROWS, m // ROWS), (1, m % ROWS)):
        unit = CODES[bits] + PLACES[pattern] + rows * INPUTS[pattern]
        channel = CHANNEL + groups * GROUP[rows] + units * unit + rows * left * LEFT
        cycles += passes * (PASS + channels * channel)
    return cycles
