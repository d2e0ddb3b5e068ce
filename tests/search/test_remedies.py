"""Remedies: each, pasted into a recipe and planned by itself, fits; the mildest of its kind; none is made up."""

from __future__ import annotations

import re
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import tiny_models

from edgec.compress.depth import Depth, rank_layers
from edgec.compress.shapes import planned_model
from edgec.compress.stage import Calibration, Work
from edgec.errors import RecipeError
from edgec.lower.programs import of_any_length
from edgec.memory.capacity import fits as really_fits
from edgec.planning import remedies
from edgec.recipe import Recipe
from edgec.search import remedies as search
from edgec.search.losses import bits_loss, depth_loss
from edgec.search.options import ladders
from edgec.verify.workload import TEXT
from tests.search.remedy_cases import BASE, CONFIG, assert_each_suffices, found, pasted, planned, sized


def test_what_fits_needs_none() -> None:
    assert found(BASE, sized()) == []


def test_every_kind_that_suffices_is_listed_and_does(tmp_path: Path) -> None:
    whole = planned(BASE, sized())
    target = sized(TILE=whole.used_bytes("TILE") - 6000, L3=0)
    before = planned(BASE, target)
    assert before.deficits()
    listed = found(BASE, target)
    kinds = {r["change"].split(" ")[0] for r in listed}
    assert {"context", "KV", "weights", "embedding", "a", "remove", "8"} <= kinds
    assert_each_suffices(listed, target, before, tmp_path)
    assert "8 layers instead of 9" in {r["change"] for r in listed}  # one is enough: no more go
    longest = next(int(r["change"].split(" ")[-1]) for r in listed if r["change"].startswith("context"))
    longer = replace(BASE, build=replace(BASE.build, context=longest + 8))
    assert planned(longer, target).deficits()


def test_layers_are_named_where_a_text_ranks_them(tmp_path: Path) -> None:
    whole = planned(BASE, sized())
    target = sized(TILE=whole.used_bytes("TILE") - 6000, L3=0)
    before = planned(BASE, target)
    asked = []

    def ranked() -> list[int]:
        asked.append(True)
        return [5, 4, 6]

    listed = remedies(partial(planned_model, CONFIG, ()), BASE, before, rank_layers=ranked)
    (remedy,) = (r for r in listed if r["change"].startswith("drop"))
    assert remedy["change"] == "drop layer 5" and "remove = [" in remedy["recipe"]
    assert_each_suffices([remedy], target, before, tmp_path)
    assert asked == [True]  # once, however many recipes are tried
    steps = ladders(BASE, planned_model(CONFIG, (), BASE), False, [5, 4, 6])["depth"]
    assert [s.change for s in steps] == ["drop layer 5", "drop layers 4, 5", "drop layers 4, 5, 6"]


def test_layers_are_ranked_by_what_the_depth_stage_measures(tmp_path: Path) -> None:
    model = tiny_models.checkpoint(CONFIG)
    words = list(dict.fromkeys(re.findall(r"\w+|[^\w\s]+", TEXT)))[:90]
    file = tmp_path / "text.txt"
    file.write_text(" ".join(np.random.default_rng(1).choice(words, size=2000)))
    calibration = Calibration(str(file), samples=10, length=128)
    ranked = rank_layers(model, calibration, 0, lambda text: None)
    assert sorted(ranked) == [4, 5, 6]  # the first 4 and last 2 of 9 are protected
    work = Work(lambda: model, calibration)
    Depth(blocks=1).run(model, work)
    assert work.notes["removed"] == ranked[:1]
    short = replace(calibration, file=str(tmp_path / "short.txt"))
    Path(short.file).write_text("a few words")
    assert rank_layers(model, short, 0, lambda text: None) == []
    few = tiny_models.checkpoint(tiny_models.config(n_layers=6))
    assert rank_layers(few, calibration, 0, lambda text: None) == []


@pytest.mark.parametrize(
    ("hidden", "ffn", "group", "expected"),
    [
        (64, 128, 32, ["8 of 16", "8 of 16"]),
        (40, 72, 0, ["4 of 8", "4 of 8"]),
        (64, 72, 0, ["4 of 8", "4 of 8"]),
        (36, 52, 0, ["2 of 4", "2 of 4"]),
    ],
)
def test_the_longest_pattern_that_packs(hidden: int, ffn: int, group: int, expected: list[str]) -> None:
    config = tiny_models.config(hidden_dim=hidden, ffn_dim=ffn, head_dim=16 if hidden == 64 else 8, n_heads=4)
    recipe = replace(BASE, quantize=replace(BASE.quantize, group_size=group))
    steps = ladders(recipe, planned_model(config, (), recipe), False)["pattern"]
    assert [" ".join(s.change.split(" ")[1:4]) for s in steps] == expected
    made = planned_model(config, (), steps[-1].apply(recipe))
    assert all(m.pattern for name, m in made.matrices.items() if name.startswith("model.layers."))


def test_several_together_where_none_is_enough(tmp_path: Path) -> None:
    target = sized(TILE=115_000, L3=0)
    before = planned(BASE, target)
    (remedy,) = found(BASE, target)
    assert ", " in remedy["change"]
    assert_each_suffices([remedy], target, before, tmp_path)


def test_the_impossible_has_none() -> None:
    target = sized(TILE=4096, L3=0)
    assert planned(BASE, target).deficits()
    assert found(BASE, target) == []


def test_off_chip_memory_can_be_done_without(tmp_path: Path) -> None:
    whole = planned(BASE, sized())
    target = sized(TILE=whole.used_bytes("TILE") - 9000)
    before = planned(BASE, target)
    assert not before.deficits() and before.used_bytes("L3")
    listed = found(BASE, target)
    assert listed
    for remedy in listed:
        assert not planned(pasted(remedy, tmp_path), target).arena_bytes("L3")


def test_a_chunk_too_large_is_made_smaller() -> None:
    asked = replace(BASE, build=replace(BASE.build, chunk=64))
    target = sized(L1=20_000)
    assert planned(asked, target).deficits()
    assert any(r["recipe"].startswith("[build]\nchunk = ") for r in found(asked, target))


def test_a_plan_that_fails_after_all_is_not_named(monkeypatch: pytest.MonkeyPatch) -> None:
    target = sized(TILE=4096, L3=0)
    monkeypatch.setattr(search, "fits", lambda *given: True)
    assert found(BASE, target) == []
    assert not really_fits(of_any_length(planned_model(CONFIG, (), BASE), target, BASE.build.chunk), 200, 9, target)


def test_what_a_shape_cannot_have_is_left_out() -> None:
    def odd(recipe: Recipe):
        if recipe.stages:
            raise RecipeError("not this shape")
        return planned_model(CONFIG, (), recipe)

    whole = planned(BASE, sized())
    target = sized(TILE=whole.used_bytes("TILE") - 6000, L3=0)
    listed = remedies(odd, BASE, planned(BASE, target))
    assert listed and not any("[[stage]]" in r["recipe"] for r in listed)


def test_losses() -> None:
    assert bits_loss(8, 4) == bits_loss(6 + 2, 4) > 0
    assert bits_loss(4, 3) is None or bits_loss(4, 3) > 0
    losses = [depth_loss(n, 30) for n in range(12)]
    assert losses[0] == 0 and losses == sorted(losses) and losses[2] == pytest.approx(0.2537, abs=1e-3)
