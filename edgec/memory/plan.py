"""The Plan's vocabulary: where every byte lies, what moves when, what computes on what.

    Plan     = target, context, buffers that live for good (weights, cache, tables), programs
    Program  = "decode", "prefill" or "encode": rows, steps in order, buffers that live for some steps
    Step     = one node of the graph: phases in order
    Phase    = transfers that start together, and at most one kernel call that runs beside them; the phase ends
               when all are done. Within a phase nothing touches what something else writes.
    Buffer   = name, level, offset, size (bytes), lifetime [start, end) in steps of its program
    Region   = a piece of a memory level together with what lies there: bytes [at, at + size) of `value`; open, if it
               is a whole cache of which a call gets the rows from pos on
    Transfer = rows of row_bytes from one region to another over one link
    Kernel call = kernel name, operands (Regions) and numbers by parameter

A number may depend on the two run-time integers of a run, m (its rows) and pos (the position of its first row):
`Extent` and `Position` are the only forms, so that C, the simulator and the cost model evaluate the same thing.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TypeVar

from edgec.ir.graph import sweeps
from edgec.memory.offsets import Piece, Placed, lower_bound
from edgec.target import Target

ALIGN = 16  # of every buffer's offset, in bytes
CONSTANT = ("weight", "scale", "table")  # kinds of buffers that no run writes


@dataclass(frozen=True, slots=True)
class Extent:
    """times * clamp(n - first, 0, limit), with n = min(m, bound), plus pos if `from_start` (it counts positions).

    A bound of 0 leaves the positions before the run.
    """

    bound: int
    first: int
    limit: int
    times: int = 1
    from_start: bool = False

    def at(self, m: int, pos: int) -> int:
        """The number for a run of m rows at position pos."""
        n = min(m, self.bound) + (pos if self.from_start else 0)
        return self.times * max(0, min(n - self.first, self.limit))

    @property
    def most(self) -> int:
        """Its largest value."""
        return self.times * self.limit


@dataclass(frozen=True, slots=True)
class Position:
    """pos + add."""

    add: int = 0

    def at(self, m: int, pos: int) -> int:
        """The number for a run at position pos."""
        return pos + self.add


Number = int | float | Extent | Position


def evaluate(number: Number, m: int, pos: int) -> int | float:
    """A number of the plan for one run."""
    return number.at(m, pos) if isinstance(number, (Extent, Position)) else number


def rows_at_run(table: str) -> str:
    """What the rows of a table at the positions of a run are called where they were brought to."""
    return f"{table}.rows"


def rows_before_run(cache: str) -> str:
    """What the rows of a cache before a run's are called where they were brought to, until its own are beside them."""
    return f"{cache}.before"


def before_run(context: int) -> Extent:
    """The positions before a run's."""
    return Extent(0, 0, context, from_start=True)


def rows_of_part(rows: str, part: int) -> str:
    """What rows that are looked up in one of a table's equal parts are called where they were brought to."""
    return f"{rows}.{part}"


def most(number: Number) -> int:
    """The largest value of a row count."""
    return number.most if isinstance(number, Extent) else int(number)  # type: ignore[arg-type]


@dataclass(frozen=True, slots=True)
class Region:
    """`size` bytes at `offset` of a level, holding bytes [at, at + size) of `value`.

    row_bytes: 0, or the region is open: it is a cache with rows of that size, and who gets it gets row pos and what
    follows. So a call writes new rows where they belong.
    """

    level: str
    offset: int
    size: int
    value: str
    at: int = 0
    row_bytes: int = 0

    def start(self, pos: int) -> int:
        """The offset of its first byte in a run at position pos."""
        return self.offset + pos * self.row_bytes

    def part(self, at: int, size: int) -> Region:
        """The sub-region of `size` bytes that starts `at` bytes in."""
        return Region(self.level, self.offset + at, size, self.value, self.at + at)


@dataclass(frozen=True, slots=True)
class Transfer:
    """`rows` rows of row_bytes from source to destination over a link.

    start says where inside the regions the rows begin:
      ""            at their starts
      "source_pos"  at row pos of the source (a table by position)
      "target_pos"  at row pos of the destination (the cache)
      "both_pos"    at row pos of both (new rows that were computed behind rows of the cache, to the cache)
      "token"       row i of the source is the row of token i (a gather)
    """

    link: str
    source: Region
    target: Region
    row_bytes: int
    rows: Number
    start: str = ""

    @property
    def source_stride(self) -> int:
        """Bytes by which it begins later in the source for each position before the run's."""
        return self.row_bytes if self.start in ("source_pos", "both_pos") else 0

    @property
    def target_stride(self) -> int:
        """The same in the destination."""
        return self.row_bytes if self.start in ("target_pos", "both_pos") else 0


@dataclass(frozen=True, slots=True)
class Call:
    """One kernel call on an engine: regions (None for an absent optional operand) and numbers by parameter.

    any_rows: it is of a program for any number of rows, whose kernels know no shape; a token's have copies that do.
    """

    kernel: str
    engine: str
    regions: Mapping[str, Region | None]
    numbers: Mapping[str, Number]
    any_rows: bool = False


@dataclass(frozen=True, slots=True)
class Phase:
    """Transfers that start together beside one call; the call is skipped in runs where `when` is 0."""

    transfers: tuple[Transfer, ...]
    call: Call | None = None
    when: Extent | None = None


@dataclass(frozen=True, slots=True)
class Step:
    """A node's phases, and the values it writes (for tracing): value name, region, rows."""

    index: int
    node: str
    op: str
    source: str
    phases: Sequence[Phase]
    writes: tuple[tuple[str, Region, Number, int], ...]  # value, where, rows, bytes of a row


@dataclass(frozen=True, slots=True)
class Buffer:
    """Bytes [offset, offset + size) of a level during steps [start, end) of a program ("" = always).

    kind: weight, scale, table, kv, state, activation, scratch, stage, or the program's: code, data or stack.
    """

    name: str
    level: str
    offset: int
    size: int
    kind: str
    program: str = ""
    start: int = 0
    end: int = 0

    def meets(self, other: Buffer) -> bool:
        """Whether both are alive at some step."""
        if not self.program or not other.program:
            return True
        return self.program == other.program and self.start < other.end and other.start < self.end

    def overlaps(self, other: Buffer) -> bool:
        """Whether both are on one level and share a byte."""
        same = self.level == other.level
        return same and self.offset < other.offset + other.size and other.offset < self.offset + self.size


@dataclass
class Program:
    """The steps of one kind of run, at most `rows` tokens long.

    how: by level how the buffers' offsets were found; not part of the plan's file. Empty if step by step, first fit.
    """

    name: str
    rows: int
    steps: list[Step]
    buffers: list[Buffer]
    how: dict[str, Placed] = field(default_factory=dict, compare=False, repr=False)

    @property
    def sweeps(self) -> list[tuple[int, int]]:
        """First step of each sweep over a text, and the one behind its last; a decoder's programs are one sweep."""
        return sweeps(step.op for step in self.steps)


Named = TypeVar("Named")


def main(programs: Mapping[str, Named]) -> Named:
    """Of graphs or programs by name the one that decides where things lie: decode, or encode where that is all."""
    return programs["decode"] if "decode" in programs else programs["encode"]


@dataclass
class Plan:
    """See the module's docstring."""

    target: Target
    context: int
    buffers: list[Buffer]
    programs: dict[str, Program]
    notes: list[str] = field(default_factory=list)

    @property
    def chunk(self) -> int:
        """The most tokens of any run."""
        return max(program.rows for program in self.programs.values())

    def all_buffers(self) -> Iterator[Buffer]:
        """Permanent buffers, then each program's."""
        yield from self.buffers
        for program in self.programs.values():
            yield from program.buffers

    def used_bytes(self, level: str) -> int:
        """High-water mark of a level: the end of its last buffer."""
        return max((b.offset + b.size for b in self.all_buffers() if b.level == level), default=0)

    def arena_bytes(self, level: str) -> int:
        """Bytes of a level that the plan's data take; program and stack, which the linker places, left out."""
        data = (b for b in self.all_buffers() if b.level == level and b.kind not in ("code", "data", "stack"))
        return max((b.offset + b.size for b in data), default=0)

    def deficits(self) -> dict[str, int]:
        """Bytes missing per level; empty when the plan fits."""
        capacity = {m.name: m.capacity_bytes for m in self.target.memories}
        return {n: self.used_bytes(n) - c for n, c in capacity.items() if self.used_bytes(n) > c}

    def lower_bound(self, level: str) -> int:
        """No placement can use less: the most bytes that are alive at one step."""
        always = sum(_aligned(b.size) for b in self.buffers if b.level == level)
        return always + max(
            lower_bound([Piece(_aligned(b.size), b.start, b.end) for b in program.buffers if b.level == level])
            for program in self.programs.values()
        )


def _aligned(size: int) -> int:
    return -(-size // ALIGN) * ALIGN
