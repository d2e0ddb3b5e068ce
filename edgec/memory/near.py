"""What stays in the compute memory for good: constants and caches of layers, those that save most time per byte there.

One knapsack for both. A token is planned with all of them near and with none; what a step saves is shared by what it
reads. The cache of a layer stays as a whole or not at all: attention reads it in place and new rows are written where
they belong. Nothing stays where the plan would not fit, a token would not be faster or prefill much slower.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import replace

from edgec.cost.estimate import longest_run, phases_usage
from edgec.ir.graph import Graph
from edgec.memory.draft import Draft
from edgec.memory.placement import align
from edgec.memory.plan import Phase, Plan, Program, rows_at_run, rows_before_run
from edgec.memory.residency import Cycles, savings
from edgec.ops import find
from edgec.ops.embed import FORMS

NEAR_SHARE = 16  # what could stay in the compute memory is at least 1/NEAR_SHARE of what may, or nothing does
NEAR_TO_TRY = (1.0, 0.8, 0.65, 0.5, 0.35, 0.2)  # shares of what is free for them
PREFILL_LOSS = 1.1  # how much longer prefill, or reading a source, may take for it
MORE_CALLS = 1.25  # of prefill: each has code of its own, which is fetched for a few rows
SLOT_BYTES = 4096  # left for the slots of constants that stay outside
# Operands whose slots constants pass through.
STREAMED = ("w", "w_scale", "down_scale", "w_zero", "w_min", "w_pos", "w_tail", "bias", "gain")
CACHE = ("k_cache", "k_scale", "v_cache", "v_scale")  # roles of a layer's cache


def with_near(
    graphs: Mapping[str, Graph],
    made: Plan,
    drafted: Callable[..., Draft],
    cycles_with: Callable[[Collection[str]], Cycles],
    cache: bool,
) -> Plan:
    """A plan that fits, or the one in which some values stay in the compute memory if there a token is faster.

    drafted: a draft of the plan with such values as `near`; cycles_with: the cycles of steps by the level in which
    values lie.
    """
    graph, target = graphs["decode"], made.target
    budget = near_budget(made)
    # Where the target itself prefers the compute memory for the cache there is nothing to decide.
    items = movable(graph, cache and target.compute not in target.placement.kv)
    names = {name for item in items for name in item}
    wanted = sum(graph.type_of(name).nbytes for name in names)
    if budget * NEAR_SHARE < wanted or target.placement.weights[0] == target.compute:
        return made
    near_cycles, far_cycles = cycles_with(names), _planned_cycles(graph, made)

    def cycles(level: str, nodes: list[int]) -> Mapping[int, float]:
        return near_cycles(level, nodes) if level == target.compute else {n: far_cycles[n] for n in nodes}

    worth = savings(graph, target.compute, "", cycles, names)
    before = {name: longest_run(target, made.context, made.programs[name]) for name in graphs}
    most_calls = MORE_CALLS * _calls(made.programs["prefill"]) if "prefill" in graphs else 0.0
    # First as much as a token leaves room for, then less; what prefill leaves as well costs it nothing.
    sizes = {int(share * budget) for share in NEAR_TO_TRY} | {near_budget(made, tuple(graphs))}
    for size in sorted((size for size in sizes if size > 0), reverse=True):
        near = nearest(graph, items, worth, size)
        draft = drafted(near=near)  # given up after a look at prefill where that is cut too finely
        if not near or ("prefill" in graphs and draft.calls("prefill") > most_calls):
            continue
        better = draft.finished()
        times = {name: longest_run(target, better.context, better.programs[name]) / before[name] for name in graphs}
        slowest = max((time for name, time in times.items() if name != "decode"), default=1.0)
        if not better.deficits() and slowest < PREFILL_LOSS:
            return better if times["decode"] < 1 else made
    return made


def _planned_cycles(graph: Graph, made: Plan) -> list[float]:
    """Cycles of each node's step of a token as planned; what its loads cost the steps before it is its own."""
    cycles = [0.0] * len(graph.nodes)
    following = [*graph.nodes[1:], None]
    steps = made.programs["decode"].steps
    once = [t for p in steps[0].phases for t in p.transfers if rows_at_run(t.source.value) == t.target.value]

    def taken(phases: Sequence[Phase]) -> float:
        return phases_usage(made.target, phases, 1, made.context - 1).cycles

    for step, node, after in zip(steps, graph.nodes, following, strict=True):
        older = [t for p in step.phases for t in p.transfers if rows_before_run(t.source.value) == t.target.value]
        bare = _without(step.phases, {t.source.value for t in older})
        early = set(after.inputs.values()) - set(node.inputs.values()) if after else set()
        own = _without(bare, early)
        # By itself, to which it is compared, a step loads its rows of a table that here were loaded once for all.
        kept = tuple(Phase((t,)) for t in once if step.index and t.source.value in node.inputs.values())
        cycles[step.index] += taken(own) + taken(kept)
        if after:
            cycles[step.index + 1] += taken(bare) - taken(own)
        if older:
            cycles[_next_reader(graph, step.index, older[0].source.value)] += taken(step.phases) - taken(bare)
    return cycles


def _without(phases: Sequence[Phase], sources: Collection[str]) -> tuple[Phase, ...]:
    """The phases without transfers of some values."""
    return tuple(replace(p, transfers=tuple(t for t in p.transfers if t.source.value not in sources)) for p in phases)


def _next_reader(graph: Graph, index: int, value: str) -> int:
    """The next node behind one that reads a value."""
    return next(i for i in range(index + 1, len(graph.nodes)) if value in graph.nodes[i].inputs.values())


def _calls(program: Program) -> int:
    """Kernel calls of a run."""
    return sum(phase.call is not None for step in program.steps for phase in step.phases)


def near_budget(plan: Plan, programs: Collection[str] = ("decode",)) -> int:
    """Bytes of the compute memory that could be taken for good: what programs leave beside activations and scratch.

    Of decoding alone: prefill takes smaller tiles then.
    """
    target = plan.target
    always = sum(align(b.size) for b in plan.buffers if b.level == target.compute)
    most = 0
    for program in (plan.programs[name] for name in programs):
        alive = [0] * (len(program.steps) + 1)
        for b in program.buffers:
            if b.level == target.compute and b.name.partition(".slot")[0] not in STREAMED:
                for step in range(b.start, b.end):
                    alive[step] += align(b.size)
        most = max(most, *alive)
    return target.data_bytes(target.compute) - always - most - SLOT_BYTES


def elsewhere(graph: Graph) -> set[str]:
    """Constants that never lie in the compute memory: tables of which rows are read, what an accelerator streams."""
    rows = {v for n in graph.nodes if n.op in FORMS for v in n.inputs.values()}
    rows |= {n.inputs["table"] for n in graph.nodes if "table" in n.inputs}
    roles = ((n, role) for n in graph.nodes for k in find(n.op).kernels for role in k.streamed)
    return rows | {n.inputs[role] for n, role in roles if role in n.inputs}


def movable(graph: Graph, cache: bool) -> list[tuple[str, ...]]:
    """What can stay in the compute memory, each with what it takes along: constants, and the cache of each layer."""
    outside = elsewhere(graph)
    items: list[tuple[str, ...]] = [(v.name,) for v in graph.of_kind("const") if v.name not in outside]
    layers = [tuple(n.inputs[role] for role in CACHE) for n in graph.nodes if CACHE[0] in n.inputs]
    return items + list(dict.fromkeys(layers)) if cache else items


def nearest(
    graph: Graph, items: Collection[tuple[str, ...]], worth: Mapping[str, float], budget: int
) -> frozenset[str]:
    """The values that save most time per byte in the compute memory, as many as the budget holds."""
    chosen: set[str] = set()
    for item in sorted(items, key=lambda names: -worth.get(names[0], 0.0)):
        size = sum(align(graph.type_of(name).nbytes) for name in item)
        if worth.get(item[0], 0.0) > 0 and size <= budget:
            chosen.update(item)
            budget -= size
    return frozenset(chosen)
