"""plan(): homes for everything that lives for good, room for activations, a tiling for every step.

Order of decisions: cache and weights take the levels that the target prefers for them; activations share the compute
memory by lifetime; each step's tiles and slots use what is then free. What does not fit is placed behind the end of
its level, so that the plan of a model that is too large is complete and says by how much (`Plan.deficits`).
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field

from edgec.cost.estimate import phases_usage, program_usage
from edgec.errors import TargetError
from edgec.ir.graph import Graph, Node
from edgec.memory.choices import ALL, Choices
from edgec.memory.compaction import compact
from edgec.memory.homes import is_large, levels_of, place, place_permanent
from edgec.memory.placement import align, blocks
from edgec.memory.plan import Buffer, Phase, Plan, Program, Region, Step
from edgec.memory.prefetch import find_early, prefetched
from edgec.memory.residency import Cycles, elsewhere, near_budget, nearest, savings, spills
from edgec.memory.streaming import NoRoom, Workspace, stream
from edgec.memory.tiling import Candidate, candidates
from edgec.memory.tiling.step import StepContext
from edgec.ops import find
from edgec.target import Target

WORTHWHILE = 0.98  # a later (finer) candidate must be this much faster: it costs code and transfers
LONG = 256  # phases of a step: with more of them, finer candidates gain little and take long to plan
PATIENCE = 2  # candidates in a row that may be slower before the search stops
ROOM_TO_TRY = (1.0, 0.95, 0.85, 0.7)  # shares of what is free: the fuller a memory, the harder its buffers fit
NEAR_SHARE = 16  # constants that could stay in the compute memory are at least 1/NEAR_SHARE of all, or none do
NEAR_TO_TRY = (1.0, 0.75, 0.5, 0.25)  # shares of what is free for them
PREFILL_LOSS = 1.1  # how much longer prefill may take for it


def plan(graphs: Mapping[str, Graph], target: Target, context: int, choices: Choices = ALL) -> Plan:
    """A plan of all graphs over shared weights and cache. Never fails for lack of room: see `Plan.deficits`."""
    worth = _worth(graphs["decode"], target, context) if choices.residency else {}
    made = _planned(graphs, target, context, choices, worth)
    return _with_near(graphs, made, choices, worth) if choices.near and not made.deficits() else made


def _planned(
    graphs: Mapping[str, Graph],
    target: Target,
    context: int,
    choices: Choices,
    worth: Mapping[str, float],
    near: Collection[str] = (),
) -> Plan:
    homes, buffers = place_permanent(graphs, target, worth, near)
    result = Plan(target, context, buffers, {})
    for name, graph in graphs.items():
        program = _ProgramPlanner(graph, target, context, dict(homes), buffers, choices).run()
        result.programs[name] = _finished(program, buffers, target, context, choices)
    return result


def _with_near(graphs: Mapping[str, Graph], made: Plan, choices: Choices, worth: Mapping[str, float]) -> Plan:
    """The plan with constants that stay in the compute memory, if there is room for some and a token is faster so."""
    graph, target, context = graphs["decode"], made.target, made.context
    budget = near_budget(made)
    constants = sum(v.type.nbytes for v in graph.of_kind("const"))
    if budget * NEAR_SHARE < constants or target.placement.weights[0] == target.compute:
        return made
    gain = savings(graph, target.compute, target.placement.weights[0], _cycles_by_level(graph, target, context))
    for share in NEAR_TO_TRY:
        near = nearest(graph, target, gain, int(share * budget))
        better = _planned(graphs, target, context, choices, worth, near) if near else made
        times = {name: _slower(made, better, name) for name in graphs}
        if near and not better.deficits() and times.get("prefill", 1.0) < PREFILL_LOSS:
            return better if times["decode"] < 1 else made
    return made


def _slower(a: Plan, b: Plan, name: str) -> float:
    """Predicted time of a program's run at the end of the context, with the second plan over with the first."""
    rows = a.programs[name].rows
    cycles = [program_usage(p, p.programs[name], rows, p.context - rows).cycles for p in (a, b)]
    return cycles[1] / cycles[0]


def _finished(program: Program, permanent: list[Buffer], target: Target, context: int, choices: Choices) -> Program:
    """Loads of constants begin early where there is room for them, and all buffers are placed anew together."""
    if not choices.compaction:
        return program
    for share in ROOM_TO_TRY if choices.early_loads else ():
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
    """Account for the program itself behind everything else in its level.

    That is its code, once measured, and its stack unless that has a place in the plan already.
    """
    level = made.target.placement.program
    stack_bytes = 0 if made.target.reserved_bytes else made.target.runtime.stack_bytes
    for name, size in (("stack", stack_bytes), ("code", code_bytes)):
        if size:
            made.buffers.append(Buffer(name, level, align(made.used_bytes(level)), size, name))


def _worth(graph: Graph, target: Target, context: int) -> dict[str, float]:
    """Cycles per byte that constants save near the engine; nothing is worked out for a model that fits there whole."""
    if not spills(graph, target):
        return {}

    levels = target.placement.weights
    return savings(graph, levels[0], levels[-1], _cycles_by_level(graph, target, context))


def _cycles_by_level(graph: Graph, target: Target, context: int) -> Cycles:
    """A function of a level for all constants, and of nodes: predicted cycles of their steps."""

    def cycles(level: str, nodes: list[int]) -> dict[int, float]:
        first = target.placement.weights[0]
        never = elsewhere(graph) if level == target.compute else ()
        homes = {
            v.name: Region(first if v.name in never else level, 0, v.type.nbytes, v.name)
            for v in graph.of_kind("const")
        }
        for value in [*graph.of_kind("state"), *(v for v in graph.of_kind("activation") if is_large(v, target))]:
            homes[value.name] = Region(levels_of(value, target)[0][0], 0, value.type.nbytes, value.name)
        return _ProgramPlanner(graph, target, context, homes, []).cycles_of(nodes)

    return cycles


@dataclass
class _ProgramPlanner:
    graph: Graph
    target: Target
    context: int
    homes: dict[str, Region]
    permanent: list[Buffer]
    choices: Choices = ALL
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

    def cycles_of(self, indexes: list[int]) -> dict[int, float]:
        """Predicted cycles of some steps at the end of the context, each by itself."""
        activations = self._place_activations()
        result = {}
        for index in indexes:
            alive = [b for b in activations if b.start <= index < b.end]
            phases, _ = self._plan_step(index, self.graph.nodes[index], alive)
            result[index] = phases_usage(self.target, phases, self.graph.rows, self.context - self.graph.rows).cycles
        return result

    def _context(self, node: Node) -> StepContext:
        return StepContext(node, self.graph, self.homes, self.target, self.context, self.choices)

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
            buffer = place(wanted, levels, [*self.permanent, *placed], self.target)
            placed.append(buffer)
            for name in tenants:
                self.homes[name] = Region(buffer.level, buffer.offset, self.graph.type_of(name).nbytes, name)
        return placed

    def _share_in_place(self, first: dict[str, int], last: dict[str, int]) -> dict[str, str]:
        """The value whose buffer each activation uses: its own, or that of an input which its op may overwrite."""
        storage = {v.name: v.name for v in self.graph.of_kind("activation")}
        for index, node in enumerate(self.graph.nodes if self.choices.in_place else ()):
            role = find(node.op).in_place
            if role == "addend" and self.graph.rows > 1:
                continue  # tiles of columns: each is known to the checker by the span of its rows, which others share
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
            if worse == PATIENCE or not self.choices.tiling or len(built[0]) > LONG:
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
            phases = stream(workspace, option(workspace))
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
