"""A tiling built once is judged in other situations by its requests for room: as building it again would judge it."""

from __future__ import annotations

import random
from pathlib import Path
from unittest.mock import patch

import pytest
import tiny_models

from edgec.memory import tile_choice
from edgec.memory.activations import place_activations
from edgec.memory.choices import ALL, Choices
from edgec.memory.homes import place_permanent
from edgec.memory.placement import free_gaps
from edgec.memory.plan import Buffer
from edgec.memory.planner import plan
from edgec.memory.repeat import OVERFLOW, Decisions, Tried
from edgec.memory.serialize import dump_plan
from edgec.memory.streaming import NoRoom, Workspace
from edgec.memory.tile_choice import TileChoice, has_room
from edgec.memory.tiling.step import StepContext
from edgec.target import load_target


class Forgetful(dict[tuple[object, int], Tried]):
    """Keeps nothing, so that every candidate is built wherever it is tried."""

    def __setitem__(self, key: tuple[object, int], value: Tried) -> None:
        pass


def test_requests_are_met_as_a_workspace_meets_them() -> None:
    target, draw, met = load_target("siracusa"), random.Random(4), [0, 0]
    capacity = target.memory_by_name["L1"].capacity_bytes
    for _ in range(500):
        taken = []
        for number in range(draw.randrange(1, 8)):
            offset = draw.randrange(0, capacity, 16)
            taken.append(Buffer(f"b{number}", "L1", offset, draw.randrange(1, 60_000), "scratch"))
        gaps = free_gaps([(b.offset, b.offset + b.size) for b in taken], 0, capacity)
        requests = [draw.randrange(1, 50_000) for _ in range(draw.randrange(1, 9))]
        workspace = Workspace(target, "decode", 0, taken)
        try:
            for size in requests:
                workspace.allocate("x", size, "scratch")
            room = True
        except NoRoom:
            room = False
        met[room] += 1
        assert has_room([(0, size) for size in requests], [sorted(size for _, size in gaps)]) == room
    assert min(met) > 100


@pytest.mark.parametrize("target", ["siracusa", "gap9", "small"])
@pytest.mark.parametrize("choices", [ALL, Choices(near=False), Choices(tiling=False)])
def test_plans_are_those_of_building_every_candidate(target: str, choices: Choices, tmp_path: Path) -> None:
    chip = tiny_models.target_file(tmp_path / "small.toml", L1=9_000) if target == "small" else target
    source = tiny_models.planned(tiny_models.checkpoint(tiny_models.config(n_layers=3)), chip, near=True)
    texts, built = [], []
    for tried in (dict[tuple[object, int], Tried](), Forgetful()):
        with patch.object(tile_choice, "stream", side_effect=tile_choice.stream) as calls:
            known = Decisions(source.target, tried=tried)
            texts.append(dump_plan(plan(source.graphs, source.target, source.plan.context, choices, known)))
        built.append(calls.call_count)
    assert texts[0] == texts[1]
    assert built[0] < built[1] or not choices.tiling  # which takes the first that has room


@pytest.mark.parametrize("room", [40_000, 12_000])
@pytest.mark.parametrize("order", [1, -1], ids=["less room", "more room"])
def test_every_choice_is_that_of_building_every_candidate(room: int, order: int, tmp_path: Path) -> None:
    """Each step of a token beside less and less room, or more and more, with candidates remembered from before."""
    chip = tiny_models.target_file(tmp_path / "small.toml", L1=room)
    source = tiny_models.planned(tiny_models.checkpoint(tiny_models.config()), chip)
    target, graph, context = source.target, source.graphs["decode"], source.plan.context
    known = Decisions(target)
    homes, permanent = place_permanent(source.graphs, target)
    homes |= place_activations(graph, homes, permanent, target, True)[0]
    numbers: dict[str, set[int]] = {}
    capacity = target.memory_by_name[target.compute].capacity_bytes
    for taken in [*range(0, capacity, capacity // 60), capacity][::order]:
        alive = [Buffer("other", target.compute, 0, taken, "scratch")]
        for index, node in enumerate(graph.nodes):
            step = StepContext(node, graph, homes, target, context)
            choice = TileChoice(step, index, alive, known).chosen()
            assert choice == TileChoice(step, index, alive, Decisions(target, tried=Forgetful())).chosen(), node.name
            numbers.setdefault(node.op, set()).add(choice.number)
    assert max(map(len, numbers.values())) > 2
    assert {op for op, found in numbers.items() if OVERFLOW in found} >= {"matmul_w4a8", "attention"}
