"""What attention's busiest core does in one call, as the kernel shares it out (`kernels/attention/`).

    heads    a core has rows and heads one after the other
    lanes    three of them with the same keys go together, or four where heads have 4 elements
    phases   one row, whose heads do not fill the cores: these share tiles of 4 positions of all heads

Float operations are cycles of a core with XpulpV2 that its products do not take, fitted to steps of whole tokens and
prompts on the public model of Siracusa.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import lru_cache

from edgec.ops.op import Work

# Cycles of a row and head by itself, and of lanes together: each, an element of a query, a position, an element of one.
ONE = (370.0, 40.0, 22.0, 0.45)
LANES = (1680.0, 95.0, 56.0, 0.0)
PHASES = 900.0  # barriers, and code that is fetched for each phase


@lru_cache(maxsize=4096)
def whole_work(
    m: int, heads: int, kv_heads: int, head_dim: int, pos: int, cores: int, lanes: int, phases: bool
) -> Work:
    """The work of a call of m rows from position pos on."""
    if phases:
        busiest = _phases(heads, kv_heads, head_dim, pos + 1, cores)
    else:
        visits = (_visits(m, heads // kv_heads, pos, lanes, mine) for mine in _shares(m * heads, cores))
        busiest = max(_cycles(head_dim, of_core) for of_core in visits)
    macs = 2 * heads * head_dim * (m * pos + m * (m + 1) // 2)
    return Work(macs, 0, heads * cores if phases else heads * m, rows=1, row_flops=round(busiest))


def _shares(units: int, cores: int) -> Iterator[range]:
    """The rows and heads of each core that has some."""
    share = -(-units // cores)
    return (range(first, min(first + share, units)) for first in range(0, units, share))


def _visits(m: int, group: int, pos: int, lanes: int, mine: range) -> Iterator[tuple[int, int]]:
    """How many rows and heads a core does together, and the positions that the last of them sees.

    Units are numbered by key/value head, then row, then head of the group; without lanes by head, then row.
    """
    if lanes < 3:
        yield from ((1, pos + unit % m + 1) for unit in mine)
        return
    each, unit = m * group, mine.start
    while unit < mine.stop:
        count = min(lanes, mine.stop - unit, each - unit % each)
        if count >= 3:
            yield count, pos + (unit + count - 1) % each // group + 1
        else:
            yield from ((1, pos + lane % each // group + 1) for lane in range(unit, unit + count))
        unit += count


def _cycles(head_dim: int, visits: Iterator[tuple[int, int]]) -> float:
    total = 0.0
    for count, seen in visits:
        each, element, position, product = ONE if count == 1 else LANES
        total += each + element * head_dim + seen * (position + product * head_dim)
    return total


def _phases(heads: int, kv_heads: int, head_dim: int, seen: int, cores: int) -> float:
    """Tiles of 4 positions of all key/value heads are shared evenly; heads with the same keys go by threes."""
    positions = 4 * -(-kv_heads * -(-seen // 4) // cores)
    threes, ones = divmod(heads // kv_heads, 3)
    total = PHASES + -(-heads // cores) * ONE[1] * head_dim
    for count, (_, _, position, product) in ((threes, LANES), (ones, ONE)):
        total += count * positions * (position + product * head_dim)
    return total
