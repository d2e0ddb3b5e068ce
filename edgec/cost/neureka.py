"""Cycles of a matmul on N-EUREKA: the engine's jobs, core 0 that starts them, and the cores that scale what is done.

The kernel is followed job by job (`kernels/matmul_w4a8_neureka/matmul_w4a8_neureka_tiles.h`): core 0 starts a job when
one of the engine's two places is free, the engine works on one after the other (`edgec/neureka/cycles.py`), and a tile
is scaled by all cores when its jobs have ended; of gate and up they also compute the gated activation.

A call's code comes from slow memory, as other kernels ran since the last call: `start_cycles` and FIRST are that.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import lru_cache

from edgec.chip import Accelerator, Engine
from edgec.cost.neureka_gated_row import GATE, GATE_ELEMENT, GATE_QUANTIZE, GatedRow
from edgec.cost.neureka_places import Lack, Lacks
from edgec.cost.neureka_plain_row import TAIL_CHANNEL, TAIL_ROW, TAIL_WORD, PlainRow
from edgec.neureka.cycles import job_cycles
from edgec.neureka.engine import PIXELS
from edgec.neureka.job import gemv_job, rows_job
from edgec.neureka.matrix import BLOCK, WORD
from edgec.ops import quantize_dynamic
from edgec.ops.matmul_w4a8 import bits_of
from edgec.ops.matmul_w4a8_neureka import mode_of, tile_sizes
from edgec.ops.matmul_w4a8_silu_neureka import PARTS
from edgec.packing import n_groups

# Fitted to whole tokens and prompts on the public model of Siracusa, of models of 4 and 8 bits (docs/accuracy.md).
FIRST = 121  # core 0, from the first job to where the team runs; code that is not in the cache
MORE = 91  # the same, if there is more than one job
# Registers that a call's first and second job write anew, by what their places lack (edgec/cost/neureka_places.py). The
# second one is written while the engine works on the first.
REWRITES = {
    Lack.NOTHING: (0, 0),
    Lack.INPUTS: (230, 280),
    Lack.BEHIND_PIXELS: (250, 300),
    Lack.ROW: (380, 370),
    Lack.SAME_GRID: (390, 400),
    Lack.GRID: (370, 560),
}
AHEAD = 95  # a single row's first job is started before its call, but gate's and up's
SEVERAL = 250  # of several rows it is started behind the call's list of jobs
ANY_ROWS = 340  # a single row in code of any number of rows, which does not know the shape
ANY_TAIL = 70  # there of a tile's part and group, whose inputs of the cores have a call
# Of what hides in the first job: transfers beside one of 96 channels and 252 inputs of 4 bits took as long as by
# themselves, beside two of 256 channels no time.
COLD = 250
TILE = 124  # barrier, a core's share of a tile, on to the next one
ROW = 96  # a row of a tile
# Of a single row the share is found before the barrier: that, and barrier and scaling apart from the channels.
SHARE, ONE_ROW, GROUPS = 108, 43, 45
# The same of each group of the last tile, where its jobs are not shorter than APART products.
GROUP_SHARE, ONE_OF_GROUPS, GROUP_CHANNEL, APART = 70, 40, 13.8, 4096
ONE_OF_ROWS = 12.5  # of several rows
TWO_ROWS = 8.7  # the same of each of two rows, which are scaled together where nothing is added
CHANNEL, GROUP = 7.9, 11.3  # where there are several groups: a channel of a single row, and each of its groups
ROWS_CHANNEL, ROWS_GROUP = 5.3, 11.2  # of several rows
PAIR_CHANNEL, PAIR_GROUP = 10.3, 8.8  # of each of two rows, which are scaled together where groups are not too many
PAIR_GROUPS = 32
RETURN = 60
SILU_ROW, SILU = 70, 16.5  # of a core: a row of a tile, a channel of it, whose gate and up are scaled
# Where a channel has one scale, a loop goes from the engine's sums to what is quantised. Of a core: a channel's scales
# of gate and of up, made ready while core 0 starts jobs; a row of a tile (edgec/cost/neureka_gated_row.py: of one row).
WIDEN, GATE_ROW = 8.9, 84
GATE_SHARE = 122  # of a single row: before a tile
GATE_START = 225  # a tile of several rows: core 0 starts its jobs, and the others wait for it
QUANTIZE, ELEMENT = 402, 1.3  # behind the last tile: what every call takes, and a core's element


def matmul_cycles(
    unit: Accelerator,
    cores: Engine,
    name: str,
    numbers: Mapping[str, int | float],
    any_rows: bool = False,
    lacks: Sequence[Lacks] = (),
) -> float:
    """Cycles of one call of matmul_w<bits>a8_neureka, of its 1x1 form, or of those with SiLU.

    any_rows: as Call's. lacks: what its jobs' places lack; by default it is behind a call like it.
    """
    m, n, k, group_size, tile, first = (int(numbers[key]) for key in ("m", "n", "k", "group_size", "tile", "first"))
    bits, out_group = bits_of(name) if mode_of(name) == "3x3" else 0, int(numbers.get("out_group", 0))
    like_it = Lack.SAME_GRID if m > 1 and not bits else Lack.NOTHING
    own = lacks[0] if lacks else Lacks(like_it, like_it)
    rewrites = REWRITES[own.first][0], REWRITES[own.second][1]
    tail = int(numbers.get("tail", 0))
    cycles = _matmul_cycles(unit, cores.cores, bits, m, n, k, group_size, tile, first, out_group, tail, rewrites)
    if any_rows and m == 1:
        parts = PARTS if out_group else 1
        adds = parts * n_groups(k, group_size) * len(tile_sizes(n // parts, tile, first))
        cycles += ANY_ROWS + (ANY_TAIL * adds if tail else 0)
    return cycles


def spare_cycles(unit: Accelerator, cores: Engine, name: str, numbers: Mapping[str, int | float]) -> float:
    """Cycles of core 0 in a call of a single row before it has to wait for the first tile's jobs, the first of which is
    started before all else: what else it does then takes no time.
    """
    keys = ("n", "k", "group_size", "first", "out_group", "tail")
    n, k, group_size, first, out_group, tail = (int(numbers.get(key, 0)) for key in keys)
    jobs = (PARTS if out_group else 1) * n_groups(k, group_size)
    apart: float = MORE + GATE_SHARE if out_group else MORE + SHARE
    if out_group and n_groups(k, group_size) == 1:
        apart = max(apart, WIDEN * -(-n // PARTS // max(1, cores.cores - 1)))
    working = jobs * row_job_cycles(name, min(k, group_size) - tail, first)
    return max(0.0, unit.start_cycles + working - FIRST - apart - COLD)


@lru_cache(maxsize=4096)
def row_job_cycles(name: str, inputs: int, channels: int) -> int:
    """Cycles of a job of one row, of a kernel's width and form."""
    if mode_of(name) == "3x3":
        return job_cycles(gemv_job(0, 0, 0, inputs, channels, bits_of(name)))
    return job_cycles(rows_job(0, 0, 0, (1, 1), inputs, channels, 8))


def weight_passes(name: str, numbers: Mapping[str, int | float]) -> int:
    """How often a call reads its weights: for each row, or in 1x1 form for each tile of pixels that rows make."""
    m = int(numbers["m"])
    return m if mode_of(name) == "3x3" else -(-grid_of(m)[0] // PIXELS)


def grid_of(m: int) -> tuple[int, int]:
    """Height and width of the pixels that m rows are in 1x1 form, as the kernel arranges them."""
    width = next(w for w in range(PIXELS, 0, -1) if m % w == 0) if m > 1 else 1
    return m // width, width


@lru_cache(maxsize=4096)
def _matmul_cycles(
    unit: Accelerator,
    cores: int,
    bits: int,
    m: int,
    n: int,
    k: int,
    group_size: int,
    tile: int,
    first: int,
    out_group: int,
    tail: int,
    rewrites: tuple[float, float],
) -> float:
    parts = PARTS if out_group else 1
    sizes, groups, inputs = tile_sizes(n // parts, tile, first), n_groups(k, group_size), min(k, group_size) - tail
    jobs = (m if bits else 1) * groups * parts  # of a tile
    if m == 1:
        channel = CHANNEL + GROUP * groups
    elif groups > 1:
        channel = ROWS_CHANNEL + ROWS_GROUP * groups
    else:
        channel = ONE_OF_ROWS
    length = {
        size: job_cycles(
            gemv_job(0, 0, 0, inputs, size, bits) if bits else rows_job(0, 0, 0, grid_of(m), inputs, size, 8)
        )
        for size in set(sizes)
    }
    one_row = m == 1 and not out_group
    words = tail // WORD
    tail_row, tail_channel = (TAIL_ROW, TAIL_CHANNEL + TAIL_WORD * words) if tail else (0, 0.0)  # of a group
    plain = PlainRow(cores, words) if one_row and groups == 1 else None
    clock = unit.start_cycles + rewrites[0] + (SEVERAL if m > 1 else -AHEAD if one_row else 0)  # core 0's
    ends = [0.0, clock + length[sizes[0]]]  # of jobs, after one that never was

    def start(until: int) -> None:
        nonlocal clock
        for job in range(len(ends) - 1, min(until, jobs * len(sizes))):
            clock = max(clock, ends[-2]) + unit.restart_cycles + (rewrites[1] if len(ends) == 2 else 0)
            ends.append(max(clock, ends[-1]) + length[sizes[job // jobs]])

    gated = bool(out_group) and groups == 1
    row = GatedRow(cores, n // parts, out_group, tail_row, tail_channel) if gated and m == 1 else None
    apiece = -(-m // cores)  # rows of a core, where rows are shared and not channels
    by_rows = m > 1 and 4 * apiece * cores <= 5 * m and (gated or not out_group)
    clock += FIRST + (MORE if m > 1 or jobs * len(sizes) > 1 else 0)
    for index, size in enumerate(sizes):
        if one_row and groups > 1 and index + 1 == len(sizes) and size * group_size >= APART:
            for job in range(jobs * index, jobs * (index + 1)):  # groups are scaled one by one
                start(job + 2)
                clock = max(clock + GROUP_SHARE, ends[job + 1]) + unit.wait_cycles
                start(job + 3)
                clock += ONE_OF_GROUPS + tail_row + -(-size // cores) * (GROUP_CHANNEL + tail_channel)
            break
        done = jobs * (index + 1)
        start(done + 1)
        share = -(-size // cores)
        if plain:
            clock = plain.before(clock, size, index + 1 == len(sizes))
        elif one_row:
            clock += SHARE
        elif row:
            clock += GATE_SHARE
        if gated and not index:
            clock = max(clock, unit.start_cycles + FIRST + WIDEN * -(-n // parts // max(1, cores - 1)))
        meeting = clock = max(clock, row.others if row else 0.0, ends[done]) + unit.wait_cycles
        if not plain:
            start(done + 2)
        rows, count = (apiece, size) if by_rows else (m, share)  # of a core
        # In pairs, where nothing is added (of matrices that widen none adds a residual) or groups are several.
        paired = rows // 2 * 2 if (n > k if groups == 1 else groups <= PAIR_GROUPS) else 0
        pair = TWO_ROWS if groups == 1 else PAIR_CHANNEL + PAIR_GROUP * groups
        if plain:
            clock = plain.behind(clock)
        elif one_row:
            clock += ONE_ROW + GROUPS + share * channel + groups * (tail_row + share * tail_channel)
        elif row:
            clock = row.tile(meeting, clock, size)
        elif gated:
            clock += TILE + GATE_START + rows * (GATE_ROW + PARTS * tail_row + count * (GATE + PARTS * tail_channel))
        else:
            each = (rows - paired) * (ROW + count * channel) + paired * (ROW + count * pair)
            each += rows * groups * (tail_row + count * tail_channel)
            clock += TILE + parts * each
            clock += m * (SILU_ROW + share * SILU) if out_group else 0
    if row and row.grouped:
        return clock
    if gated and (by_rows or (m == 1 and n // parts <= out_group)):
        return clock + GATE_QUANTIZE + GATE_ELEMENT * (apiece * n // parts if by_rows else -(-n // parts // cores))
    return clock + RETURN + (_quantize_cycles(cores, m, n // parts, out_group) if out_group else 0)


def _quantize_cycles(cores: int, m: int, width: int, out_group: int) -> float:
    pieces = quantize_dynamic.pieces(m, width, out_group, 4)
    return QUANTIZE + ELEMENT * 5 * m * width / pieces * -(-pieces // cores)


def peak_macs(bits: int = 4) -> float:
    """MAC per cycle of the engine by itself on a large matrix of this width."""
    n = 1024
    return BLOCK * n / job_cycles(gemv_job(0, 0, 0, BLOCK, n, bits))
