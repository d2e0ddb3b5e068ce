"""Round-to-nearest: every group of weights on a grid of its own.

Two scales are tried for each group and the one with the smaller squared error is kept:

    symmetric   absmax / (2^(bits-1) - 1)           codes -7 ... 7 of int4: the grid that models are usually trained for
    full        -extreme / 2^(bits-1)               the weight of largest magnitude, with its sign, at code -8 (so the
                                                    scale may be negative): one more code, as in GGUF's Q4_0

A scale is rounded to binary16 first, then q = rint(w / scale), clamped to [-2^(bits-1), 2^(bits-1) - 1].
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from edgec.compress.nm import stored
from edgec.compress.quantized import QuantizedModel, QuantizedTensor
from edgec.errors import RecipeError
from edgec.frontend.checkpoint import Checkpoint, FloatArray
from edgec.frontend.model_config import learned_positions
from edgec.frontend.structure import role_of
from edgec.packing import U8, n_groups, pack
from edgec.recipe import Quantize

ROWS_AT_ONCE = 4096  # bounds the temporaries of large embeddings to some tens of MB


def quantize_matrix(w: FloatArray, bits: int, group_size: int) -> tuple[QuantizedTensor, float]:
    """Quantise float32 [n, k]; returns the packed tensor and its NMSE."""
    n, k = w.shape
    size = min(group_size, k)
    parts, scales, error = [], [], 0.0
    for start in range(0, n, ROWS_AT_ONCE):
        rows = w[start : start + ROWS_AT_ONCE]
        u, scale, miss = _quantize_rows(rows, bits, size)
        parts.append(pack(u, bits, size))
        scales.append(scale)
        error += miss
    power = float(np.vdot(w, w))
    tensor = QuantizedTensor(np.concatenate(parts), np.concatenate(scales), None, k, bits, size)
    return tensor, error / power if power else 0.0


def _quantize_rows(w: FloatArray, bits: int, size: int) -> tuple[U8, NDArray[np.float16], float]:
    n, k = w.shape
    groups = n_groups(k, size)
    padded = np.zeros((n, groups * size), np.float32)
    padded[:, :k] = w
    grouped = padded.reshape(n, groups, size)
    low, high = grouped.min(axis=2), grouped.max(axis=2)
    extreme = np.where(high > -low, high, low)
    zero = 2 ** (bits - 1)
    scales = [np.abs(extreme) / np.float32(zero - 1), -extreme / np.float32(zero)]
    codes, scale, miss = _round_to(grouped, scales[0], zero)
    other = _round_to(grouped, scales[1], zero)
    better = other[2] < miss
    codes = np.where(better[..., None], other[0], codes)
    scale = np.where(better, other[1], scale)
    miss = np.where(better, other[2], miss)
    u = (codes + np.float32(zero)).astype(np.uint8).reshape(n, -1)[:, :k]
    return u, scale, float(miss.sum(dtype=np.float64))


def _round_to(
    groups: FloatArray, exact_scale: FloatArray, zero: int
) -> tuple[FloatArray, NDArray[np.float16], FloatArray]:
    """Codes, binary16 scales and squared errors per group [n, groups] of rounding [n, groups, size] to a grid."""
    with np.errstate(over="ignore"):  # an infinite scale is refused below
        scale = exact_scale.astype(np.float16)
    if not np.isfinite(scale).all():
        largest = float(np.abs(groups).max())
        raise RecipeError(f"a weight of magnitude {largest:.3g} is beyond 16-bit scales; the checkpoint is damaged.")
    s = scale.astype(np.float32)
    inv = np.divide(np.float32(1), s, out=np.zeros_like(s), where=s != 0)
    codes = np.clip(np.rint(groups * inv[..., None]), -zero, zero - 1)
    error = groups - codes * s[..., None]
    return codes, scale, np.einsum("ngk,ngk->ng", error, error)


def quantize_model(
    checkpoint: Checkpoint,
    recipe: Quantize,
    progress: Callable[[str, int, int], None] | None = None,
    branch_bits: int = 8,
    sparse: str = "never",
    kv_bits: int = 8,
) -> QuantizedModel:
    """Quantise every stored matrix of a checkpoint, one at a time; norms and biases stay float32.

    Matrices that are packed already are taken over as they are if the recipe keeps them.
    Low-rank branches are rounded to `branch_bits` in the groups of their matrix, so that both share its inputs.
    With sparse = "auto", pruned matrices are stored packed where that is smaller (see compress/nm.py).
    A tied embedding is one matrix with both roles: an override for `head` or `embed` (head first) applies to it.
    """
    config = checkpoint.config
    matrices: dict[str, QuantizedTensor] = {}
    floats: dict[str, FloatArray] = {}
    errors: dict[str, float] = {}
    names = checkpoint.stored_tensors()
    beside_packed = recipe.keep and bool(checkpoint.packed)
    for done, name in enumerate(names):
        if progress:
            progress(name, done, len(names))
        tensor = checkpoint.tensor(name)
        if tensor.ndim == 1 or learned_positions(name):
            floats[name] = tensor
            continue
        roles = [role_of(name)]
        if config.tied_embeddings and roles[0] == "embed":
            roles = ["head", "embed"]
        bits, group_size = recipe.for_roles(roles, beside_packed)
        if recipe.keep and name in checkpoint.packed:  # on a grid already: a second rounding would only lose
            matrices[name] = checkpoint.packed[name]()
            continue
        matrices[name], errors[name] = quantize_matrix(tensor, bits, group_size or tensor.shape[1])
    branches = {}
    for name, branch in checkpoint.branches.items():
        sizes = [(part, matrices[name].group_size) for part in (branch.a, branch.b)]
        a, b = (quantize_matrix(part, branch_bits, size)[0] for part, size in sizes)
        branches[name] = (a, b)
    storage = {}
    if sparse == "auto":
        for name, pattern in checkpoint.patterns.items():
            matrices[name], storage[name] = stored(matrices[name], pattern)
    return QuantizedModel(
        config,
        matrices,
        floats,
        errors,
        dict(checkpoint.provenance),
        branches,
        dict(checkpoint.key_centres),
        kv_bits,
        storage,
        dict(checkpoint.factors),
        dict(checkpoint.shared),
    )
