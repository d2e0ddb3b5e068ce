"""Which weights of pruned matrices are kept: what LoRA's merge, GPTQ and EoRA must not bring back.

A pattern (n, m) means that of every m consecutive weights of a row n are removed; unstructured pruning is the pattern
(n, k), n removed of a whole row. The mask itself is the matrix's exact zeros: nothing has to be stored beside it.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from edgec.compress.quantized import QuantizedTensor
from edgec.errors import RecipeError
from edgec.frontend.checkpoint import Checkpoint
from edgec.packing import pack, unpack

Mask = NDArray[np.bool_]


def masks(checkpoint: Checkpoint) -> dict[str, Mask | None]:
    """For every matrix of the blocks: True [n, k] where a weight is kept, or None if nothing was pruned."""
    return {name: mask(checkpoint, name) for name in checkpoint.matrix_names()}


def mask(checkpoint: Checkpoint, name: str) -> Mask | None:
    """One matrix's mask; see `masks`."""
    return checkpoint.tensor(name) != 0 if name in checkpoint.patterns else None


def keep_highest(score: NDArray[np.floating], removed: int, of: int) -> Mask:
    """True [n, k] but for the `removed` lowest scores of every `of` consecutive ones of a row.

    Among equal scores the one further left goes first. `of` divides k.
    """
    n, k = score.shape
    groups = score.reshape(n, k // of, of)
    lowest = np.argsort(groups, axis=2, kind="stable")[..., :removed]
    kept = np.ones(groups.shape, np.bool_)
    np.put_along_axis(kept, lowest, False, axis=2)
    return kept.reshape(n, k)


def pruned_codes(name: str, tensor: QuantizedTensor, kept: Mask) -> QuantizedTensor:
    """A packed matrix whose removed weights have the code that means zero; the others keep theirs.

    Raises RecipeError if the matrix's grid has no zero.
    """
    size = min(tensor.group_size, tensor.k)
    codes = unpack(tensor.packed, tensor.k, tensor.bits, tensor.group_size)
    middle = np.full(tensor.scale.shape, 2 ** (tensor.bits - 1), np.uint8)
    zero = np.repeat(middle if tensor.zero is None else tensor.zero, size, axis=1)[:, : tensor.k]
    before = tensor.dequantized()
    made = replace(tensor, packed=pack(np.where(kept, codes, zero), tensor.bits, tensor.group_size))
    # Zero points may lie outside the codes, and grids with a minimum rarely hold zero: the result itself tells.
    if not np.array_equal(made.dequantized(), np.where(kept, before, np.float32(0))):
        raise RecipeError(f"{name} is quantised on a grid without a zero; put the width stage before quantize.")
    return made
