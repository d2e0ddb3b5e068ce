"""Caches that stay in the compute memory: read and written in place, where there is room and a token gains."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import cast
from unittest.mock import patch

import pytest
import tiny_models

from edgec.cost.estimate import program_usage
from edgec.lower.programs import on_shapes
from edgec.memory import draft
from edgec.memory.capacity import longest_context
from edgec.memory.check import PlanError, check
from edgec.memory.choices import ALL
from edgec.memory.draft import Draft
from edgec.memory.images import images
from edgec.memory.near import movable, nearest, with_near
from edgec.memory.plan import Buffer, Call, Plan, Program, Region
from edgec.memory.planner import plan
from edgec.memory.serialize import dump_plan, load_plan
from edgec.recipe import Build, Quantize, Recipe
from edgec.simulate.reference import ReferenceRunner
from edgec.simulate.simulator import Simulator
from edgec.simulate.timeline import recorded
from edgec.verify.chain import verify

CONTEXT = 200
LAYER = CONTEXT * 2 * (16 + 4)  # bytes of a layer's cache: keys and values of two heads of 8, with their scales
RECIPE = tiny_models.recipe(context=CONTEXT)
PROMPT = [3, 1, 4, 1, 5, 9, 2, 6, 5]


def kept(made: Plan) -> list[str]:
    return [b.name for b in made.buffers if b.level == made.target.compute and b.kind == "kv"]


@pytest.fixture(scope="module")
def source() -> tiny_models.Checkpoint:
    return tiny_models.checkpoint(tiny_models.config())


@pytest.fixture(scope="module", params=[14_000, 36_000, 60_000])
def made(request: pytest.FixtureRequest, source: tiny_models.Checkpoint, tmp_path_factory: pytest.TempPathFactory):
    """Room for no layer's cache, for one of two, for both; and the plan in which nothing stays."""
    file = tiny_models.target_file(tmp_path_factory.mktemp("target") / "t.toml", L1=request.param)
    layers = {14_000: 0, 36_000: 1, 60_000: 2}[request.param]
    with patch.object(draft, "with_early_caches", return_value=None):  # else attention waits for none
        return layers, *(tiny_models.planned(source, file, RECIPE, near=on) for on in (True, False))


@pytest.fixture(scope="module")
def whole(source: tiny_models.Checkpoint, tmp_path_factory: pytest.TempPathFactory) -> tiny_models.Planned:
    """A plan in which every layer's cache stays."""
    file = tiny_models.target_file(tmp_path_factory.mktemp("target") / "t.toml", L1=60_000)
    return tiny_models.planned(source, file, RECIPE, near=True)


def test_a_cache_stays_as_a_whole_where_there_is_room(made) -> None:
    layers, close, far = made
    check(close.plan)
    assert kept(close.plan) == [
        f"l{layer}.{name}"
        for layer in range(layers)
        for name in ("k_cache", "k_cache.scale", "v_cache", "v_cache.scale")
    ]
    assert not kept(far.plan)
    assert sum(b.size for b in close.plan.buffers if b.name in kept(close.plan)) == layers * LAYER
    assert not close.plan.deficits()


def test_a_token_moves_and_waits_less(made) -> None:
    layers, close, far = made
    usage = [program_usage(p.plan, p.plan.programs["decode"], 1, CONTEXT - 1) for p in (close, far)]
    moved = [u.link_bytes.get("TILE>L1", 0) for u in usage]
    assert moved[1] - moved[0] == layers * LAYER
    assert usage[0].link_bytes.get("L1>TILE", 0) == (2 - layers) * LAYER // CONTEXT
    assert usage[0].cycles < usage[1].cycles or not layers


@pytest.mark.parametrize("late", [False, True])
def test_the_bits_are_the_same(made, late: bool) -> None:
    _, close, _ = made
    simulator = Simulator(close.plan, images(close.plan, close.consts), late=late)
    reference = ReferenceRunner(close.graphs, close.consts)
    simulated: list[tuple[str, bytes]] = []
    wanted: list[tuple[str, bytes]] = []
    simulator.trace = lambda step, value, data: simulated.append((value, data))
    reference.trace = lambda node, value, array: wanted.append((value, array.tobytes()))
    for _ in range(2):  # a second text finds the first one's rows in the cache
        for runner in (simulator, reference):
            runner.reset()
            token = runner.prefill(PROMPT)
            for _ in range(3):
                token = runner.decode(token)
        assert simulated == wanted


def test_a_run_takes_the_predicted_time(whole: tiny_models.Planned) -> None:
    simulator = Simulator(whole.plan, images(whole.plan, whole.consts))
    timeline = recorded(simulator)
    simulator.decode(simulator.prefill(PROMPT[:4]))
    assert timeline.usage().cycles == pytest.approx(
        program_usage(whole.plan, whole.plan.programs["decode"], 1, 4).cycles
    )


def test_the_image_ends_before_the_cache(whole: tiny_models.Planned) -> None:
    first = min(b.offset for b in whole.plan.buffers if b.name in kept(whole.plan))
    assert images(whole.plan, whole.consts)["L1"].size <= first


def test_the_plan_is_read_back_as_it_was(whole: tiny_models.Planned) -> None:
    assert load_plan(dump_plan(whole.plan), whole.target) == whole.plan


def test_what_saves_most_per_byte_comes_first_and_a_layer_stays_whole(whole: tiny_models.Planned) -> None:
    graph = whole.graphs["decode"]
    items = movable(graph, cache=True)
    layer = next(item for item in items if item[0] == "l1.k_cache")
    assert len(layer) == 4
    worth = dict.fromkeys(layer, 2.0) | {"model.norm.weight": 1.0}
    assert nearest(graph, items, worth, LAYER) == set(layer)
    assert nearest(graph, items, worth, LAYER - 1) == {"model.norm.weight"}
    assert not any("cache" in name for item in movable(graph, cache=False) for name in item)


class Finished:
    """A draft of a plan that is made already."""

    def __init__(self, made: Plan) -> None:
        self.made = made

    def calls(self, name: str) -> int:
        return 0

    def finished(self) -> Plan:
        return self.made


def test_what_does_not_fit_or_delays_is_not_taken(whole: tiny_models.Planned) -> None:
    far = plan(whole.graphs, whole.target, CONTEXT, replace(ALL, near=False))
    large = replace(whole.plan, buffers=[*whole.plan.buffers, Buffer("large", "L1", 0, 1 << 20, "scratch")])

    def taken(better: Plan, made: Plan = far) -> Plan:
        return with_near(
            whole.graphs, made, lambda near: cast(Draft, Finished(better)), lambda names: cycles, cache=True
        )

    def cycles(level: str, nodes: list[int]) -> dict[int, float]:
        return dict.fromkeys(nodes, 0.0)

    assert taken(whole.plan) is whole.plan
    assert taken(large) is far
    assert taken(far, whole.plan) is whole.plan


def test_a_prefill_cut_finely_is_given_up_before_the_rest_is_planned(whole: tiny_models.Planned) -> None:
    far = plan(whole.graphs, whole.target, CONTEXT, replace(ALL, near=False))
    asked: list[str] = []

    class Fine(Finished):
        def calls(self, name: str) -> int:
            asked.append(name)
            return 1000

        def finished(self) -> Plan:
            raise AssertionError("it was given up")

    cycles = dict.fromkeys(range(len(whole.graphs["decode"].nodes)), 0.0)
    fine = cast(Draft, Fine(whole.plan))
    assert with_near(whole.graphs, far, lambda near: fine, lambda names: lambda level, nodes: cycles, cache=True) is far
    assert set(asked) == {"prefill"}


def test_it_can_be_left_out(whole: tiny_models.Planned) -> None:
    without = plan(whole.graphs, whole.target, CONTEXT, replace(ALL, near_cache=False))
    assert not kept(without) and any(b.level == "L1" and b.kind == "weight" for b in without.buffers)


def test_the_longest_context_stays_as_long(whole: tiny_models.Planned) -> None:
    """It leaves L1 no room for a cache; with a shorter one caches stay."""
    target, room = whole.target, {"TILE": 150_000, "L1": 30_000}
    program = {m.name: m.capacity_bytes - target.data_bytes(m.name) for m in target.memories}
    memories = tuple(
        replace(m, capacity_bytes=room[m.name] + program[m.name]) if m.name in room else m for m in target.memories
    )
    chip = replace(target, memories=memories, placement=replace(target.placement, weights=("MRAM",), kv=("TILE",)))
    make = on_shapes(whole.model, {"prefill": 4, "decode": 1}, chip)
    longest = longest_context(make, 2, chip, 4000)
    plans = {n: plan(make(n, 2), chip, n) for n in (longest, longest // 2, CONTEXT // 4)}
    assert CONTEXT < longest < 4000
    assert not any(made.deficits() for made in plans.values())
    assert plan(make(longest + 1, 2), chip, longest + 1).deficits()
    assert [bool(kept(made)) for made in plans.values()] == [False, False, True]


def test_the_only_memory_keeps_its_plan(source: tiny_models.Checkpoint) -> None:
    plans = [tiny_models.planned(source, "host", near=on).plan for on in (True, False)]
    assert dump_plan(plans[0]) == dump_plan(plans[1])
    assert not any(r.row_bytes for p in plans[0].programs.values() for s in p.steps for _, r, *_ in s.writes)


@pytest.mark.parametrize("kv", ["int8", "int4"])
@pytest.mark.parametrize("target", ["siracusa", "gap9", "esp32s3"])
def test_a_build_is_exact(source: tiny_models.Checkpoint, target: str, kv: str, tmp_path: Path, objects: Path) -> None:
    recipe = Recipe(Quantize(bits=8, group_size=32), Build(context=40, chunk=4, kv=kv))
    artifact = tiny_models.built(source, tmp_path / "out", objects, target, recipe)
    assert len(kept(artifact.plan)) == 8
    assert "r->pos *" in (artifact.path / "project" / "model.c").read_text()
    with tiny_models.quick(source, objects):
        found = verify(artifact, ("simulator", "host"))["backends"]
    assert found["simulator"]["mismatches"] == found["host"]["mismatches"] == 0


def with_region(made: Plan, change: Callable[[Region], Region], program: str = "decode", node: str = "l1.kv") -> Plan:
    """The plan with what the first call of a step writes changed."""
    p = made.programs[program]
    step = next(s for s in p.steps if s.node == node)
    (number, phase), *_ = [(i, ph) for i, ph in enumerate(step.phases) if ph.call is not None]
    assert phase.call is not None
    call = phase.call
    written = "k_q" if "k_q" in call.regions else "q"
    region = call.regions[written]
    assert region is not None
    changed = Call(call.kernel, call.engine, {**call.regions, written: change(region)}, call.numbers)
    phases = (*step.phases[:number], replace(phase, call=changed), *step.phases[number + 1 :])
    steps = [replace(s, phases=phases) if s is step else s for s in p.steps]
    return replace(made, programs={**made.programs, program: Program(p.name, p.rows, steps, p.buffers)})


CHANGES: dict[str, Callable[[Region], Region]] = {
    "its first row": lambda r: replace(r, row_bytes=0),
    "rows half as long": lambda r: replace(r, row_bytes=r.row_bytes // 2),
    "rows twice as long": lambda r: replace(r, row_bytes=r.row_bytes * 2),
    "a later place": lambda r: replace(r, offset=r.offset + 16),
    "a row less": lambda r: replace(r, size=r.size - r.row_bytes),
    "a part of it": lambda r: replace(r, at=r.row_bytes),
    "another's name": lambda r: replace(r, value="l0.k_cache"),
    "another memory": lambda r: replace(r, level="TILE"),
}


@pytest.mark.parametrize("change", CHANGES)
@pytest.mark.parametrize("program", ["decode", "prefill"])
def test_rows_written_elsewhere_are_noticed(whole: tiny_models.Planned, change: str, program: str) -> None:
    with pytest.raises(PlanError, match=r"rope_append l1\.kv"):
        check(with_region(whole.plan, CHANGES[change], program))


def test_rows_written_to_another_cache_are_noticed(whole: tiny_models.Planned) -> None:
    """Of the same size, and one that the step writes as well."""
    b = next(b for b in whole.plan.buffers if b.name == "l1.v_cache")
    for name in ("l1.v_cache", "l0.k_cache"):
        b = next(b for b in whole.plan.buffers if b.name == name)
        with pytest.raises(PlanError, match=r"no call writes l1\.kv to row pos"):
            check(with_region(whole.plan, lambda r, b=b: replace(r, offset=b.offset, value=b.name)))


def test_only_new_rows_of_a_cache_are_open(whole: tiny_models.Planned) -> None:
    made = whole.plan
    with pytest.raises(PlanError, match="are not new rows"):
        check(with_region(made, lambda r: replace(r, row_bytes=16), node="l1.attn"))


def test_a_cache_without_its_place_is_noticed(whole: tiny_models.Planned) -> None:
    for change in ({"offset": 0}, {"size": LAYER // 8}, {"level": "TILE"}):
        buffers = [replace(b, **change) if b.name == "l1.k_cache" else b for b in whole.plan.buffers]
        with pytest.raises(PlanError):
            check(replace(whole.plan, buffers=buffers))
