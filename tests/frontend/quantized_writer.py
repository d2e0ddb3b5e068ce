"""GPTQ and AWQ checkpoints written by the definition, one code at a time: the other side of the front end."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

Array = np.ndarray[Any, Any]
AWQ_ORDER = [0, 2, 4, 6, 1, 3, 5, 7]


@dataclass
class Grid:
    """A quantised matrix: codes [n, k], zero points and scales [n, groups], group of each input."""

    codes: Array
    zero: Array
    scale: Array
    group_of: Array

    def weights(self) -> Array:
        """w = scale * (code - zero), float32."""
        wide = self.scale.astype(np.float32)[:, self.group_of]
        return wide * (self.codes.astype(np.int32) - self.zero.astype(np.int32)[:, self.group_of]).astype(np.float32)


def random_grid(rng: np.random.Generator, n: int, k: int, bits: int, size: int, symmetric: bool) -> Grid:
    """Any codes, any zero points (0 and the largest among them)."""
    size = size if size > 0 else k
    groups = -(-k // size)
    zero = np.full((n, groups), 2 ** (bits - 1)) if symmetric else rng.integers(0, 2**bits, size=(n, groups))
    scale = (rng.random((n, groups)) * 0.1 + 0.01).astype(np.float16)
    return Grid(rng.integers(0, 2**bits, size=(n, k)), zero, scale, np.arange(k) // size)


def stream(codes: list[int], bits: int) -> list[int]:
    """Codes as one big number, cut into signed 32-bit words."""
    number = sum(int(code) << (bits * at) for at, code in enumerate(codes))
    words = -(-len(codes) * bits // 32)
    return [((number >> (32 * at)) & 0xFFFFFFFF ^ 0x80000000) - 0x80000000 for at in range(words)]


def gptq_parts(grid: Grid, bits: int, minus_one: bool) -> dict[str, Array]:
    """qweight, qzeros, scales and g_idx."""
    qzeros = np.array([stream(list(row), bits) for row in grid.zero.T], np.int32)
    if minus_one and bits != 3:  # the tools subtract whole words
        ones = sum(1 << at for at in range(0, 32, bits))
        qzeros = (qzeros.view(np.uint32) - np.uint32(ones)).view(np.int32)
    elif minus_one:
        qzeros = np.array([stream([(z - 1) % 8 for z in row], bits) for row in grid.zero.T], np.int32)
    return {
        "qweight": np.array([stream(list(row), bits) for row in grid.codes], np.int32).T.copy(),
        "qzeros": qzeros,
        "scales": grid.scale.T.copy(),
        "g_idx": grid.group_of.astype(np.int32),
    }


def awq_parts(grid: Grid) -> dict[str, Array]:
    """qweight, qzeros and scales."""

    def words(rows: Array) -> Array:
        return np.array(
            [[stream([row[at + i] for i in AWQ_ORDER], 4)[0] for at in range(0, len(row), 8)] for row in rows],
            np.int32,
        )

    return {"qweight": words(grid.codes.T), "qzeros": words(grid.zero.T), "scales": grid.scale.T.copy()}


def rewrite(folder: Path, tensors: dict[str, Array], quantization: dict[str, Any]) -> None:
    """Replace the weights of a folder and say in its configuration how they are stored."""
    from safetensors.numpy import save_file

    save_file(tensors, folder / "model.safetensors")
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | {"quantization_config": quantization}))
