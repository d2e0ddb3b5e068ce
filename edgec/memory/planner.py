"""plan(): homes for everything that lives for good, room for activations, a tiling for every step.

Order of decisions: cache and weights take the levels that the target prefers for them; activations share the compute
memory by lifetime; each step's tiles and slots use what is then free. What does not fit is placed behind the end of
its level, so that the plan of a model that is too large is complete and says by how much (`Plan.deficits`).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from edgec.cost.estimate import phases_usage
from edgec.errors import TargetError
from edgec.ir.graph import Graph, Node, Value
from edgec.memory.compaction import compact
from edgec.memory.placement import align, blocks, first_fit
from edgec.memory.plan import Buffer, Phase, Plan, Program, Region, Step
from edgec.memory.prefetch import find_early, prefetched
from edgec.memory.streaming import NoRoom, Workspace, stream
from edgec.memory.tiling import Candidate, candidates
from edgec.memory.tiling.step import StepContext
from edgec.ops import embed, find
from edgec.target import Target

UNBOUNDED = 1 << 60
WORTHWHILE = 0.98  # a later (finer) candidate must be this much faster: it costs code and transfers
PATIENCE = 2  # candidates in a row that may be slower before the search stops
ROOM_TO_TRY = (1.0, 0.95, 0.85, 0.7)  # shares of what is free: the fuller a memory, the harder its buffers fit
LARGE = 4  # an activation of one row that takes more than 1/LARGE of the compute memory lives elsewhere


def plan(graphs: Mapping[str, Graph], target: Target, context: int) -> Plan:
    """A plan of all graphs over shared weights and cache. Never fails for lack of room: see `Plan.deficits`."""
    homes, buffers = place_permanent(graphs, target)
    result = Plan(target, context, buffers, {})
    for name, graph in graphs.items():
        program = _ProgramPlanner(graph, target, context, dict(homes), buffers).run()
        result.programs[name] = _finished(program, buffers, target, context)
    return result


def _finished(program: Program, permanent: list[Buffer], target: Target, context: int) -> Program:
    """Loads of constants begin early where there is room for them, and all buffers are placed anew together."""
    for share in ROOM_TO_TRY:
        room = {m.name: int(share * (m.capacity_bytes - _end(permanent, m.name))) for m in target.memories}
        found = find_early(program, permanent, target, context, room)
        made = prefetched(compact(program, permanent, found.buffers), found.early)
        if all(_end(made.buffers, m.name) <= m.capacity_bytes for m in target.memories):
            return made
    made = compact(program, permanent)
    grown = any(_end(made.buffers, m.name) > _end(program.buffers, m.name) for m in target.memories)
    return program if grown else made


def _end(buffers: list[Buffer], level: str) -> int:
    return max((align(b.offset + b.size) for b in buffers if b.level == level), default=0)


def add_program(made: Plan, code_bytes: int) -> None:
    """Account for the program itself: its stack and, once measured, its code, behind everything else in their level."""
    level = made.target.placement.program
    for name, size in (("stack", made.target.runtime.stack_bytes), ("code", code_bytes)):
        if size:
            made.buffers.append(Buffer(name, level, align(made.used_bytes(level)), size, name))


def place_permanent(graphs: Mapping[str, Graph], target: Target) -> tuple[dict[str, Region], list[Buffer]]:
    """Large results, states and constants, which all programs share.

    Results too large for the compute memory come first, then the cache, then weights in order of use; tables of which
    only rows are read come last.
    """
    graph = graphs["decode"]
    gathered = {n.inputs[r] for n in graph.nodes if n.op == "embed" for r in embed.ROLES if r in n.inputs}
    streamed = {v for n in graph.nodes if n.op != "embed" for v in n.inputs.values()}
    large = [graph.values[name] for name in graph.outputs if _is_large(graph.values[name], target)]
    states = sorted(graph.of_kind("state"), key=lambda v: not _is_cache(v))
    consts = sorted(graph.of_kind("const"), key=lambda v: v.name in gathered and v.name not in streamed)
    homes: dict[str, Region] = {}
    buffers: list[Buffer] = []
    for value in [*large, *states, *consts]:
        levels, kind = _levels(value, target)
        buffer = _place(Buffer(value.name, levels[0], 0, value.type.nbytes, kind), levels, buffers, target)
        buffers.append(buffer)
        homes[value.name] = Region(buffer.level, buffer.offset, buffer.size, value.name)
    return homes, buffers


def _is_large(value: Value, target: Target) -> bool:
    """One row that would take more than 1/LARGE of the compute memory."""
    capacity = target.memory_by_name[target.compute].capacity_bytes
    return value.type.shape[0] == 1 and value.type.nbytes * LARGE > capacity


def _is_cache(value: Value) -> bool:
    return "_cache" in value.name


def _levels(value: Value, target: Target) -> tuple[tuple[str, ...], str]:
    if value.kind == "state":
        return (target.placement.kv, "kv") if _is_cache(value) else ((target.compute,), "state")
    if value.kind == "activation":
        return target.placement.large, "activation"
    if value.name == "rope.table":
        return target.placement.weights, "table"
    side = value.name.endswith((".scale", ".zero", ".minimum"))
    return target.placement.weights, "scale" if side else "weight"


def _place(buffer: Buffer, levels: tuple[str, ...], placed: list[Buffer], target: Target) -> Buffer:
    """The buffer at its first fitting offset in the first level that has room, else behind the last level's end."""
    for level in levels:
        moved = Buffer(buffer.name, level, 0, buffer.size, buffer.kind, buffer.program, buffer.start, buffer.end)
        capacity = target.memory_by_name[level].capacity_bytes
        if level == target.placement.program and not buffer.program:
            capacity -= target.placement.program_bytes
        offset = first_fit(moved, placed, 0, capacity)
        if offset is None and level == levels[-1]:
            # Behind all else, across the end: what sticks out is what is missing. The program's bytes stay free.
            floor = capacity if level == target.placement.program else 0
            offset = first_fit(moved, placed, floor, UNBOUNDED)
        if offset is not None:
            return Buffer(
                buffer.name, level, offset, buffer.size, buffer.kind, buffer.program, buffer.start, buffer.end
            )
    raise AssertionError("a buffer needs at least one level")


@dataclass
class _ProgramPlanner:
    graph: Graph
    target: Target
    context: int
    homes: dict[str, Region]
    permanent: list[Buffer]
    chosen: dict[object, int] = field(default_factory=dict)

    def run(self) -> Program:
        activations = self._place_activations()
        steps, buffers, always = [], list(activations), blocks(self.permanent)
        for index, node in enumerate(self.graph.nodes):
            alive = [*always, *(b for b in activations if b.start <= index < b.end)]
            phases, made = self._plan_step(index, node, alive)
            context = self._context(node)
            writes = tuple(
                (v, self.homes[v], context.rows_of(v), self.graph.type_of(v).row_bytes) for v in node.outputs.values()
            )
            steps.append(Step(index, node.name, node.op, node.source, phases, writes))
            buffers += made
        return Program(self.graph.name, self.graph.rows, steps, buffers)

    def _context(self, node: Node) -> StepContext:
        return StepContext(node, self.graph, self.homes, self.target, self.context)

    def _place_activations(self) -> list[Buffer]:
        last: dict[str, int] = {}
        first: dict[str, int] = {}
        for index, node in enumerate(self.graph.nodes):
            for name in node.inputs.values():
                last[name] = index
            for name in node.outputs.values():
                first[name] = last[name] = index
        for name in self.graph.outputs:
            last[name] = len(self.graph.nodes) - 1
        storage = self._share_in_place(first, last)
        placed: list[Buffer] = []
        values = [v for v in self.graph.of_kind("activation") if v.name not in self.homes and storage[v.name] == v.name]
        for value in sorted(values, key=lambda v: -v.type.nbytes):
            tenants = [name for name, owner in storage.items() if owner == value.name]
            start, end = first[value.name], max(last[name] for name in tenants) + 1
            levels = (self.target.compute,)
            wanted = Buffer(value.name, levels[0], 0, value.type.nbytes, "activation", self.graph.name, start, end)
            buffer = _place(wanted, levels, [*self.permanent, *placed], self.target)
            placed.append(buffer)
            for name in tenants:
                self.homes[name] = Region(buffer.level, buffer.offset, self.graph.type_of(name).nbytes, name)
        return placed

    def _share_in_place(self, first: dict[str, int], last: dict[str, int]) -> dict[str, str]:
        """The value whose buffer each activation uses: its own, or that of an input which its op may overwrite."""
        storage = {v.name: v.name for v in self.graph.of_kind("activation")}
        for index, node in enumerate(self.graph.nodes):
            role = find(node.op).in_place
            source = node.inputs.get(role, "")
            if source in storage and last[source] == index and source not in self.homes:
                (target,) = node.outputs.values()
                if self.graph.type_of(target) == self.graph.type_of(source) and target not in self.homes:
                    storage[target] = storage[source]
        return storage

    def _plan_step(self, index: int, node: Node, alive: list[Buffer]) -> tuple[tuple[Phase, ...], list[Buffer]]:
        """The fastest candidate that fits; equal situations are decided once."""
        context = self._context(node)
        options = list(candidates(context))
        situation = self._situation(context, alive)
        if situation in self.chosen:
            built = self._build(context, options[self.chosen[situation]], index, alive)
            if built is not None:
                return built
        best: tuple[float, int] | None = None
        kept, worse = None, 0
        for number, option in enumerate(options):
            built = self._build(context, option, index, alive)
            if built is None:
                continue
            usage = phases_usage(self.target, built[0], self.graph.rows, self.context - self.graph.rows)
            if best is None or usage.cycles < best[0] * WORTHWHILE:
                best, kept, worse = (usage.cycles, number), built, 0
            else:
                worse += 1
                if worse == PATIENCE:
                    break
        if best is None or kept is None:
            built = self._build(context, options[-1], index, alive, overflow=True)
            if built is None:
                limits = ", ".join(f"{link.name} {link.max_bytes:,} B" for link in self.target.links)
                raise TargetError(
                    f"{node.op} of {node.source} moves rows longer than {self.target.name}'s links take ({limits})."
                )
            return built
        self.chosen[situation] = best[1]
        return kept

    def _build(
        self, context: StepContext, option: Candidate, index: int, alive: list[Buffer], overflow: bool = False
    ) -> tuple[tuple[Phase, ...], list[Buffer]] | None:
        workspace = Workspace(self.target, self.graph.name, index, alive, overflow)
        try:
            phases = stream(workspace, self.target.engines[0].name, option(workspace))
        except NoRoom:
            return None
        return phases, workspace.made

    def _situation(self, context: StepContext, alive: list[Buffer]) -> object:
        """All that the choice depends on: op, attributes, types, levels, and what is taken of the compute memory."""
        node = context.node
        roles = [*node.inputs, *node.outputs]
        values = [*node.inputs.values(), *node.outputs.values()]
        shape = tuple(
            (r, context.type(r), self.homes[v].level) for r, v in zip(roles, values, strict=True) if v in self.homes
        )
        taken = tuple(sorted((b.offset, align(b.size)) for b in alive if b.level == self.target.compute))
        return (node.op, tuple(sorted(node.attrs.items())), shape, taken)
