"""What lies near the engine is what saves time there, as the plan itself predicts it."""

from __future__ import annotations

from dataclasses import replace
from unittest.mock import patch

import tiny_models

from edgec.compress.shapes import planned_model
from edgec.cost.estimate import program_usage
from edgec.lower.programs import ready
from edgec.memory import planner
from edgec.memory.check import check
from edgec.memory.plan import Plan
from edgec.memory.residency import savings, spills
from edgec.planning import plan_model
from edgec.recipe import Build, Quantize, Recipe, RoleOverride
from edgec.target import Target, load_target

CONFIG = tiny_models.config(hidden_dim=256, ffn_dim=512, head_dim=32, n_heads=8, n_kv_heads=4, vocab_size=256)
# Off-chip weights of 4 bits stream faster than such cores use them, those of 8 bits do not.
CYCLES_PER_MAC = 4.4
WIDE = {"up": RoleOverride(bits=8), "down": RoleOverride(bits=8)}
RECIPE = Recipe(Quantize(bits=4, roles=WIDE), Build(context=32, chunk=4))


def chip(mram: int) -> Target:
    target = tiny_models.plain(load_target("siracusa"))
    memories = tuple(replace(m, capacity_bytes={"MRAM": mram}.get(m.name, m.capacity_bytes)) for m in target.memories)
    engines = tuple(replace(e, cycles_per_mac=CYCLES_PER_MAC) for e in target.engines)
    levels = replace(target.placement, weights=("MRAM", "L3"))
    return replace(target, memories=memories, engines=engines, placement=levels)


def planned(target: Target) -> Plan:
    model = planned_model(CONFIG, (), RECIPE)
    made = plan_model(ready(model), target, 32, RECIPE)[1]
    check(made)
    return made


def decode_cycles(plan: Plan) -> float:
    return program_usage(plan, plan.programs["decode"], 1, 31).cycles


def test_weights_that_would_be_waited_for_lie_near() -> None:
    target = chip(355_000)  # two of the four wide matrices would fit behind the narrow ones in order of use
    by_worth = planned(target)
    with patch.object(planner, "spills", lambda *given: False):
        by_use = planned(target)
    near = {b.name for b in by_worth.buffers if b.level == "MRAM"}
    wide = {f"model.layers.{i}.mlp.{r}_proj.weight" for i in range(2) for r in ("up", "down")}
    assert len(wide & near) == 2 and wide - near  # 128 KiB each
    assert "model.layers.0.self_attn.qkv_proj.weight" in {b.name for b in by_use.buffers if b.level == "MRAM"}
    assert decode_cycles(by_worth) < 0.98 * decode_cycles(by_use)
    moved = [program_usage(p, p.programs["decode"], 1, 31).link_bytes for p in (by_worth, by_use)]
    assert sum(moved[0].values()) > 0


def test_what_fits_is_not_weighed() -> None:
    model = planned_model(CONFIG, (), RECIPE)
    graphs, _ = plan_model(ready(model), chip(4 << 20), 32, RECIPE)
    assert not spills(graphs["decode"], chip(4 << 20))
    assert spills(graphs["decode"], chip(100_000))


def test_savings_are_shared_by_the_constants_of_a_step() -> None:
    model = planned_model(CONFIG, (), RECIPE)
    graph = plan_model(ready(model), chip(4 << 20), 32, RECIPE)[0]["decode"]
    cycles = {"L3": 1000.0, "MRAM": 400.0}
    names = {v.name for v in graph.of_kind("const")}
    saved = savings(graph, "MRAM", "L3", lambda level, nodes: dict.fromkeys(range(99), cycles[level]), names)
    node = next(n for n in graph.nodes if n.name == "l0.up")
    consts = [v for v in node.inputs.values() if graph.values[v].kind == "const"]
    total = sum(saved[v] * graph.type_of(v).nbytes for v in consts)
    assert len(consts) >= 2 and abs(total - 600) < 1e-6
    assert saved["rope.table"] > saved[consts[0]]  # read by many steps
