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
from edgec.cost.neureka_jobs import Queue, rewrites, row_job_cycles
from edgec.cost.neureka_places import Jobs, Lacks, Places, jobs_of
from edgec.cost.neureka_plain_row import TAIL_CHANNEL, TAIL_ROW, TAIL_WORD, PlainRow
from edgec.neureka.cycles import job_cycles
from edgec.neureka.engine import PIXELS
from edgec.neureka.job import fold_job, gemv_job, rows_job
from edgec.neureka.matrix import BLOCK, WORD, Split
from edgec.ops import quantize_dynamic
from edgec.ops.matmul_w4a8 import bits_of
from edgec.ops.matmul_w4a8_neureka import mode_of, split_in, tile_sizes
from edgec.ops.matmul_w4a8_silu_neureka import PARTS
from edgec.packing import n_groups

# Fitted to whole tokens and prompts on the public model of Siracusa, of models of 4 and 8 bits (docs/accuracy.md).
FIRST = 121  # core 0, from the first job to where the team runs; code that is not in the cache
MORE = 91  # the same, if there is more than one job
AHEAD = 95  # a single row's first job is started before its call, but gate's and up's
SEVERAL = 250  # of several rows it is started behind the call's list of jobs
ANY_ROWS = 340  # a single row in code of any number of rows, which does not know the shape
ANY_TAIL = 70  # there of a tile's part and group, whose inputs of the cores have a call
FOLD_ROW, FOLD_CHANNEL = 30, 5.0  # what folded inputs give is added to a row of a tile and to a channel of it
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
    split, jobs = split_in(numbers), jobs_of(name, numbers)
    anew = rewrites(jobs, lacks or _like_it(jobs))
    sizes = m, n, k, group_size, tile, first, out_group
    cycles = _matmul_cycles(unit, cores.cores, bits, *sizes, split, tuple(anew.items()))
    if any_rows and m == 1:
        parts = PARTS if out_group else 1
        adds = parts * n_groups(k, group_size) * len(tile_sizes(n // parts, tile, first))
        cycles += ANY_ROWS + (ANY_TAIL * adds if split.tail else 0)
    return cycles


def _like_it(jobs: Sequence[Jobs]) -> list[Lacks]:
    """What places lack of a call's jobs behind a call like it."""
    places = Places()
    for shape, count in (*jobs, *jobs):  # one job holds one place
        places.start(shape, count)
    return [places.start(shape, count) for shape, count in jobs]


def tail_cycles(split: Split) -> tuple[float, float]:
    """What inputs apart take of a core that adds them to the sums in their place: a row of a tile, or a group of a row,
    and a channel of it.
    """
    row, channel = (TAIL_ROW, TAIL_CHANNEL + TAIL_WORD * (split.tail // WORD)) if split.tail else (0, 0.0)
    return (row + FOLD_ROW, channel + FOLD_CHANNEL) if split.fold else (row, channel)


def spare_cycles(unit: Accelerator, cores: Engine, name: str, numbers: Mapping[str, int | float]) -> float:
    """Cycles of core 0 in a call of a single row before it has to wait for the first tile's jobs, the first of which is
    started before all else: what else it does then takes no time.
    """
    keys = ("n", "k", "group_size", "first", "out_group")
    n, k, group_size, first, out_group = (int(numbers.get(key, 0)) for key in keys)
    jobs = (PARTS if out_group else 1) * n_groups(k, group_size)
    apart: float = MORE + GATE_SHARE if out_group else MORE + SHARE
    if out_group and n_groups(k, group_size) == 1:
        apart = max(apart, WIDEN * -(-n // PARTS // max(1, cores.cores - 1)))
    working = jobs * row_job_cycles(name, min(k, group_size) - split_in(numbers).apart, first)
    return max(0.0, unit.start_cycles + working - FIRST - apart - COLD)


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
    split: Split,
    anew: tuple[tuple[int, float], ...],
) -> float:
    parts = PARTS if out_group else 1
    sizes, groups = tile_sizes(n // parts, tile, first), n_groups(k, group_size)
    inputs, folds = min(k, group_size) - split.apart, m if split.fold else 0
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
    tail_row, tail_channel = tail_cycles(split)
    plain = PlainRow(cores, split.tail // WORD, folds > 0) if one_row and groups == 1 else None
    lengths = [length[size] for size in sizes for _ in range(jobs)]
    if folds:
        lengths[1:1] = [job_cycles(fold_job(0, 0, 0, split.fold, n, bits))] * folds
    begin = unit.start_cycles + (SEVERAL if m > 1 else -AHEAD if one_row else 0)
    queue = Queue(unit.restart_cycles, begin, lengths, dict(anew))
    queue.begin()
    queue.start(1 + folds)
    gated = bool(out_group) and groups == 1
    row = GatedRow(cores, n // parts, out_group, tail_row, tail_channel) if gated and m == 1 else None
    apiece = -(-m // cores)  # rows of a core, where rows are shared and not channels
    by_rows = m > 1 and 4 * apiece * cores <= 5 * m and (gated or not out_group)
    queue.clock += FIRST + (MORE if m > 1 or jobs * len(sizes) > 1 else 0)
    for index, size in enumerate(sizes):
        if one_row and groups > 1 and index + 1 == len(sizes) and size * group_size >= APART:
            for job in range(jobs * index, jobs * (index + 1)):  # groups are scaled one by one
                queue.start(job + 2)
                queue.clock = max(queue.clock + GROUP_SHARE, queue.ends[job + 1]) + unit.wait_cycles
                queue.start(job + 3)
                queue.clock += ONE_OF_GROUPS + tail_row + -(-size // cores) * (GROUP_CHANNEL + tail_channel)
            break
        done = folds + jobs * (index + 1)
        later = plain and folds and not index  # there is no place yet
        if not later:
            queue.start(done + 1)
        share = -(-size // cores)
        if plain:
            queue.clock = plain.before(queue.clock, size, index + 1 == len(sizes))
            queue.start(done + 1)
        elif one_row:
            queue.clock += SHARE
        elif row:
            queue.clock += GATE_SHARE
        if gated and not index:
            queue.clock = max(queue.clock, unit.start_cycles + FIRST + WIDEN * -(-n // parts // max(1, cores - 1)))
        meeting = queue.clock = max(queue.clock, row.others if row else 0.0, queue.ends[done]) + unit.wait_cycles
        if not plain:
            queue.start(done + 2)
        rows, count = (apiece, size) if by_rows else (m, share)  # of a core
        # In pairs, where nothing is added (of matrices that widen none adds a residual) or groups are several.
        paired = rows // 2 * 2 if (n > k if groups == 1 else groups <= PAIR_GROUPS) else 0
        pair = TWO_ROWS if groups == 1 else PAIR_CHANNEL + PAIR_GROUP * groups
        if plain:
            queue.clock = plain.behind(queue.clock)
        elif one_row:
            queue.clock += ONE_ROW + GROUPS + share * channel + groups * (tail_row + share * tail_channel)
        elif row:
            queue.clock = row.tile(meeting, queue.clock, size)
        elif gated:
            queue.clock += (
                TILE + GATE_START + rows * (GATE_ROW + PARTS * tail_row + count * (GATE + PARTS * tail_channel))
            )
        else:
            each = (rows - paired) * (ROW + count * channel) + paired * (ROW + count * pair)
            each += rows * groups * (tail_row + count * tail_channel)
            queue.clock += TILE + parts * each
            queue.clock += m * (SILU_ROW + share * SILU) if out_group else 0
    if row and row.grouped:
        return queue.clock
    if gated and (by_rows or (m == 1 and n // parts <= out_group)):
        return (
            queue.clock + GATE_QUANTIZE + GATE_ELEMENT * (apiece * n // parts if by_rows else -(-n // parts // cores))
        )
    return queue.clock + RETURN + (_quantize_cycles(cores, m, n // parts, out_group) if out_group else 0)


def _quantize_cycles(cores: int, m: int, width: int, out_group: int) -> float:
    pieces = quantize_dynamic.pieces(m, width, out_group, 4)
    return QUANTIZE + ELEMENT * 5 * m * width / pieces * -(-pieces // cores)


def peak_macs(bits: int = 4) -> float:
    """MAC per cycle of the engine by itself on a large matrix of this width."""
    n = 1024
    return BLOCK * n / job_cycles(gemv_job(0, 0, 0, BLOCK, n, bits))
