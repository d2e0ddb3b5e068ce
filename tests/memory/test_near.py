"""Constants that stay in the compute memory: those that save most, within its room, and only if decoding is faster."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import tiny_models

from edgec.cost.estimate import program_usage
from edgec.memory.check import check
from edgec.memory.images import UNUSED, images
from edgec.memory.near import elsewhere, movable, near_budget, nearest
from edgec.memory.plan import Plan
from edgec.simulate.reference import ReferenceRunner
from edgec.simulate.simulator import Simulator

CONSTANT = ("weight", "scale", "table")


def near(plan: Plan) -> set[str]:
    return {b.name for b in plan.buffers if b.level == "L1" and b.kind in CONSTANT}


@pytest.fixture(scope="module")
def source() -> tiny_models.Checkpoint:
    return tiny_models.checkpoint(tiny_models.config())


@pytest.fixture(scope="module", params=[14_000, 40_000, 200_000])
def made(request: pytest.FixtureRequest, source: tiny_models.Checkpoint, tmp_path_factory: pytest.TempPathFactory):
    file = tiny_models.target_file(tmp_path_factory.mktemp("target") / "t.toml", L1=request.param)
    return tuple(tiny_models.planned(source, file, near=on) for on in (True, False))


def test_a_token_is_faster_and_moves_less(made) -> None:
    close, far = (p.plan for p in made)
    check(close)
    assert near(close) and not near(far)
    assert close.used_bytes("L1") <= close.target.memory_by_name["L1"].capacity_bytes
    usage = [program_usage(p, p.programs["decode"], 1, 20) for p in (close, far)]
    assert usage[0].cycles < usage[1].cycles
    assert sum(usage[0].link_bytes.values()) < sum(usage[1].link_bytes.values())


@pytest.mark.parametrize("made", [200_000], indirect=True)
def test_with_room_for_all_nothing_but_tables_and_cache_moves(made) -> None:
    close, _ = made
    assert near(close.plan) == {v.name for v in close.graphs["decode"].of_kind("const")} - elsewhere(
        close.graphs["decode"]
    )


def test_the_bits_are_the_same(made) -> None:
    close, _ = made
    simulator = Simulator(close.plan, images(close.plan, close.consts))
    reference = ReferenceRunner(close.graphs, close.consts)
    prompt = [3, 1, 4, 1, 5, 9]
    token = reference.prefill(prompt)
    assert simulator.prefill(prompt) == token
    for _ in range(4):
        following = reference.decode(token)
        assert simulator.decode(token) == following
        token = following


def test_stacks_in_the_image_keep_their_paint(made) -> None:
    close, _ = made
    stacks = next(b for b in close.plan.buffers if b.kind == "stack")
    image = images(close.plan, close.consts)["L1"]
    assert (image[stacks.offset : stacks.offset + stacks.size] == np.uint8(UNUSED)).all()


def test_those_that_save_most_come_first(source: tiny_models.Checkpoint, tmp_path: Path) -> None:
    made = tiny_models.planned(source, tiny_models.target_file(tmp_path / "t.toml", L1=40_000))
    graph, target = made.graphs["decode"], made.plan.target
    items = movable(graph, cache=False)
    budget = near_budget(made.plan)
    assert 0 < budget < target.memory_by_name["L1"].capacity_bytes
    norms = {v.name: float(i) for i, v in enumerate(graph.of_kind("const"), 1) if v.name.endswith("norm.weight")}
    best = max(norms, key=lambda name: norms[name])
    assert nearest(graph, items, norms, graph.type_of(best).nbytes) == {best}
    assert nearest(graph, items, {}, budget) == frozenset()
