"""Remedies: each, pasted into a recipe and planned by itself, fits; the mildest of its kind; none is made up."""

from __future__ import annotations

import tomllib
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import tiny_models

from edgec.compress.rtn import quantize_matrix, quantize_model
from edgec.compress.shapes import planned_model
from edgec.compress.vocab import Vocab
from edgec.errors import RecipeError
from edgec.lower.programs import ready
from edgec.memory.capacity import fits as really_fits
from edgec.memory.plan import Plan
from edgec.planning import context_of, models, plan_model, remedies
from edgec.recipe import Build, Quantize, Recipe, RoleOverride, load_recipe
from edgec.search import remedies as search
from edgec.search.losses import bits_loss, depth_loss
from edgec.search.options import ladders
from edgec.target import Target, load_target
from tests.compress.small_tokenizers import tokenizer_of

CONFIG = tiny_models.config(n_layers=9, hidden_dim=64, ffn_dim=128, head_dim=16, vocab_size=200)
WIDE = {"embed": RoleOverride(bits=8), "head": RoleOverride(bits=8)}
BASE = Recipe(Quantize(bits=4, group_size=32, roles=WIDE), Build(context=200, chunk=4))


def sized(**sizes: int) -> Target:
    """Siracusa with other capacities in bytes, 0 for a memory that it then lacks."""
    target = tiny_models.plain(load_target("siracusa"))
    memories = tuple(replace(m, capacity_bytes=sizes.get(m.name, m.capacity_bytes)) for m in target.memories)
    levels = {"weights": tuple(n for n in ("TILE", "L3") if sizes.get(n, 1)), "kv": ("TILE",), "large": ("TILE",)}
    return replace(target, memories=memories, placement=replace(target.placement, **levels))


def planned(recipe: Recipe, target: Target) -> Plan:
    model = planned_model(CONFIG, (), recipe)
    context = context_of(model.config.max_seq_len, recipe)
    return plan_model(ready(model), target, context, recipe)[1]


def found(recipe: Recipe, target: Target) -> list[dict]:
    return remedies(partial(planned_model, CONFIG, ()), recipe, planned(recipe, target))


def pasted(remedy: dict, tmp_path: Path) -> Recipe:
    """BASE written by hand, with the remedy's lines in it: what a user does."""
    path = tmp_path / "pasted.toml"
    path.write_text(remedy["recipe"])
    lines = load_recipe(path)
    build, quantize = lines.build, lines.quantize
    text = remedy["recipe"]
    return replace(
        BASE,
        build=replace(
            BASE.build,
            context=build.context or BASE.build.context,
            kv=build.kv,
            chunk=build.chunk or BASE.build.chunk,
        ),
        quantize=replace(
            BASE.quantize,
            bits=quantize.bits or BASE.quantize.bits,
            group_size=quantize.group_size if "group_size" in text else BASE.quantize.group_size,
            roles=BASE.quantize.roles | quantize.roles,
        ),
        stages=lines.stages,
    )


def assert_each_suffices(listed: list[dict], target: Target, before: Plan, tmp_path: Path) -> None:
    for remedy in listed:
        plan = planned(pasted(remedy, tmp_path), target)
        assert not plan.deficits(), remedy
        assert search.used_bytes(before) - search.used_bytes(plan) == remedy["saved_bytes"] > 0
    losses = [r["loss"] for r in listed]
    known = [loss for loss in losses if loss is not None]
    assert known == sorted(known) and losses[: len(known)] == known


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
    assert not really_fits(search._graphs(planned_model(CONFIG, (), BASE), BASE, target), 200, 9, target)


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


def test_a_smaller_vocabulary(tmp_path: Path) -> None:
    """Its ladder is of powers of two below the model's; the mildest that suffices is offered, with lines to paste."""
    large = replace(CONFIG, vocab_size=9000, tied_embeddings=True)
    model_of = partial(planned_model, large, ())

    def plan_of(recipe: Recipe, target: Target) -> Plan:
        model = model_of(recipe)
        return plan_model(ready(model), target, context_of(model.config.max_seq_len, recipe), recipe)[1]

    whole = plan_of(BASE, sized())
    target = sized(TILE=whole.used_bytes("TILE") - 330_000, L3=0)  # 72 B a token: 4,096 are few enough, 8,192 are not
    before = plan_of(BASE, target)
    listed = remedies(model_of, BASE, before)
    remedy = next(r for r in listed if r["change"].startswith("trim"))
    assert remedy["change"] == "trim vocabulary to 4,096"
    assert tomllib.loads(remedy["recipe"]) == {"stage": [{"method": "vocab", "size": 4096}]}
    after = plan_of(pasted(remedy, tmp_path), target)
    assert not after.deficits()
    assert search.used_bytes(before) - search.used_bytes(after) == remedy["saved_bytes"]
    assert 72 * (9000 - 4096) <= remedy["saved_bytes"] < 76 * (9000 - 4096)
    already = replace(BASE, stages=(Vocab(size=8192),))
    assert "vocab" not in ladders(already, model_of(already), False)
    assert "vocab" in ladders(BASE, model_of(BASE), True), "rows of packed matrices can go too"


def test_a_vocabulary_that_cannot_be_smaller_is_no_remedy() -> None:
    """No tokenizer, or one that must keep more."""
    source = tiny_models.checkpoint(replace(CONFIG, vocab_size=9000))
    built = quantize_model(source, BASE.quantize)
    fewer = replace(BASE, stages=(Vocab(size=4096),))
    with pytest.raises(RecipeError, match="no tokenizer"):
        models(replace(source, tokenizer=None), built, BASE)(fewer)
    with pytest.raises(RecipeError, match="the tokenizer has"):
        models(source, built, BASE)(fewer)


def test_a_smaller_vocabulary_of_matrices_that_stay_as_they_arrived() -> None:
    """Their widths and groups are kept; rows go."""
    source = tiny_models.checkpoint(replace(CONFIG, vocab_size=435))
    source = replace(source, tokenizer=tokenizer_of("byte_level"))
    matrices = [name for name, shape in source.config.tensor_shapes().items() if len(shape) == 2]
    source = source.with_packed({name: quantize_matrix(source.tensor(name), 6, 32)[0] for name in matrices})
    built = quantize_model(source, BASE.quantize)
    made = models(source, built, BASE)(replace(BASE, stages=(Vocab(size=300),)))
    assert made.config.vocab_size == 300
    for name, matrix in made.matrices.items():
        assert (matrix.bits, matrix.k) == (6, built.matrices[name].k)
        shape = made.config.tensor_shapes()[name]
        assert matrix.dequantized().shape == shape and np.array_equal(
            matrix.packed, built.matrices[name].packed[: shape[0]]
        )
