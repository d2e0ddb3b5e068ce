"""A small model on small chips, its remedies, and what a user does with one."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from pathlib import Path

import tiny_models

from edgec.compress.shapes import planned_model
from edgec.lower.programs import ready
from edgec.memory.plan import Plan
from edgec.planning import context_of, plan_model, remedies
from edgec.recipe import Build, Quantize, Recipe, RoleOverride, load_recipe
from edgec.search import remedies as search
from edgec.target import Target, load_target

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
