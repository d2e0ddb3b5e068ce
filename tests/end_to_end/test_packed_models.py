"""Models that arrive quantised: their codes, scales, zero points and minima reach the device as they are."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import tiny_models

from edgec import compiler
from edgec.artifact import Artifact
from edgec.compress.quantized import QuantizedTensor
from edgec.compress.rtn import quantize_model
from edgec.errors import MismatchError
from edgec.frontend.checkpoint import Checkpoint
from edgec.neureka.encode import decode_1x1, decode_3x3
from edgec.ops import matmul_w4a8_neureka
from edgec.packing import n_groups, pack
from edgec.passes.join_projections import parts
from edgec.recipe import Build, Quantize, Recipe
from edgec.verify.chain import verify

RECIPE = Recipe(build=Build(context=24, chunk=4))


def on_grids(source: Checkpoint, seed: int, embed: bool) -> Checkpoint:
    """Every matrix of the blocks (and the embedding) on a random grid of its own, near its weights."""
    rng = np.random.default_rng(seed)
    names = source.matrix_names() + (["model.embed_tokens.weight"] if embed else [])
    return source.with_packed({name: _on_a_grid(rng, source.tensor(name)) for name in names})


def _on_a_grid(rng: np.random.Generator, w: np.ndarray) -> QuantizedTensor:
    n, k = w.shape
    bits, size = int(rng.integers(2, 9)), int(rng.choice([8, 20, 32, k]))
    groups = n_groups(k, size)
    top = 2**bits - 1
    scale = np.full((n, groups), (w.max() - w.min()) / top, np.float16) * rng.uniform(0.9, 1.1, (n, groups))
    scale = scale.astype(np.float16)
    kind = rng.choice(["symmetric", "zero", "minimum"], p=[0.2, 0.2, 0.6])
    zero = rng.integers(top // 2, top // 2 + 2, (n, groups)).astype(np.uint8) if kind == "zero" else None
    least = (rng.uniform(0.9, 1.1, (n, groups)) * w.min()).astype(np.float16) if kind == "minimum" else None
    group = np.arange(k) // min(size, k)
    offset = (
        -least / scale if least is not None else zero if zero is not None else np.full((n, groups), 2 ** (bits - 1))
    )
    u = np.clip(np.rint(w / scale[:, group] + offset[:, group]), 0, top).astype(np.uint8)
    return QuantizedTensor(pack(u, bits, size), scale, zero, k, bits, size, least)


@pytest.mark.parametrize(
    ("seed", "tied", "legs"),
    [(1, True, "host"), (2, False, "host"), (3, True, "rv32"), (4, False, "host"), (5, True, "host")],
)
def test_exact_on_every_backend(seed: int, tied: bool, legs: str, tmp_path: Path, objects: Path) -> None:
    source = on_grids(tiny_models.checkpoint(tiny_models.config(tied_embeddings=tied), seed), seed, embed=tied)
    with tiny_models.quick(source, objects, measured=legs == "rv32"):
        artifact = compiler.build("memory", recipe=RECIPE, out=tmp_path / "out")
        found = verify(artifact, ("simulator", legs))["backends"]
    assert found[legs]["mismatches"] == found["simulator"]["mismatches"] == 0
    consts = artifact.constants()
    assert any(name.endswith(".minimum") for name in consts)
    rows = {}
    for name in consts:
        if name.endswith(".weight"):
            sizes = [source.tensor(part).shape[0] for part in parts(name)]
            ends = np.cumsum([0, *sizes])
            rows |= {part: (name, slice(*ends[i : i + 2])) for i, part in enumerate(parts(name))}
    for name, read in source.packed.items():
        tensor, (joint, own) = read(), rows[name]
        assert codes(artifact, joint, tensor)[own].tobytes() == tensor.packed.tobytes()
        assert consts[f"{joint}.scale"][own].tobytes() == tensor.scale.tobytes()
        if tensor.minimum is not None:
            assert consts[f"{joint}.minimum"][own].tobytes() == tensor.minimum.tobytes()


def codes(artifact: Artifact, name: str, like: QuantizedTensor) -> np.ndarray:
    """A matrix's packed codes on the device, also where it has the accelerator's form."""
    packed = artifact.constants()[name]
    users = {node.op for node in next(iter(artifact.graphs.values())).users(name)}
    if not any("_neureka" in user for user in users):
        return packed
    n = packed.shape[0] // n_groups(like.k, like.group_size)
    if users == {matmul_w4a8_neureka.kernel_name(8, "1x1")}:  # codes of 8 bits, around 128
        u = decode_1x1(packed.reshape(-1), 8, n, like.k, like.group_size) - np.uint8(128 - 2 ** (like.bits - 1))
    else:
        u = decode_3x3(packed.reshape(-1), like.bits, n, like.k, like.group_size)
    return pack(u, like.bits, like.group_size)


def test_a_kernel_that_forgets_the_minimum_is_found(tmp_path: Path, objects: Path) -> None:
    source = on_grids(tiny_models.checkpoint(tiny_models.config(tied_embeddings=True), 3), 3, embed=True)
    with tiny_models.quick(source, objects):
        artifact = compiler.build("memory", recipe=RECIPE, out=tmp_path / "out")
        kernel = tmp_path / "out/project/kernels/matmul_w4a8/matmul_w4a8_generic.c"
        text = kernel.read_text()
        assert "sum += (float)x_sums[g]" in text
        kernel.write_text(text.replace("sum += (float)x_sums[g]", "sum -= (float)x_sums[g]"))
        with pytest.raises(MismatchError, match="differs from the reference first in matmul_w"):
            verify(artifact, ("host",))


def test_what_is_left_is_rounded_to_eight_bits() -> None:
    """An embedding beside packed matrices has 8 bits unless the recipe says otherwise."""
    source = on_grids(tiny_models.checkpoint(tiny_models.config(), 1), 1, embed=False)
    bits = {name: m.bits for name, m in quantize_model(source, Quantize()).matrices.items()}
    assert bits["model.embed_tokens.weight"] == bits["lm_head.weight"] == 8
    assert quantize_model(source, Quantize(bits=5)).matrices["lm_head.weight"].bits == 5
    again = quantize_model(source, replace(Quantize(bits=5), keep=False)).matrices
    assert {m.bits for m in again.values()} == {5}
