"""plan(): homes for everything that lives for good, room for activations, a tiling for every step.

Order of decisions: cache and weights take the levels that the target prefers for them; activations share the compute
memory by lifetime; each step's tiles and slots use what is then free. What does not fit is placed behind the end of
its level, so that the plan of a model that is too large is complete and says by how much (`Plan.deficits`).
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import replace
from functools import partial

from edgec.ir.graph import Graph
from edgec.memory.call_tables import CALLS, calls_bytes
from edgec.memory.choices import ALL, Choices
from edgec.memory.collector import no_cycle_search
from edgec.memory.draft import Draft
from edgec.memory.homes import is_large, levels_of, united
from edgec.memory.near import with_near
from edgec.memory.plan import ALIGN, Buffer, Plan, Region, main
from edgec.memory.repeat import Decisions
from edgec.memory.residency import Cycles, savings, spills
from edgec.memory.steps import Steps
from edgec.target import Target

CODE_ALIGN = 256  # of a chip's own program, as its linker script has it: cores start at multiples of that


@no_cycle_search()
def plan(
    graphs: Mapping[str, Graph],
    target: Target,
    context: int,
    choices: Choices = ALL,
    known: Decisions | None = None,
) -> Plan:
    """A plan of all graphs over shared weights and cache. Never fails for lack of room: see `Plan.deficits`.

    known: decisions of earlier plans for this target, which it adds to. The arguments of a token's calls have room in
    the compute memory (`call_tables.py`) unless the rest does not fit beside them.
    """
    known = known or Decisions(target)
    size = calls_bytes(graphs, target)
    if size:
        made = _plan(graphs, _with_less(target, size + target.read_ahead_bytes), context, choices, known)
        made = replace(made, target=target)
        add_calls(made, CALLS, size)
        if target.compute not in made.deficits():
            return made
    return _plan(graphs, target, context, choices, known)


def _plan(graphs: Mapping[str, Graph], target: Target, context: int, choices: Choices, known: Decisions) -> Plan:
    worth = _worth(graphs, target, context, known) if choices.residency else {}
    drafted = partial(Draft, graphs, target, context, known, worth, choices)
    made = drafted().finished()
    if not choices.near or made.deficits() or "decode" not in graphs:
        return made
    cycles = partial(_cycles_by_level, main(graphs), target, context, known)
    return with_near(graphs, made, drafted, cycles, choices.near_cache)


@no_cycle_search()
def short_levels(graphs: Mapping[str, Graph], target: Target, context: int, known: Decisions) -> Collection[str]:
    """The levels that lack bytes in plan(): not all of that plan has to be made to know it.

    Compaction never makes room smaller and none beats the lower bound; what stays near gives way where room is short.
    """
    worth = _worth(graphs, target, context, known)
    made = Draft(graphs, target, context, known, worth, phases=False).plan()
    capacity = {m.name: m.capacity_bytes for m in target.memories}
    if all(made.lower_bound(level) >= capacity[level] + ALIGN for level in made.deficits()):
        return made.deficits()
    return Draft(graphs, target, context, known, worth).finished().deficits()


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


def add_calls(made: Plan, name: str, size: int) -> None:
    """Keep bytes of the compute memory for constants of the program's own, behind all else there."""
    level = made.target.compute
    offset = -(-(made.used_bytes(level) + made.target.read_ahead_bytes) // ALIGN) * ALIGN
    made.buffers.append(Buffer(name, level, offset, size, "data"))


def _with_less(target: Target, size: int) -> Target:
    """The target with so many bytes less of the compute memory, at least."""
    kept = -(-size // ALIGN) * ALIGN
    less = (replace(m, capacity_bytes=m.capacity_bytes - kept) for m in target.memories if m.name == target.compute)
    others = {m.name: m for m in (*target.memories, *less)}
    return replace(target, memories=tuple(others.values()))


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
        return Steps(graph, target, context, homes, [], known).cycles(nodes)

    return cycles
