"""Which weights of pruned matrices are kept: what LoRA's merge, GPTQ and EoRA must not bring back.

A pattern (n, m) means that of every m consecutive weights of a row n are removed; unstructured pruning is the pattern
(n, k), n removed of a whole row (on average over rows, where compress/obs.py chose them). The mask itself is the
matrix's exact zeros: nothing has to be stored beside it.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from edgec.compress.quantized import QuantizedTensor
from edgec.errors import RecipeError
from edgec.frontend.checkpoint import Checkpoint
from edgec.frontend.structure import Structure, role_of
from edgec.packing import pack, unpack

Mask = NDArray[np.bool_]
Pattern = tuple[int, int]  # (removed, of)


def parse_pattern(method: str, pattern: str) -> Pattern:
    """(removed, of) of "N:M"."""
    match = re.fullmatch(r"(\d{1,5}):(\d{1,5})", pattern)
    if match is None or not 0 < int(match[1]) < int(match[2]):
        raise RecipeError(
            f'{method}.pattern {pattern!r} is not "N:M" with 0 < N < M, such as "2:4": remove 2 of every 4 weights.'
        )
    return int(match[1]), int(match[2])


def check_options(method: str, pattern: str, sparsity: float) -> None:
    """Raises RecipeError unless exactly one of both says what is removed."""
    if bool(pattern) == bool(sparsity):
        raise RecipeError(f'{method} takes either a pattern such as "2:4" (remove 2 of 4) or a sparsity such as 0.5.')
    if pattern:
        parse_pattern(method, pattern)
    elif not 0 < sparsity < 1:
        raise RecipeError(f"{method}.sparsity is {sparsity}; it is a share between 0 and 1.")


def pattern_of(method: str, pattern: str, sparsity: float, name: str, k: int) -> Pattern:
    """(removed, of) for a matrix of k inputs. Raises RecipeError if the options are impossible for it."""
    removed, of = parse_pattern(method, pattern) if pattern else (round(sparsity * k), k)
    if k % of:
        raise RecipeError(
            f"{method}.pattern {pattern} does not divide the rows of {name}: {k} inputs are not a "
            f"multiple of {of}. Choose another pattern, leave its role out, or use sparsity."
        )
    if not 0 < removed < of:
        raise RecipeError(
            f"{method}.sparsity {sparsity} removes {removed} of the {k} inputs of {name}; it must remove "
            "some and leave some."
        )
    return removed, of


def patterns_of(
    method: str, pattern: str, sparsity: float, roles: Collection[str], structure: Structure
) -> dict[str, Pattern]:
    """(removed, of) for every stored matrix of these roles. Raises RecipeError if one cannot have them."""
    shapes = structure.shapes()
    names = [name for name in structure.stored_matrices() if role_of(name) in roles]
    return {name: pattern_of(method, pattern, sparsity, name, shapes[name][1]) for name in names}


def merged_patterns(old: Mapping[str, Pattern], new: Mapping[str, Pattern]) -> dict[str, Pattern]:
    """Patterns after a further pruning: the zeros of the earlier one are still there, so the stricter of two stays."""
    return dict(old) | {
        name: p for name, p in new.items() if name not in old or old[name][0] * p[1] < p[0] * old[name][1]
    }


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
