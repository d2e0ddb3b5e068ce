"""What attention's busiest core does in one call, as the kernel shares it out (`kernels/attention/`).

    heads    a core has rows and heads one after the other
    lanes    three of them with the same keys go together, or four where heads have 4 elements
    words    one row, whose heads do not fill the cores: scores of a head are a core's, words of four values are shared
    teams    the same at later positions: cores have whole heads, and share those that are left over
    phases   tiles of 4 positions of all heads are shared, and words of four values
    engine   the same, but for scores, which N-EUREKA multiplies (`kernels/attention_neureka/`)

Float operations are cycles of a core with XpulpV2 that its products do not take, fitted to steps of whole tokens and
prompts on the public model of Siracusa.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import lru_cache

from edgec.neureka.cycles import job_cycles
from edgec.neureka.engine import CIN, PIXELS
from edgec.neureka.job import rows_job
from edgec.ops.op import Work

WORD_ELEMENTS = 4
TILE = 4  # positions that are scored together; fewer go one by one, without the code for tiles
TILES = 210.0  # of that code
REST = (45.0, 1.7)  # positions behind whole tiles, of a head by itself: of its code, an element
# Cycles of a row and head by itself, and of lanes together: each, an element of a head, a position, an element of one.
ONE = (265.0, 7.3, 16.0, 1.06)
AGAIN = 120.0  # less of each by itself behind the first, whose code is there
LANES = (1585.0, 46.0, 54.0, 1.4)
QUADS = (1288.0, 0.0, 47.0, 0.0)  # the same of four lanes, whose heads have 4 elements
# One whose elements are no whole words, which go one by one: each, a position, an element of it.
ODD = (411.0, 48.0, 12.7)
# A core's first head without its values, each one behind it, an element of one, a position, an element of one; then a
# word of values, a position.
WORDS = (520.0, 122.0, 5.5, 20.0, 0.58)
WORD, WORD_POSITION = 45.0, 4.6
# A core's first whole head, each one behind it, code that is fetched where a head is left over, an element of a head;
# then a position of a head, an element of one.
TEAMS = (341.0, 473.0, 545.0, 11.3, 22.2, 1.65)
# Code that is fetched for each phase, a head in it, an element of one; then a position, an element of one, of a
# head by itself, and of one of three with the same keys.
PHASES = (2250.0, 270.0, 2.0)
# Where the engine multiplies scores: code, a head, a block of a position's elements (its weights, and words of values),
# and the rest as above. It has the first FIRST lines of pixels apart, if there are more than a pass behind them; for
# those, and for a last line that is not whole, core 0 writes a job more.
ENGINE = (940.0, 124.0, 402.0)
ENGINE_POSITION, ENGINE_PRODUCT, ENGINE_JOB = 24.7, 0.554, 200.0
FIRST = 12  # EDGEC_FIRST_LINES of the kernel
ENGINE_PAIRS, ENGINE_REST = 80.0, 2565.0  # code of two heads with the same values, and of one or two beside three
ENGINE_SPLIT = (-200.0, 0.3, 0.15)  # more of two that do not fill the cores: of all, a position, an element of one
APART, TOGETHER = (14.0, 1.8), (16.0, 1.0)


@lru_cache(maxsize=4096)
def whole_work(m: int, heads: int, kv_heads: int, head_dim: int, pos: int, cores: int, lanes: int, form: str) -> Work:
    """The work of a call of m rows from position pos on. form: how cores share a row's heads; empty: not at all."""
    if form:
        share = {"words": _words, "teams": _teams, "phases": _phases, "engine": _engine}[form]
        busiest = share(heads, kv_heads, head_dim, pos + 1, cores)
    else:
        visits = (_visits(m, heads // kv_heads, pos, lanes, mine) for mine in shares(m * heads, cores))
        busiest = max(_cycles(head_dim, of_core) for of_core in visits)
    macs = 2 * heads * head_dim * (m * pos + m * (m + 1) // 2)
    return Work(macs, 0, heads * (cores if form else m), rows=1, row_flops=round(busiest))


def shares(units: int, cores: int) -> Iterator[range]:
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
    total, alone = 0.0, 0
    for count, seen in visits:
        if head_dim % WORD_ELEMENTS:
            each, position, product = ODD
            total += each + seen * (position + product * head_dim)
            continue
        each, element, position, product = ONE if count == 1 else QUADS if head_dim == 4 else LANES
        total += each + element * head_dim + seen * (position + product * head_dim)
        if count == 1:
            total += (
                _rest(head_dim, seen) + (0.0 if alone >= TILE or seen < TILE else TILES) - (AGAIN if alone else 0.0)
            )
            alone = max(alone, seen)
    return total


def _rest(head_dim: int, seen: int) -> float:
    each, element = REST
    return each + element * head_dim if seen % TILE else 0.0


def _words(heads: int, kv_heads: int, head_dim: int, seen: int, cores: int) -> float:
    first, again, element, position, product = WORDS
    words, mine = -(-heads * head_dim // (4 * cores)), -(-heads // cores)
    total = first + again * (mine - 1) + mine * (element * head_dim + seen * (position + product * head_dim))
    total += TILES + mine * _rest(head_dim, seen) if seen >= TILE else 0.0
    return total + words * (WORD + seen * WORD_POSITION) - _counted(heads, head_dim, seen, cores)


def _teams(heads: int, kv_heads: int, head_dim: int, seen: int, cores: int) -> float:
    first, again, fixed, element, position, product = TEAMS
    whole, left = divmod(heads, cores)
    total = first + again * (whole - 1) + (fixed if left else 0.0)
    total += (element * head_dim + _rest(head_dim, seen)) * (whole + (left > 0))
    total += (whole + (left > 0) / (cores // max(left, 1))) * seen * (position + product * head_dim)
    return total - _counted(heads, head_dim, seen, cores)


def _phases(heads: int, kv_heads: int, head_dim: int, seen: int, cores: int) -> float:
    fixed, each, element = PHASES
    position, product = TOGETHER if heads >= 3 * kv_heads else APART
    total = fixed + each * heads + element * head_dim * -(-heads // cores)
    total += heads * seen / cores * (position + product * head_dim)
    return total - _counted(heads, head_dim, seen, cores)


def _engine(heads: int, kv_heads: int, head_dim: int, seen: int, cores: int) -> float:
    fixed, each, block = ENGINE
    cin, lines = kv_heads * head_dim, max(1, seen // PIXELS)
    first = FIRST if lines > FIRST + PIXELS else lines
    total = fixed + each * heads + block * -(-cin // CIN["1x1"])
    total += job_cycles(rows_job(0, 0, 0, (first, PIXELS), cin, heads, 8))
    total += ENGINE_JOB * ((first < lines) + (seen % PIXELS > 0))
    total += heads * seen / cores * (ENGINE_POSITION + ENGINE_PRODUCT * head_dim)
    group = heads // kv_heads
    total += 0.0 if group % 3 == 0 else ENGINE_PAIRS if group < 3 else ENGINE_REST
    if group == 2 and heads % cores:
        fixed, position, product = ENGINE_SPLIT
        total += fixed + heads * seen / cores * (position + product * head_dim)
    return total - _counted(heads, head_dim, seen, cores)


def _counted(heads: int, head_dim: int, seen: int, cores: int) -> float:
    """What a row's products are counted as besides, of one core: half a cycle each."""
    return heads * head_dim * seen / cores
