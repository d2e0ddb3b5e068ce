"""Recipes with svd, mass and global_fact: folders, sizes and programs agree, and the host computes the reference."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import tiny_models

from edgec.compress.counts import dry_run
from edgec.compress.pipeline import compress
from edgec.compress.rtn import quantize_model
from edgec.compress.shapes import planned_model
from edgec.compress.sizes import size_of
from edgec.frontend.load import load_checkpoint
from edgec.frontend.structure import factor_names
from edgec.lower.llama import constants
from edgec.recipe import Recipe, load_recipe
from edgec.verify.chain import verify

QUANTIZED = """
[quantize]
bits = 4
group_size = 16
[build]
context = 24
chunk = 4
"""
MASS = '[[stage]]\nmethod = "mass"\nblocks = ["1:4"]\n'
RECIPES = {
    "svd": '[[stage]]\nmethod = "svd"\nbudget = 0.7\n',
    "svd, then rounded": """
        [[stage]]
        method = "svd"
        ratio = 0.6
        multiple = 4
        [[stage]]
        method = "quantize"
        by = "rtn"
        group_size = 16
    """,
    "rounded, then svd": """
        [[stage]]
        method = "quantize"
        by = "rtn"
        group_size = 16
        [[stage]]
        method = "svd"
        rank = 6
        roles = ["q", "down"]
        basis = "drone"
    """,
    "mass": MASS,
    "mass, then svd": MASS + '[[stage]]\nmethod = "svd"\nrank = 9\nroles = ["gate", "up"]\n',
    "global_fact": '[[stage]]\nmethod = "global_fact"\nratio = 0.5\nroles = ["q", "k+v", "down"]\nblocks = ["0:4"]\n',
}


@pytest.mark.parametrize("name", RECIPES)
def test_folder_sizes_and_program_agree(name: str, tmp_path: Path, objects: Path) -> None:
    pytest.importorskip("torch", reason="torch runs the calibration text")
    (tmp_path / "text.txt").write_text(tiny_models.TEXT * 40)
    head = 'seed = 3\n[calibration]\nfile = "text.txt"\nsamples = 6\nlength = 32\n'
    lines = [line.strip() for line in RECIPES[name].splitlines()]
    (tmp_path / "recipe.toml").write_text(head + "\n".join(lines) + QUANTIZED)
    recipe = load_recipe(tmp_path / "recipe.toml")
    source = tiny_models.checkpoint(tiny_models.config(n_layers=4, family="qwen2"), biases=True)
    made = compress(source, recipe, tmp_path / "stages")

    loaded = load_checkpoint(str(made.folders[-1]))
    assert loaded.structure == made.model.structure != source.structure
    for tensor in made.model.stored_tensors():
        assert np.array_equal(loaded.tensor(tensor), made.model.tensor(tensor)), tensor
    assert size_of(loaded)["parameters"] < size_of(source)["parameters"]

    artifact = tiny_models.built(loaded, tmp_path / "out", objects, made=replace(recipe, stages=()))
    outcomes = verify(artifact, ("simulator", "host"))["backends"]
    assert [outcomes[backend]["mismatches"] for backend in ("simulator", "host")] == [0, 0]
    if "budget" not in RECIPES[name]:
        assert_known_without_weights(source.config, recipe, made.model)


def assert_known_without_weights(
    config: tiny_models.ModelConfig, recipe: Recipe, model: tiny_models.Checkpoint
) -> None:
    """`edgec plan` and `--dry-run` know the structure, every constant's size and all parameters."""
    biases = [f"self_attn.{role}_proj.bias" for role in "qkv"]
    planned = planned_model(config, biases, recipe)
    built = quantize_model(model, recipe.quantize)
    assert (planned.factors, planned.shared) == (built.factors, built.shared)
    known, real = (constants(each, 24) for each in (planned, built))
    assert {n: (a.shape, a.dtype) for n, a in known.items()} == {n: (a.shape, a.dtype) for n, a in real.items()}
    bare = sum(model.tensor(name).size for name in model.structure.shapes())
    assert dry_run(config, recipe)[-1].parameters == bare


def test_a_shared_matrix_takes_its_bytes_once_on_the_device(tmp_path: Path, objects: Path) -> None:
    (tmp_path / "recipe.toml").write_text(MASS + QUANTIZED)
    recipe = load_recipe(tmp_path / "recipe.toml")
    source = tiny_models.checkpoint(tiny_models.config(n_layers=4))
    made = compress(source, recipe, tmp_path / "stages").model
    dense, shared = (
        tiny_models.built(model, tmp_path / out, objects, made=replace(recipe, stages=())).constants()
        for model, out in ((source, "dense"), (made, "shared"))
    )
    bytes_of = {name: value.nbytes for name, value in dense.items()}
    gone = [name for name in dense if name not in shared]
    assert gone and all(name.split(".")[2] in "23" and "_proj" in name for name in gone)
    left = [name for name in shared if name.split(".")[2:3] and name.split(".")[2] in "23"]
    assert all("norm" in name for name in left)
    weights = sum(size for name, size in bytes_of.items() if "_proj" in name)
    saved = sum(bytes_of.values()) - sum(value.nbytes for value in shared.values())
    assert saved == weights // 2  # of four equal blocks two are gone


def test_a_shared_factor_takes_its_bytes_once_on_the_device(tmp_path: Path, objects: Path) -> None:
    (tmp_path / "recipe.toml").write_text(RECIPES["global_fact"] + QUANTIZED)
    recipe = load_recipe(tmp_path / "recipe.toml")
    source = tiny_models.checkpoint(tiny_models.config(n_layers=4))
    made = compress(source, recipe, tmp_path / "stages").model
    names = set(tiny_models.built(made, tmp_path / "out", objects, made=replace(recipe, stages=())).constants())
    down = [factor_names(f"model.layers.{layer}.mlp.down_proj.weight") for layer in range(4)]
    assert [sum(name.startswith(a.removesuffix("weight")) for name in names) > 0 for a, _ in down] == [True] + 3 * [
        False
    ]
    assert all(any(name.startswith(b.removesuffix("weight")) for name in names) for _, b in down)
