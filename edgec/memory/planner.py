"""plan(): homes for everything that lives for good, room for activations, a tiling for every step.

Order of decisions: cache and weights take the levels that the target prefers for them; activations share the compute
memory by lifetime; each step's tiles and slots use what is then free. What does not fit is placed behind the end of
its level, so that the plan of a model that is too large is complete and says by how much (`Plan.deficits`).
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from functools import partial

from edgec.cost.estimate import phases_usage
from edgec.errors import TargetError
from edgec.ir.graph import Graph, Node
from edgec.memory.choices import ALL, Choices
from edgec.memory.collector import no_cycle_search
from edgec.memory.compaction import packed, relocate
from edgec.memory.homes import is_large, levels_of, place, place_permanent, rows_in_place, united
from edgec.memory.near import with_near
from edgec.memory.placement import align, blocks
from edgec.memory.plan import ALIGN, Buffer, Plan, Program, Region, Step, main
from edgec.memory.prefetch import find_early, prefetched
from edgec.memory.repeat import OVERFLOW, Built, Decisions, Pattern, copied, form, pattern, situation
from edgec.memory.residency import Cycles, savings, spills
from edgec.memory.streaming import NoRoom, Workspace, reserve, stream
from edgec.memory.tiling import Candidate, candidates
from edgec.memory.tiling.step import StepContext
from edgec.ops import find
from edgec.target import Target

WORTHWHILE = 0.98  # a later (finer) candidate must be this much faster: it costs code and transfers
LONG = 256  # phases of a step: with more of them, finer candidates gain little and take long to plan
PATIENCE = 2  # candidates in a row that may be slower before the search stops
CODE_ALIGN = 256  # of a chip's own program, as its linker script has it: cores start at multiples of that
ROOM_TO_TRY = (1.0, 0.95, 0.85, 0.7)  # shares of what is free: the fuller a memory, the harder its buffers fit


@no_cycle_search()
def plan(
    graphs: Mapping[str, Graph],
    target: Target,
    context: int,
    choices: Choices = ALL,
    known: Decisions | None = None,
) -> Plan:
    """A plan of all graphs over shared weights and cache. Never fails for lack of room: see `Plan.deficits`.

    known: decisions of earlier plans for this target, which it adds to.
    """
    known = known or Decisions(target)
    worth = _worth(graphs, target, context, known) if choices.residency else {}

    def planned(near: Collection[str] = ()) -> Plan:
        return _finished(_planned(graphs, target, context, choices, worth, known, near), choices)

    made = planned()
    if not choices.near or made.deficits() or "decode" not in graphs:
        return made
    cycles = partial(_cycles_by_level, main(graphs), target, context, known)
    return with_near(graphs, made, planned, cycles, choices.near_cache)


@no_cycle_search()
def short_levels(graphs: Mapping[str, Graph], target: Target, context: int, known: Decisions) -> Collection[str]:
    """The levels that lack bytes in plan(): not all of that plan has to be made to know it.

    Compaction never makes room smaller and none beats the lower bound; what stays near gives way where room is short.
    """
    worth = _worth(graphs, target, context, known)
    made = _planned(graphs, target, context, ALL, worth, known, phases=False)
    capacity = {m.name: m.capacity_bytes for m in target.memories}
    if all(made.lower_bound(level) >= capacity[level] + ALIGN for level in made.deficits()):
        return made.deficits()
    return _finished(_planned(graphs, target, context, ALL, worth, known), ALL).deficits()


def _planned(
    graphs: Mapping[str, Graph],
    target: Target,
    context: int,
    choices: Choices,
    worth: Mapping[str, float],
    known: Decisions,
    near: Collection[str] = (),
    phases: bool = True,
) -> Plan:
    """Step by step; not yet `_finished`. phases: False, and steps only take their room."""
    homes, buffers = place_permanent(graphs, target, worth, near)
    result = Plan(target, context, buffers, {})
    for name, graph in graphs.items():
        planner = _ProgramPlanner(graph, target, context, dict(homes), buffers, choices, known, phases)
        result.programs[name] = planner.run()
    return result


def _finished(made: Plan, choices: Choices) -> Plan:
    """Loads of constants begin early where there is room for them, and all buffers are placed anew together."""
    for name, program in made.programs.items():
        if choices.compaction:
            made.programs[name] = _compacted(program, made.buffers, made.target, made.context, choices)
        else:
            made.programs[name] = relocate(program, program.buffers)
    return made


def _compacted(program: Program, permanent: list[Buffer], target: Target, context: int, choices: Choices) -> Program:
    alone = Plan(target, context, permanent, {program.name: program})
    fits = all(alone.lower_bound(m.name) < m.capacity_bytes + ALIGN for m in target.memories)  # loads take room too
    for share in ROOM_TO_TRY if choices.early_loads and fits else ():
        room = {m.name: int(share * (m.capacity_bytes - _end(permanent, m.name))) for m in target.memories}
        found = find_early(program, permanent, target, context, room)
        buffers, how = packed(found.buffers, permanent)
        if all(_end(buffers, m.name) <= m.capacity_bytes for m in target.memories):
            return prefetched(relocate(program, buffers, how), found.early)
    buffers, how = packed(program.buffers, permanent)
    grown = any(_end(buffers, m.name) > _end(program.buffers, m.name) for m in target.memories)
    return relocate(program, program.buffers) if grown else relocate(program, buffers, how)


def _end(buffers: list[Buffer], level: str) -> int:
    return max((align(b.offset + b.size) for b in buffers if b.level == level), default=0)


def add_program(made: Plan, code_bytes: int = 0, data_bytes: int = 0) -> None:
    """Account for the program itself behind everything else in its levels.

    That is its code and its own data, once measured, and its stack unless that has a place in the plan already.
    """
    program, runtime = made.target.placement.program, made.target.runtime
    parts = (
        ("stack", program, 0 if made.target.reserved_bytes else runtime.stack_bytes, ALIGN),
        ("code", runtime.code_level or program, code_bytes, CODE_ALIGN if runtime.hal else ALIGN),
        ("data", program, data_bytes, ALIGN),
    )
    for name, level, size, multiple in parts:
        if size:
            offset = -(-made.used_bytes(level) // multiple) * multiple
            made.buffers.append(Buffer(name, level, offset, size, name))


def _worth(graphs: Mapping[str, Graph], target: Target, context: int, known: Decisions) -> dict[str, float]:
    """Cycles per byte that constants save near the engine; nothing is worked out for a model that fits there whole."""
    if not spills(united(graphs), target):
        return {}

    graph = main(graphs)
    levels = target.placement.weights
    names = {v.name for v in graph.of_kind("const")}
    return savings(graph, levels[0], levels[-1], _cycles_by_level(graph, target, context, known, names), names)


def _cycles_by_level(graph: Graph, target: Target, context: int, known: Decisions, names: Collection[str]) -> Cycles:
    """A function of a level for some constants and caches, and of nodes: predicted cycles of their steps.

    All else lies where the target prefers it, and so do caches while the level is not the compute memory.
    """

    def cycles(level: str, nodes: list[int]) -> dict[int, float]:
        homes = {}
        large = [v for v in graph.of_kind("activation") if is_large(v, target)]
        for value in [*graph.of_kind("const"), *graph.of_kind("state"), *large]:
            moves = value.name in names and (value.kind == "const" or level == target.compute)
            home = level if moves else levels_of(value, target)[0][0]
            homes[value.name] = Region(home, 0, value.type.nbytes, value.name)
        return _ProgramPlanner(graph, target, context, homes, [], ALL, known).cycles_of(nodes)

    return cycles


@dataclass
class _ProgramPlanner:
    graph: Graph
    target: Target
    context: int
    homes: dict[str, Region]
    permanent: list[Buffer]
    choices: Choices
    known: Decisions
    phases: bool = True
    patterns: dict[object, Pattern] = field(default_factory=dict)

    def run(self) -> Program:
        activations, alive = self._place_activations()
        steps, buffers, always = [], list(activations), blocks(self.permanent)
        for index, node in enumerate(self.graph.nodes):
            phases, made = self._plan_step(index, node, [*always, *alive[index]])
            context = self._context(node)
            writes = tuple(
                (v, self.homes[v], context.rows_of(v), self.graph.type_of(v).row_bytes) for v in node.outputs.values()
            )
            steps.append(Step(index, node.name, node.op, node.source, phases, writes))
            buffers += made
        return Program(self.graph.name, self.graph.rows, steps, buffers)

    def cycles_of(self, indexes: list[int]) -> dict[int, float]:
        """Predicted cycles of some steps at the end of the context, each by itself."""
        alive = self._place_activations()[1]
        result = {}
        for index in indexes:
            context = self._context(self.graph.nodes[index])
            at = situation(context, alive[index], self.known)
            if at not in self.known.chosen:
                self._decide(context, at, index, alive[index])
            number, result[index] = self.known.chosen[at]
            if number == OVERFLOW:
                result[index] = self._cycles(self._built(context, number, index, alive[index]))
        return result

    def _context(self, node: Node) -> StepContext:
        return StepContext(node, self.graph, self.homes, self.target, self.context, self.choices)

    def _place_activations(self) -> tuple[list[Buffer], list[list[Buffer]]]:
        """Buffers of activations, and those that are alive at each step."""
        last: dict[str, int] = {}
        first: dict[str, int] = {}
        for index, node in enumerate(self.graph.nodes):
            for name in node.inputs.values():
                last[name] = index
            for name in node.outputs.values():
                first[name] = last[name] = index
        for name in self.graph.outputs:
            last[name] = len(self.graph.nodes) - 1
        self.homes |= rows_in_place(self.graph, self.homes, self.target)
        tenants: dict[str, list[str]] = {}
        for name, owner in self._share_in_place(first, last).items():
            tenants.setdefault(owner, []).append(name)
        placed, always = list[Buffer](), blocks(self.permanent)
        alive: list[list[Buffer]] = [[] for _ in self.graph.nodes]
        values = [v for v in self.graph.of_kind("activation") if v.name not in self.homes and v.name in tenants]
        for value in sorted(values, key=lambda v: -v.type.nbytes):
            start, end = first[value.name], max(last[name] for name in tenants[value.name]) + 1
            levels = (self.target.compute,)
            wanted = Buffer(value.name, levels[0], 0, value.type.nbytes, "activation", self.graph.name, start, end)
            beside = {b.name: b for step in alive[start:end] for b in step}
            buffer = place(wanted, levels, [*always, *beside.values()], self.target)
            placed.append(buffer)
            for step in alive[start:end]:
                step.append(buffer)
            for name in tenants[value.name]:
                self.homes[name] = Region(buffer.level, buffer.offset, self.graph.type_of(name).nbytes, name)
        return placed, alive

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

    def _plan_step(self, index: int, node: Node, alive: list[Buffer]) -> Built:
        """The fastest candidate that fits; equal situations are decided once, and equal steps planned once."""
        context = self._context(node)
        at = situation(context, alive, self.known)
        key = (at, form(context, alive, self.known))
        if key in self.patterns:
            return copied(self.patterns[key], context, index)
        built = None if at in self.known.chosen else self._decide(context, at, index, alive)
        if built is None:
            built = self._built(context, self.known.chosen[at][0], index, alive)
        self.patterns[key] = pattern(context, built)
        return built

    def _decide(self, context: StepContext, at: object, index: int, alive: list[Buffer]) -> Built | None:
        """The fastest of the candidates that have room; None if there is none."""
        best, number, kept, worse = 0.0, OVERFLOW, None, 0
        for tried, option in enumerate(candidates(context)):
            built = self._build(context, option, index, alive)
            if built is None:
                continue
            cycles = self._cycles(built)
            if kept is None or cycles < best * WORTHWHILE:
                best, number, kept, worse = cycles, tried, built, 0
            else:
                worse += 1
            if worse == PATIENCE or not self.choices.tiling or len(built[0]) > LONG:
                break
        self.known.chosen[at] = (number, best)
        return kept

    def _cycles(self, built: Built) -> float:
        return phases_usage(self.target, built[0], self.graph.rows, self.context - self.graph.rows).cycles

    def _built(self, context: StepContext, number: int, index: int, alive: list[Buffer]) -> Built:
        """A candidate by its number; with OVERFLOW the last, behind the memories' ends."""
        option = list(candidates(context))[number]
        built = self._build(context, option, index, alive, number == OVERFLOW, self.phases)
        if built is None:
            node, limits = context.node, ", ".join(f"{link.name} {link.max_bytes:,} B" for link in self.target.links)
            raise TargetError(
                f"{node.op} of {node.source} moves rows longer than {self.target.name}'s links take ({limits})."
            )
        return built

    def _build(
        self,
        context: StepContext,
        option: Candidate,
        index: int,
        alive: list[Buffer],
        overflow: bool = False,
        phased: bool = True,
    ) -> Built | None:
        workspace = Workspace(self.target, self.graph.name, index, alive, overflow)
        try:
            tiles = option(workspace)
            if not phased:
                reserve(workspace, tiles)
            phases = stream(workspace, tiles) if phased else ()
        except NoRoom:
            return None
        return phases, workspace.made
