"""What N-EUREKA's two places hold from call to call, and what a call's jobs find there.

The engine's places take turns and keep their registers: a job like the one before the last writes what its operands
change, any other one what its shape changes too (`kernels/neureka/neureka_jobs_neureka.c`, which `Places` follows). So
what a call takes depends on the calls before it: whoever goes over a program's calls in order gives each one to
`Places`. A call by itself (a planner's candidate, a pass's) is taken for one behind another one of the same shape.

A run begins with the places as a run of the same program leaves them, like a token behind a token.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import Enum
from typing import NamedTuple

from edgec.neureka.engine import PIXELS
from edgec.ops import attention_neureka, kernel
from edgec.ops.attention_work import FIRST
from edgec.ops.matmul_w4a8 import bits_of
from edgec.ops.matmul_w4a8_neureka import FOLD, mode_of, split_in, tile_sizes
from edgec.ops.matmul_w4a8_silu_neureka import PARTS
from edgec.packing import n_groups


class Lack(Enum):
    """What a place lacks of a job's shape."""

    NOTHING = "it holds the shape"
    INPUTS = "a row in 3x3 form behind one with other inputs or bits"
    BEHIND_PIXELS = "a row in 3x3 form behind attention's pixels"
    BEHIND_FOLD = "a row in 3x3 form behind folded inputs"
    FOLD = "folded inputs behind a row in 3x3 form, or behind others"
    ROW = "all words of a row in 3x3 form"
    SAME_GRID = "rows in 1x1 form behind as many: what depends on inputs and strides"
    GRID = "all words of rows in 1x1 form, or of a single one"
    PIXELS = "attention's pixels behind anything else"


class Lacks(NamedTuple):
    """What the places of a call's first job and of its second one lack; the others find the call's own shape."""

    first: Lack = Lack.NOTHING
    second: Lack = Lack.NOTHING


class Shape(NamedTuple):
    """What a place is told of a job besides its operands and channels.

    form: bits of a row in 3x3 form, or GRID, PIXELS_OF or FOLD. inputs: 0 of a single row in 1x1 form, whose shape is
    that of any; of folded ones all that their registers depend on. size: rows of a grid, heads of pixels.
    """

    form: int
    inputs: int
    size: int = 0


Jobs = tuple[Shape, int]  # so many of a shape
GRID, PIXELS_OF = 1, 14  # in 1x1 form: rows, attention's pixels
UNKNOWN = Shape(0, 0)


def starts_jobs(name: str) -> bool:
    """Whether a kernel's calls may start jobs."""
    return name == attention_neureka.KERNEL.name or kernel(name).engine == "neureka"


def jobs_of(name: str, numbers: Mapping[str, int | float]) -> tuple[Jobs, ...]:
    """The jobs that a call starts, in order."""
    if name == attention_neureka.KERNEL.name:
        return _attention_jobs(numbers)
    if kernel(name).engine != "neureka":
        return ()
    m, n, k, group_size, tile, first = (int(numbers[key]) for key in ("m", "n", "k", "group_size", "tile", "first"))
    parts = PARTS if int(numbers.get("out_group", 0)) else 1
    tiles = parts * n_groups(k, group_size) * len(tile_sizes(n // parts, tile, first))
    split = split_in(numbers)
    inputs = min(k, group_size) - split.apart
    if mode_of(name) == "1x1" and m > 1:
        return ((Shape(GRID, inputs, m), tiles),)
    own: tuple[Jobs, ...] = (_row(name, inputs, m * tiles),)
    if split.fold:  # behind the first job
        folds = Shape(FOLD, int(numbers["fold"])), m
        rest = (_row(name, inputs, m * tiles - 1),) if m * tiles > 1 else ()
        own = (_row(name, inputs, 1), folds, *rest)
    if "down_n" in numbers:
        width, out_group, down_n = n // parts, int(numbers["out_group"]), int(numbers["down_n"])
        down = n_groups(width, out_group) - 1 + len(tile_sizes(down_n, down_n, int(numbers["down_first"])))
        return (*own, _row(name, min(width, out_group), down))
    return own


def _row(name: str, inputs: int, count: int) -> Jobs:
    """Jobs of single rows."""
    return Shape(bits_of(name), inputs) if mode_of(name) == "3x3" else Shape(GRID, 0, 1), count


def _attention_jobs(numbers: Mapping[str, int | float]) -> tuple[Jobs, ...]:
    """As edgec_scores_by_engine, in kernels/attention_neureka/attention_neureka_scores_xpulpv2.h."""
    heads, kv, d, pos, cores = (int(numbers[key]) for key in ("n_heads", "n_kv_heads", "head_dim", "pos", "cores"))
    if attention_neureka.form(heads, kv, d, pos, cores) != "engine":
        return ()
    lines, odd = divmod(pos + 1, PIXELS)
    return ((Shape(PIXELS_OF, kv * d, heads), 1 + (lines > FIRST + PIXELS) + (odd > 0)),)


@dataclass
class Places:
    """The shapes that the places hold: the next job's place, and the other one, which has the last job."""

    next: Shape = UNKNOWN
    last: Shape = UNKNOWN

    def call(self, name: str, numbers: Mapping[str, int | float]) -> tuple[Lacks, ...]:
        """What they lack of each shape that a call's jobs have, in order; then they hold the call's last jobs."""
        return tuple(self.start(*jobs) for jobs in jobs_of(name, numbers))

    def start(self, shape: Shape, count: int) -> Lacks:
        """What they lack for so many jobs; then they hold their shape."""
        lacks = [Lack.NOTHING, Lack.NOTHING]
        for job in range(min(2, count)):
            lacks[job] = _lack(self.next, shape)
            self.next, self.last = self.last, shape
        return Lacks(*lacks)


def behind(calls: Iterable[tuple[str, Mapping[str, int | float]]]) -> Places:
    """The places behind a run: of its calls (kernel, numbers) that may start jobs, the last one first."""
    held: list[Shape] = []
    for name, numbers in calls:
        for shape, count in reversed(jobs_of(name, numbers)):
            held += [shape] * min(2, count)
        if len(held) > 1:
            break
    held = [*held, *held, UNKNOWN, UNKNOWN]  # of a run of one job the run before left the other place
    return Places(held[1], held[0])


def _lack(held: Shape, job: Shape) -> Lack:
    """What a place that holds one shape lacks of another (write_shape, write_grid and hal_neureka_write)."""
    if job.form == GRID:
        same = held.form == GRID and held.size == job.size
        return Lack.GRID if not same else Lack.NOTHING if job.size == 1 else Lack.SAME_GRID
    if held == job:
        return Lack.NOTHING
    if job.form == PIXELS_OF:
        return Lack.PIXELS
    if job.form == FOLD:
        return Lack.ROW if held.form in (UNKNOWN.form, GRID, PIXELS_OF) else Lack.FOLD
    if held.form == FOLD:
        return Lack.BEHIND_FOLD
    if held.form == PIXELS_OF:
        return Lack.BEHIND_PIXELS
    return Lack.ROW if held.form in (UNKNOWN.form, GRID) else Lack.INPUTS
