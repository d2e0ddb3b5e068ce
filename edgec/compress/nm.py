"""Which pruned matrices are stored packed: where kept codes and their places are smaller than dense codes."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from edgec.compress.quantized import QuantizedTensor
from edgec.compress.sizes import packed_bytes
from edgec.packing import U8, unpack
from edgec.packing_nm import PATTERNS, Pattern, bits_per_weight, pack_codes, pack_places

SEARCHED = 16  # a window longer than this is no N:M pattern but unstructured sparsity, noted as removed of a whole row


@dataclass(frozen=True)
class Storage:
    """How a pruned matrix is stored: bits of a weight with its scale as it is and the other way, and why it is dense.

    `packed_bits` of a dense matrix is what it would have taken packed (None: there is no packed form).
    """

    pattern: Pattern
    packed: bool
    bytes: int
    dense_bits: float
    packed_bits: float | None
    reason: str = ""


def stored(tensor: QuantizedTensor, pattern: Pattern) -> tuple[QuantizedTensor, Storage]:
    """The matrix in the smaller form, and what was chosen why.

    A pattern that has no packed form (1:8, 1:16: places cost more than the removed codes save), windows that do not
    divide the groups, codes that do not follow the pattern and grids without a zero stay dense.
    """
    n = tensor.packed.shape[0]
    dense = 8 * packed_bytes(tensor) / (n * tensor.k)
    of = pattern[1]

    def stays(reason: str, bits: float | None = None) -> tuple[QuantizedTensor, Storage]:
        return tensor, Storage(pattern, False, packed_bytes(tensor), dense, bits, reason)

    if of > SEARCHED:
        return stays("unstructured zeros have no packed form")
    if pattern not in PATTERNS:
        bits = least_bits(tensor.bits, tensor.group_size, pattern)
        if bits >= dense:
            return stays("packed it would be no smaller", bits)
        return stays("no kernel has this pattern", bits)
    size = min(tensor.group_size, tensor.k)
    if tensor.k % of or size % of:
        return stays(f"windows of {of} do not divide rows of {tensor.k} in groups of {size}")
    if tensor.minimum is not None:
        return stays("its grid has a minimum, and no zero")
    codes = unpack(tensor.packed, tensor.k, tensor.bits, tensor.group_size)
    keep = _kept(codes, tensor, pattern)
    if keep is None:
        return stays("its zeros do not follow the pattern any more")
    packed = replace(
        tensor,
        packed=pack_codes(codes[keep].reshape(n, -1), tensor.bits, tensor.group_size, pattern),
        places=pack_places(keep, tensor.group_size, pattern),
        pattern=pattern,
    )
    bits = 8 * packed_bytes(packed) / (n * tensor.k)
    if bits >= dense:
        return stays("packed it would be no smaller", bits)
    return packed, Storage(pattern, True, packed_bytes(packed), dense, bits)


def least_bits(bits: int, group_size: int, pattern: Pattern) -> float:
    """Bits of a weight if a pattern were packed: kept codes and indices or a bitmask, and a 16-bit scale a group."""
    if pattern in PATTERNS:
        return bits_per_weight(bits, group_size, pattern)
    removed, of = pattern
    left = of - removed
    return left / of * bits + min(left * (of - 1).bit_length(), of) / of + 16 / group_size


def _kept(codes: U8, tensor: QuantizedTensor, pattern: Pattern) -> NDArray[np.bool_] | None:
    """True where a code is stored: the pattern's number of every window, all that are not zero among them; or None."""
    removed, of = pattern
    size = min(tensor.group_size, tensor.k)
    zero: int | U8 = 2 ** (tensor.bits - 1)
    if tensor.zero is not None:
        zero = np.repeat(tensor.zero, size, axis=1)[:, : tensor.k]
    windows = (codes != zero).reshape(-1, of)
    if (windows.sum(axis=1) > of - removed).any():
        return None
    order = np.argsort(~windows, axis=1, kind="stable")[:, : of - removed]
    keep = np.zeros_like(windows)
    np.put_along_axis(keep, order, True, axis=1)
    return keep.reshape(codes.shape)
