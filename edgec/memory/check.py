"""check(plan): an independent proof that a plan is sound. Knows nothing of how plans are made.

Checked: buffers lie inside their level, aligned, and never share a byte while both are alive; every transfer uses an
existing link within its length limit and stays inside live buffers; nothing in a phase touches what another part of
it writes; every operand has as many bytes as its kernel touches; and, following what every byte holds from step to
step, every operand of every kernel call holds the bytes of the value that it is meant to hold. A wrong offset, a lost
transfer or one too early is found without running it.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import combinations, groupby, pairwise
from typing import Any

from edgec.memory.check_new_rows import NewRows
from edgec.memory.contents import ByOffset, Contents
from edgec.memory.operand_sizes import most_bytes
from edgec.memory.plan import (
    ALIGN,
    CONSTANT,
    Buffer,
    Call,
    Extent,
    Phase,
    Plan,
    Program,
    Region,
    Step,
    Transfer,
    most,
    rows_at_run,
    rows_of_part,
)
from edgec.neureka.engine import LINE
from edgec.ops import attention, kernel


class PlanError(Exception):
    """A plan breaks a rule; the message names step, node and buffer."""


def check(plan: Plan) -> None:
    """Raise PlanError at the first unsound thing in a plan."""
    _check_buffers(plan)
    for program in plan.programs.values():
        _Walk(plan, program).run()


def _check_buffers(plan: Plan) -> None:
    level, reserved = plan.target.runtime.stack_level, plan.target.reserved_bytes
    stacks = (b for b in plan.buffers if b.kind == "stack" and b.level == level and not b.offset)
    if reserved and not any(b.size >= reserved for b in stacks):
        raise PlanError(f"nothing keeps the first {reserved} B of {level}, in which the stacks lie")
    for b in plan.all_buffers():
        capacity = plan.target.memory_by_name[b.level].capacity_bytes
        if b.offset < 0 or b.size <= 0 or b.offset + b.size > capacity:
            raise PlanError(f"buffer {b.name} [{b.offset}, {b.offset + b.size}) leaves {b.level} of {capacity} B")
        if b.offset % ALIGN:
            raise PlanError(f"buffer {b.name} at {b.offset} of {b.level} is not aligned to {ALIGN}")
    for level in plan.target.memory_by_name:
        permanent = sorted((b for b in plan.buffers if b.level == level), key=lambda b: b.offset)
        _check_disjoint(permanent)
        for program in plan.programs.values():
            ours = [b for b in program.buffers if b.level == level]
            index = ByOffset(permanent)
            for b in ours:
                if any(b.start < first < b.end for first, _ in program.sweeps):
                    raise PlanError(f"buffer {b.name} of {program.name} lives from one sweep into another")
                if b.start >= b.end or b.program != program.name:
                    life = f"steps [{b.start}, {b.end}) of {b.program!r}"
                    raise PlanError(f"buffer {b.name} of {program.name} lives for {life}")
                if other := index.touching(b.offset, b.offset + b.size):
                    raise PlanError(f"buffers {b.name} and {other.name} share bytes of {level} while both are alive")
            for alive in _alive_by_step(ours):
                _check_disjoint(sorted(alive, key=lambda b: b.offset))


def _check_disjoint(buffers: list[Buffer]) -> None:
    for a, b in pairwise(buffers):
        if a.offset + a.size > b.offset:
            raise PlanError(f"buffers {a.name} and {b.name} share bytes of {a.level} while both are alive")


def _alive_by_step(buffers: list[Buffer]) -> Iterator[list[Buffer]]:
    """The buffers alive at each step at which one begins."""
    alive: list[Buffer] = []
    ordered = sorted(buffers, key=lambda b: b.start)
    for step, starting in groupby(ordered, key=lambda b: b.start):
        alive = [b for b in alive if b.end > step] + list(starting)
        yield alive


class _Walk:
    """Follows one program from an empty compute memory."""

    def __init__(self, plan: Plan, program: Program) -> None:
        self.plan, self.program = plan, program
        self.contents = {level: Contents() for level in plan.target.memory_by_name}
        self.constants = {b.name for b in plan.buffers if b.kind in CONSTANT}
        for b in plan.buffers:
            if b.kind in (*CONSTANT, "kv", "state"):
                self.contents[b.level].write(Region(b.level, b.offset, b.size, b.name))
        self.permanent = {
            level: ByOffset([b for b in plan.buffers if b.level == level]) for level in plan.target.memory_by_name
        }
        self.starting: dict[int, list[Buffer]] = {}
        for b in program.buffers:
            self.starting.setdefault(b.start, []).append(b)
        self.alive: list[Buffer] = []
        self.indexed: dict[str, ByOffset] = {}
        self.sizes: dict[Any, dict[str, tuple[int, int]]] = {}
        self.new_rows = NewRows(plan, program)

    def run(self) -> None:
        for number, step in enumerate(self.program.steps):
            if step.index != number:
                raise PlanError(f"step {number} of {self.program.name} carries the index {step.index}")
            self.alive = [b for b in self.alive if b.end > number] + self.starting.get(number, [])
            self.indexed = {level: ByOffset([b for b in self.alive if b.level == level]) for level in self.contents}
            self.opened: set[Region] = set()
            for phase in step.phases:
                self.phase(step, phase)
            for value, region, rows, row_bytes in step.writes:
                if most(rows) * row_bytes > region.size:
                    self.fail(step, f"{value} needs {most(rows) * row_bytes} B, its region has {region.size}")
                self.expect(step, region, f"output {value}")
                if region.row_bytes and (region not in self.opened or region.row_bytes != row_bytes):
                    self.fail(step, f"no call writes {value} to row pos of {region.value} in rows of {row_bytes} B")
        self.hold(self.program.steps[-1], self.new_rows.left())

    def fail(self, step: Step, what: str) -> None:
        raise PlanError(f"{self.program.name} step {step.index} ({step.op} {step.node}): {what}")

    def hold(self, step: Step, wrong: str) -> None:
        """Fail if something is wrong."""
        if wrong:
            self.fail(step, wrong)

    def expect(self, step: Step, region: Region, role: str) -> None:
        wrong = self.contents[region.level].holds(region)
        if wrong:
            size = f"{region.level}[{region.offset}, {region.offset + region.size})"
            self.fail(step, f"{role} expects byte {region.at} of {region.value} in {size}, which {wrong}")

    def inside(self, step: Step, region: Region, role: str) -> None:
        """A region lies in one buffer that is alive at the step."""
        start, end = region.offset, region.offset + region.size
        if not (self.indexed[region.level].holding(start, end) or self.permanent[region.level].holding(start, end)):
            self.fail(step, f"{role} {region.value} [{start}, {end}) of {region.level} is in no live buffer")

    def open(self, step: Step, direction: str, region: Region) -> None:
        """Rows from pos on are written, and of a whole cache, at its home or where its rows before pos were brought:
        as many follow as a run may have."""
        cache = self.permanent[region.level].touching(region.offset, region.offset + region.size)
        whole = Buffer(region.value, region.level, region.offset, self.plan.context * region.row_bytes, "kv")
        home = cache == whole and not region.at and region.size == whole.size
        if direction != "out" or not (home or self.new_rows.opens(region, self.contents[region.level])):
            self.fail(step, f"rows of {region.row_bytes} B of {region.value} are not new rows of a whole cache")
        self.opened.add(region)

    def phase(self, step: Step, phase: Phase) -> None:
        reads: list[tuple[Region, int]] = []
        writes: list[tuple[Region, int]] = []
        for part, transfer in enumerate(phase.transfers):
            self.transfer(step, transfer)
            reads.append((transfer.source, part))
            writes.append((transfer.target, part))
        for direction, region in _operands(phase.call):
            self.inside(step, region, "operand")
            self.hold(step, self.new_rows.named(region))
            if region.row_bytes:
                self.open(step, direction, region)
            self.read_ahead(step, phase.call, region)
            if region.level != self.plan.target.compute and not self.may_reach(step, phase.call, region):
                self.fail(step, f"the kernel cannot reach {region.value} in {region.level}")
            if direction != "out":
                reads.append((region, -1))
            if direction != "in":
                writes.append((region, -1))
        for (a, part_a), (b, part_b) in combinations(writes, 2):
            if part_a != part_b and _touch(a, b) and not _apart(phase.transfers, part_a, part_b):
                self.fail(step, f"{a.value} and {b.value} are written to the same bytes in one phase")
        for w, part_w in writes:
            for r, part_r in reads:
                if part_w != part_r and _touch(w, r):
                    self.fail(step, f"{r.value} is read while {w.value} is written to the same bytes")
        if phase.call is not None and phase.call.kernel == "sample":
            logits = phase.call.regions["logits"]
            if logits is None or phase.call.numbers["n"] != logits.size / 4:
                self.fail(step, f"{phase.call.numbers['n']} logits are not all that the operand holds")
        if phase.call is not None:
            self.operands(step, phase.call, phase.when)
        if phase.call is not None and phase.when is not None:
            self.condition(step, phase.call, phase.when)
        for number in phase.call.numbers.values() if phase.call is not None else ():
            if isinstance(number, Extent):
                self.count(step, number, phase.call.kernel if phase.call else "")
        for region, part in reads:
            self.expect(step, region, "read")
            self.hold(step, self.new_rows.read(region, phase.transfers[part] if part >= 0 else None))
        for region, _ in writes:
            self.contents[region.level].write(region)
        self.new_rows.end_phase(phase.transfers)

    def operands(self, step: Step, call: Call, when: Extent | None) -> None:
        """Every region has what the kernel touches in any run, and one that is written consists of whole rows."""
        key = (call.kernel, tuple(call.numbers.items()), when)
        try:
            if key not in self.sizes:  # equal layers make equal calls
                self.sizes[key] = most_bytes(call, when, self.program.rows, self.plan.context)
            sizes = self.sizes[key]
        except ValueError as error:
            self.fail(step, f"{call.kernel} has {error}")
        cores = self.plan.target.engines[0].cores
        if call.numbers.get("cores", cores) != cores:
            self.fail(step, f"{call.kernel} has room for {call.numbers['cores']} cores, the engine has {cores}")
        if "group" in call.numbers:
            rows, group = call.regions["w"], call.numbers["group"]
            if rows is not None and rows.value != rows_of_part(rows.value.rpartition(".")[0], int(most(group))):
                self.fail(step, f"{call.kernel} of group {group} gets {rows.value}")
        if "lanes" in call.numbers:
            self._rooms(step, call, cores)
        kinds = {p.name: p.kind for p in kernel(call.kernel).params}
        for name, (least, row) in sizes.items():
            region = call.regions[name]
            if region is None or region.row_bytes:  # an open one: open() knows its size
                continue
            if region.size < least:
                self.fail(step, f"{call.kernel} touches {least} B of {name}, its region has {region.size}")
            if kinds[name] != "in" and row and region.size % row:
                self.fail(step, f"{call.kernel} writes {name} in rows of {row} B, its region has {region.size}")

    def _rooms(self, step: Step, call: Call, cores: int) -> None:
        """Attention does one after the other or as many together as the op says, and has room for what cores do."""
        lanes, rooms, heads, kv, d = (
            n if isinstance(n := call.numbers[key], int) else 0
            for key in ("lanes", "rooms", "n_heads", "n_kv_heads", "head_dim")
        )
        most = attention.lanes(self.program.rows, heads, max(1, kv), d, cores)
        if lanes not in (1, most) or (lanes > 1 and call.regions["r"] is None):
            self.fail(step, f"{call.kernel} does {lanes} rows and heads together, it can do {most}")
        needed = max(cores * lanes, heads if call.regions["found"] else 0)
        if rooms < needed:
            self.fail(step, f"{call.kernel} has {rooms} rooms, {needed} are needed")

    def condition(self, step: Step, call: Call, when: Extent) -> None:
        """A call is left out only in runs in which one of its own counts is 0."""
        counts = [n for n in call.numbers.values() if isinstance(n, Extent)]
        begins = {(n.bound, n.first, n.from_start) for n in counts}
        if (when.bound, when.first, when.from_start) not in begins or when.most < 1:
            self.fail(step, f"{call.kernel} runs under a condition that is not one of its counts")

    def count(self, step: Step, n: Extent, what: str, by_row: bool = False) -> None:
        """A count is of all rows of the run, or of the positions up to some row; in both cases of those that exist."""
        rows, context = self.program.rows, self.plan.context
        sound = n.first >= 0 and n.limit >= 1 and n.times >= 1
        if n.from_start:
            sound = sound and not by_row and 1 <= n.bound <= rows and n.first + n.limit <= context
        else:
            sound = sound and n.bound == rows and n.first + n.limit <= rows
        if not sound:
            self.fail(step, f"{what} counts {n}, in runs of {rows} rows and a context of {context}")

    def read_ahead(self, step: Step, call: Call | None, region: Region) -> None:
        """Behind what an accelerator reads of the compute memory there is more of that memory."""
        target = self.plan.target
        if call is None or not kernel(call.kernel).engine or region.level != target.compute:
            return
        left = target.memory_by_name[region.level].capacity_bytes - region.offset - region.size
        if left < target.read_ahead_bytes:
            self.fail(step, f"{left} B of {region.level} are behind {region.value}, {target.read_ahead_bytes} are read")

    def may_reach(self, step: Step, call: Call | None, region: Region) -> bool:
        """Sampling reads the logits and its state where they are, an accelerator streams weights from its memories; all
        other operands must be in the compute memory."""
        if call is None:
            return False
        code = kernel(call.kernel)
        if any(call.regions[role] == region for role in code.streamed):
            if region.offset % LINE:
                self.fail(step, f"{region.value} at {region.offset} is not on a line of {LINE} B of {region.level}")
            return self.plan.target.streams(code.engine, region.level)
        return call.kernel == "sample" and region.level != "L3"

    def transfer(self, step: Step, t: Transfer) -> None:
        if t.source.row_bytes or t.target.row_bytes:
            self.fail(step, f"a transfer of {t.source.value} says twice where it begins")
        link = self.plan.target.link_by_name.get(t.link)
        if link is None or (link.source, link.destination) != (t.source.level, t.target.level):
            self.fail(step, f"no link {t.link} joins {t.source.level} and {t.target.level}")
            return
        size = most(t.rows) * t.row_bytes
        if t.start != "token" and size > link.max_bytes:
            self.fail(step, f"a transfer of {size} B exceeds {link.name}'s limit of {link.max_bytes}")
        if t.row_bytes > link.max_bytes:
            self.fail(step, f"a row of {t.row_bytes} B exceeds {link.name}'s limit of {link.max_bytes}")
        wrong = self.new_rows.move(t)
        self.hold(step, wrong or "")
        if wrong is None:
            self.rows(step, t, size)
        self.inside(step, t.source, "source")
        self.inside(step, t.target, "target")

    def rows(self, step: Step, t: Transfer, size: int) -> None:
        """A transfer moves as many rows as its regions have, from and to where they belong, and names them rightly."""
        if isinstance(t.rows, Extent):
            self.count(step, t.rows, f"a transfer of {t.source.value}", bool(t.start))
        exact = {"": (t.source, t.target), "source_pos": (t.target,), "target_pos": (t.source,), "token": (t.target,)}
        for region in exact[t.start]:
            if region.size != size:
                self.fail(step, f"transfer of {size} B between regions of {t.source.size} and {t.target.size} B")
        if not t.start and (t.source.value, t.source.at) != (t.target.value, t.target.at):
            self.fail(step, f"transfer turns {t.source.value}+{t.source.at} into {t.target.value}+{t.target.at}")
        if t.start and t.source.value == t.target.value:
            self.fail(step, f"transfer of rows of {t.source.value} chosen at run time keeps the name of the whole")
        name = t.source.value
        if t.start == "source_pos" and name in self.constants and t.target.value != rows_at_run(name):
            self.fail(step, f"rows of {name} at the run's position become {t.target.value}")
        rows = {"source_pos": t.source, "target_pos": t.target}.get(t.start)
        if rows is not None:
            first = t.rows.first if isinstance(t.rows, Extent) else 0  # a later part of a split transfer
            left = self.plan.context - first
            if rows.at != first * t.row_bytes or rows.size != left * t.row_bytes:
                where = f"from byte {rows.at}, {rows.size} B"
                self.fail(step, f"{rows.value} {where}, are not its last {left} rows of {t.row_bytes} B")
        if t.start == "token":
            table = next((b for b in self.plan.buffers if b.name == t.source.value), None)
            part, past = divmod(t.source.at, t.source.size)
            whole = table is not None and not past and not table.size % t.source.size
            if table is None or not whole or t.source.size // t.row_bytes != self.tokens(step):
                self.fail(step, f"rows chosen by token come from {t.source.size} B, not from all of {t.source.value}")
            elif t.source.size < table.size and t.target.value != rows_of_part(t.target.value.rpartition(".")[0], part):
                self.fail(step, f"rows of part {part} of {t.source.value} become {t.target.value}")

    def tokens(self, step: Step) -> int:
        """Rows of the smallest table that a step looks tokens up in: every token has one, of each part of another."""
        looked_up = [t for phase in step.phases for t in phase.transfers if t.start == "token"]
        sizes = {b.name: b.size for b in self.plan.buffers}
        return min(sizes.get(t.source.value, 0) // t.row_bytes for t in looked_up)


def _operands(call: Call | None) -> Iterator[tuple[str, Region]]:
    if call is not None:
        params = {p.name: p for p in kernel(call.kernel).params}
        for name, region in call.regions.items():
            if region is not None:
                p = params[name]
                yield "out" if p.fresh and call.numbers[p.fresh] == 0 else p.kind, region


def _apart(transfers: tuple[Transfer, ...], a: int, b: int) -> bool:
    """Whether two transfers to row pos of one value write different rows after pos, though their regions stay open."""
    if a < 0 or b < 0:
        return False
    first, second = transfers[a], transfers[b]
    if first.start != "target_pos" or second.start != "target_pos" or first.target.value != second.target.value:
        return False
    spans = sorted((t.rows.first, t.rows.first + t.rows.limit) for t in (first, second) if isinstance(t.rows, Extent))
    return len(spans) == 2 and spans[0][1] <= spans[1][0]


def _touch(a: Region, b: Region) -> bool:
    return a.level == b.level and a.offset < b.offset + b.size and b.offset < a.offset + a.size
