"""Pruned models: stored packed by N:M, exact on every backend, and the bits of the dense program."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from unittest.mock import patch

import numpy as np
import pytest
import tiny_models

from edgec import compiler
from edgec.artifact import Artifact
from edgec.compress.masks import keep_highest
from edgec.errors import MismatchError, VerifyError
from edgec.frontend.checkpoint import Checkpoint
from edgec.packing_nm import PATTERNS, Pattern
from edgec.recipe import Recipe, RoleOverride
from edgec.verify.chain import verify

CONFIG = tiny_models.config(hidden_dim=64, ffn_dim=96, n_heads=4, head_dim=16, n_layers=2, tied_embeddings=True)


def pruned(patterns: dict[str, Pattern], seed: int = 1) -> Checkpoint:
    """A random model whose matrices of these roles lost the weakest weights of every window."""
    source = tiny_models.checkpoint(CONFIG, seed, biases=bool(seed % 2))
    tensors, found = {}, {}
    for name in source.matrix_names():
        role = name.split(".")[-2].removesuffix("_proj")
        if role in patterns:
            w = source.tensor(name)
            tensors[name] = w * keep_highest(np.abs(w), *patterns[role])
            found[name] = patterns[role]
    return replace(source.with_tensors(tensors), patterns=found)


def build(source: Checkpoint, out: Path, objects: Path, recipe: Recipe, measured: bool = False) -> Artifact:
    with tiny_models.quick(source, objects, measured=measured):
        return compiler.build("memory", recipe=recipe, out=out)


@pytest.mark.parametrize("seed", range(4))
def test_exact_and_the_dense_programs_bits(seed: int, tmp_path: Path, objects: Path) -> None:
    rng = np.random.default_rng(seed)
    chosen = rng.permutation(len(PATTERNS))
    patterns = dict(zip(("q", "k", "v", "o", "gate", "up", "down"), (PATTERNS[i] for i in chosen), strict=True))
    source = pruned(patterns, seed)
    roles = {"gate": RoleOverride(8), "down": RoleOverride(3, 32), "v": RoleOverride(5, 0)}
    recipe = tiny_models.recipe(4, 32, 24, 6, **roles)
    artifact = build(source, tmp_path / "sparse", objects, recipe)
    ops = {node.op for node in artifact.graphs["decode"].nodes}
    assert {"matmul_w4a8_nm", "matmul_w8a8_nm"} <= ops
    with tiny_models.quick(source, objects):
        found = verify(artifact, ("simulator", "host"))["backends"]
    assert found["simulator"]["mismatches"] == found["host"]["mismatches"] == 0

    never = replace(recipe, build=replace(recipe.build, sparse="never"))
    dense = build(source, tmp_path / "dense", objects, never)
    assert not any("_nm" in node.op for node in dense.graphs["decode"].nodes)
    results = []
    for made in (artifact, dense):
        runner = made.reference()
        runner.prefill([3, 1, 4, 1, 5, 9, 2, 6])
        runner.decode(5)
        results.append(runner.logits.tobytes())
    assert results[0] == results[1]
    size = {
        a.path.name: sum(b.size for b in a.plan.buffers if b.kind in ("weight", "scale")) for a in (artifact, dense)
    }
    assert size["sparse"] < size["dense"]


def test_exact_on_rv32(tmp_path: Path, objects: Path) -> None:
    source = pruned({"gate": (2, 4), "up": (4, 8), "down": (8, 16), "q": (3, 4)}, 5)
    artifact = build(source, tmp_path / "out", objects, tiny_models.recipe(4, 32, 24, 5), measured=True)
    with tiny_models.quick(source, objects, measured=True):
        found = verify(artifact, ("rv32",))["backends"]
    assert found["rv32"]["mismatches"] == 0


def test_the_report_counts_what_is_stored_and_claims_no_more(tmp_path: Path, objects: Path) -> None:
    source = pruned({"gate": (2, 4), "up": (1, 8), "down": (48, 96)}, 2)
    artifact = build(source, tmp_path / "out", objects, tiny_models.recipe(4, 32))
    rows = {row["pattern"]: row for row in json.loads((artifact.path / "report.json").read_text())["model"]["sparsity"]}
    homes = {b.name: b.size for b in artifact.plan.buffers}
    for pattern, role in (("2:4", "gate"), ("1:8", "up"), ("50% unstructured", "down")):
        sizes = [size for name, size in homes.items() if f".{role}_proj." in name and "bias" not in name]
        assert rows[pattern]["bytes"] == sum(sizes)
        assert rows[pattern]["matrices"] == CONFIG.n_layers and rows[pattern]["roles"] == [role]
    assert (
        rows["2:4"]["packed"] and rows["2:4"]["bits_per_weight"] == 3.5 and rows["2:4"]["other_bits_per_weight"] == 4.5
    )
    assert (
        not rows["1:8"]["packed"]
        and rows["1:8"]["bits_per_weight"] == 8.5  # in the accelerator's 1x1 form
        and rows["1:8"]["other_bits_per_weight"] == 5
    )
    text = (artifact.path / "report.txt").read_text().replace("\n", " ")
    assert "2:4 zeros in 2 matrices (gate): packed, 3.50 bits per weight" in text
    said = "stored dense at 8.50 bits per weight, nothing saved: the accelerator reads dense matrices"
    assert f"1:8 zeros in 2 matrices (up): {said}" in text


def test_a_wrong_place_is_found(tmp_path: Path, objects: Path) -> None:
    """A kernel that reads places in another order no longer gives the reference's values."""
    source = pruned({"gate": (2, 4)}, 3)
    artifact = build(source, tmp_path / "out", objects, tiny_models.recipe(4, 32))
    kernel = artifact.path / "project/kernels/matmul_w4a8_nm/matmul_w4a8_nm_generic.c"
    text = kernel.read_text()
    assert "index &= of - 1u;" in text
    kernel.write_text(text.replace("index &= of - 1u;", "index = (index & (of - 1u)) ^ 1u;"))
    with tiny_models.quick(source, objects), pytest.raises(MismatchError, match="first in matmul_w4a8_nm"):
        verify(artifact, ("host",))


@pytest.mark.parametrize(("role", "layer"), [("gate", 1), ("up", 0)])  # indices, a bitmask
def test_a_flipped_bit_of_a_place_is_found(role: str, layer: int, tmp_path: Path, objects: Path) -> None:
    """By its hash first; and a program that runs with it differs first in the op that reads it."""
    source = pruned({"gate": (2, 4), "up": (4, 8)}, 3)
    artifact = build(source, tmp_path / "out", objects, tiny_models.recipe(4, 32))
    sound = artifact.reference()
    name = f"model.layers.{layer}.mlp.{role}_proj.weight.places"
    home = artifact.meta["constants"][name]
    path = artifact.path / "project" / f"{home['level'].lower()}.bin"
    data = bytearray(path.read_bytes())
    data[home["offset"] + 3] ^= 1
    path.write_bytes(data)
    for leg in ("simulator", "host"):
        broken = Artifact.load(artifact.path)
        with tiny_models.quick(source, objects), pytest.raises(VerifyError, match=f"constant {name} in"):
            verify(broken, (leg,))
        with (
            tiny_models.quick(source, objects),
            patch.object(Artifact, "reference", lambda self: sound),
            pytest.raises(MismatchError, match=f"first in matmul_w4a8_nm l{layer}.{role}"),
        ):
            sound.reset()
            verify(broken, (leg,))
