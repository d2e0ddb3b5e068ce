"""plan(): homes in the preferred order, lifetimes, sharing in place, honest deficits."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import tiny_models

from edgec.errors import TargetError
from edgec.memory.check import check
from edgec.memory.plan import Plan, most, rows_at_run
from edgec.memory.planner import add_program


def levels(plan: Plan, kind: str) -> set[str]:
    return {b.level for b in plan.buffers if b.kind == kind}


@pytest.fixture(scope="module")
def source() -> tiny_models.Checkpoint:
    return tiny_models.checkpoint(tiny_models.config())


def test_a_sound_plan_within_bounds(tiny: tiny_models.Planned) -> None:
    check(tiny.plan)
    assert not tiny.plan.deficits()
    for memory in tiny.target.memories:
        used, least = tiny.plan.used_bytes(memory.name), tiny.plan.lower_bound(memory.name)
        assert least <= used + 15
        assert used <= memory.capacity_bytes
        assert used <= least * 1.1 + 64, memory.name  # what first fit loses


def test_preferred_levels(source: tiny_models.Checkpoint) -> None:
    plan = tiny_models.planned(source).plan
    assert levels(plan, "weight") == {"MRAM"}
    assert levels(plan, "kv") == {"TILE"}
    assert levels(plan, "state") == {"L1"}


def test_spilling_in_order(source: tiny_models.Checkpoint, tmp_path: Path) -> None:
    path = tiny_models.target_file(tmp_path / "t.toml", MRAM=8000, TILE=6000)
    plan = tiny_models.planned(source, path).plan
    check(plan)
    assert levels(plan, "weight") == {"MRAM", "TILE", "L3"}
    where = {b.name: b.level for b in plan.buffers}
    assert where["model.layers.0.self_attn.qkv_proj.weight"] == "MRAM"  # in order of use; gathered tables last
    assert where["model.embed_tokens.weight"] != "MRAM"


def test_lifetimes_are_the_graphs(tiny: tiny_models.Planned) -> None:
    for name, graph in tiny.graphs.items():
        index = {n.name: i for i, n in enumerate(graph.nodes)}
        writer = {v: n.name for n in graph.nodes for v in n.outputs.values()}
        for b in tiny.plan.programs[name].buffers:
            if b.kind == "activation":
                uses = [index[n.name] for n in graph.users(b.name)]
                assert b.start == index[writer[b.name]]
                assert b.end > max(uses, default=b.start)
            elif b.name == rows_at_run("rope.table"):
                assert (b.start, b.end) == (0, len(graph.nodes))
            elif b.name in ("k.slot0", "v.slot0", "k_scale.slot0", "v_scale.slot0"):  # rows before the run's come early
                assert graph.nodes[b.end - 1].op == "attention" and 1 <= b.end - b.start <= b.end
            else:
                assert b.end - b.start in (1, 2)  # scratch and stages belong to a step, or are filled in the one before


def test_in_place_results_share_their_inputs_bytes(tiny: tiny_models.Planned) -> None:
    shared = 0
    for program in tiny.plan.programs.values():
        homes = {v: r for s in program.steps for v, r, *_ in s.writes}
        for p, layer in (("l0", 0), ("l1", 1)):
            before = "embed" if layer == 0 else "l0.mlp_add"
            for result, operand in ((f"{p}.mlp_add", f"{p}.attn_add"), (f"{p}.attn_add", before)):
                same = homes[result].offset == homes[operand].offset
                assert same == (program.rows == 1)  # a matmul of one row adds where the residual is
                shared += same
            assert homes[f"{p}.qkv"].offset != homes[before].offset
    assert shared == 2 * 2


def test_what_does_not_fit_is_a_plan_with_deficits(source: tiny_models.Checkpoint, tmp_path: Path) -> None:
    small = tiny_models.target_file(tmp_path / "t.toml", L1=1024, MRAM=1000, TILE=2000, L3=3000)
    plan = tiny_models.planned(source, small).plan
    deficits = plan.deficits()
    assert {"L1", "L3"} <= set(deficits)
    for level, missing in deficits.items():
        assert plan.used_bytes(level) == plan.target.memory_by_name[level].capacity_bytes + missing
    assert {s.op for s in plan.programs["decode"].steps} >= {"attention", "sample", "embed"}


def test_the_deficit_is_what_is_missing(source: tiny_models.Checkpoint, tmp_path: Path) -> None:
    """With that many bytes more the weights fit."""
    limits = {"MRAM": 1024, "TILE": 8192, "L3": 2048}
    short = tiny_models.planned(source, tiny_models.target_file(tmp_path / "a.toml", **limits)).plan.deficits()
    limits["L3"] += short["L3"]
    assert not tiny_models.planned(source, tiny_models.target_file(tmp_path / "b.toml", **limits)).plan.deficits()
    limits["L3"] -= 16
    assert tiny_models.planned(source, tiny_models.target_file(tmp_path / "c.toml", **limits)).plan.deficits()


def test_chunks_shrink_until_they_fit_unless_asked_for(source: tiny_models.Checkpoint, tmp_path: Path) -> None:
    small = tiny_models.target_file(tmp_path / "t.toml", L1=3500)
    free = tiny_models.planned(source, small, tiny_models.recipe(chunk=None))
    assert free.plan.programs["prefill"].rows < 16
    assert not free.plan.deficits()
    asked = tiny_models.planned(source, small, tiny_models.recipe(chunk=16))
    assert asked.plan.programs["prefill"].rows == 16
    assert asked.plan.deficits()


def test_the_program_is_counted(source: tiny_models.Checkpoint) -> None:
    """In one level, behind the plan's data: the stack, then the code, then its data."""
    plan = tiny_models.planned(source, "gap9").plan
    before, arena = plan.used_bytes("L2"), plan.arena_bytes("L2")
    add_program(plan, 40_000, 1000)
    stack, code, data = plan.buffers[-3:]
    assert [(b.kind, b.level, b.size) for b in (stack, code, data)] == [
        ("stack", "L2", plan.target.runtime.stack_bytes),
        ("code", "L2", 40_000),
        ("data", "L2", 1000),
    ]
    assert before <= stack.offset < code.offset < data.offset
    assert plan.arena_bytes("L2") == arena
    check(plan)


def test_a_chips_program_is_counted_in_its_levels(source: tiny_models.Checkpoint) -> None:
    """Code where cores may start; the stacks have their place in the plan from the beginning."""
    plan = tiny_models.planned(source).plan
    runtime = replace(plan.target.runtime, code_level="TILE", code_bytes=131_072)
    plan = replace(plan, target=replace(plan.target, runtime=runtime), buffers=list(plan.buffers))
    arenas = {name: plan.arena_bytes(name) for name in ("TILE", "L2")}
    add_program(plan, 40_000, 1000)
    code, data = plan.buffers[-2:]
    assert (code.kind, code.level, code.size, code.offset % 256) == ("code", "TILE", 40_000, 0)
    assert (data.kind, data.level, data.size) == ("data", "L2", 1000)
    assert code.offset - 256 < arenas["TILE"] <= code.offset
    assert [b.name for b in plan.buffers if b.kind == "stack"] == ["stacks"]
    assert arenas == {name: plan.arena_bytes(name) for name in arenas}
    check(plan)


def test_planning_is_deterministic(source: tiny_models.Checkpoint, tiny: tiny_models.Planned) -> None:
    from edgec.memory.serialize import dump_plan

    assert dump_plan(tiny_models.planned(source).plan) == dump_plan(tiny_models.planned(source).plan)


def test_rows_at_a_position_are_split_at_the_link_limit(tmp_path: Path) -> None:
    """A chunk of cache rows longer than a transfer may be becomes several, and the plan stays sound."""
    config = tiny_models.config(n_kv_heads=4, head_dim=16)
    recipe = tiny_models.recipe(8, 32, context=24, chunk=8)
    target = tiny_models.target_file(tmp_path / "t.toml", max_bytes=160)
    made = tiny_models.planned(tiny_models.checkpoint(config), target, recipe).plan
    check(made)
    steps = [s for s in made.programs["prefill"].steps if s.op == "rope_append"]
    stores = [t for s in steps for p in s.phases for t in p.transfers if t.start == "target_pos"]
    assert max(most(t.rows) * t.row_bytes for t in stores) <= 160
    assert sum(most(t.rows) for t in stores if t.target.value == "l0.k_cache") == 8


def test_a_row_longer_than_any_transfer_is_refused(tmp_path: Path) -> None:
    config = tiny_models.config(n_kv_heads=4, head_dim=16)
    target = tiny_models.target_file(tmp_path / "t.toml", max_bytes=48)
    with pytest.raises(TargetError, match=r"rope_append of model\.layers\.0\.self_attn .*links take"):
        tiny_models.planned(tiny_models.checkpoint(config), target, tiny_models.recipe(8, 32, context=24, chunk=8))
