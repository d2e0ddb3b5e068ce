"""GPTQ's layout, as AutoGPTQ and GPTQModel write it (formats `gptq` and `gptq_v2`), 2, 3, 4 and 8 bits.

qweight i32[k * bits / 32, n]        a column is a stream of k codes of `bits`, lowest bits first
qzeros  i32[groups, n * bits / 32]   a row is such a stream of n zero points; `gptq` stores them minus one
scales  f16[groups, n]
g_idx   i32[k]                       group of each input; absent: input // group_size

w[j, i] = scales[g_idx[i], j] * (code[i, j] - zero[g_idx[i], j])
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from edgec.errors import ModelError
from edgec.frontend.quantized_folder import (
    FLOATS,
    PackedMatrix,
    Quantization,
    check_part,
    exact_scales,
    quantized_tensor,
    unpack_words,
)
from edgec.frontend.safetensors_file import StoredTensor
from edgec.packing import U8, n_groups

if TYPE_CHECKING:
    from edgec.compress.quantized import QuantizedTensor


def gptq_matrix(
    quantization: Quantization, shape: tuple[int, int], module: str, parts: Mapping[str, StoredTensor]
) -> PackedMatrix:
    """The matrix of `module`. Raises ModelError if a part is missing or misshapen, or if its groups are scattered."""
    n, k = shape
    bits, size = quantization.bits, quantization.size(k)
    groups = n_groups(k, size)
    check_part(module, parts, "qweight", ("I32",), (-(-k * bits // 32), n))
    check_part(module, parts, "qzeros", ("I32",), (groups, -(-n * bits // 32)))
    check_part(module, parts, "scales", FLOATS, (groups, n))
    order: NDArray[Any] = np.arange(groups)
    if "g_idx" in parts:
        check_part(module, parts, "g_idx", ("I32", "I64"), (k,))
        order = _group_order(module, parts["g_idx"].raw(), size, groups)
    return PackedMatrix(shape, parts, partial(_read, quantization, shape, parts, order))


def _group_order(module: str, g_idx: NDArray[Any], size: int, groups: int) -> NDArray[Any]:
    """The stored group of each run of `size` inputs. Raises ModelError if a run holds several."""
    if g_idx.min() < 0 or g_idx.max() >= groups:
        raise ModelError(f"{module}.g_idx names group {g_idx.max()} or {g_idx.min()} of {groups}; it is damaged.")
    order: NDArray[Any] = g_idx[::size]
    if not np.array_equal(g_idx, np.repeat(order, size)[: len(g_idx)]):
        raise ModelError(
            f"the groups of {module} are scattered over its inputs (GPTQ with desc_act), and edgec needs consecutive "
            "ones: quantise again with static_groups=True, with act_group_aware=True or with desc_act=False."
        )
    if len(set(order.tolist())) != groups:
        raise ModelError(f"{module}.g_idx leaves some of the {groups} groups without inputs; it is damaged.")
    return order


def _read(
    quantization: Quantization, shape: tuple[int, int], parts: Mapping[str, StoredTensor], order: NDArray[Any]
) -> QuantizedTensor:
    n, k = shape
    bits = quantization.bits
    codes = unpack_words(parts["qweight"].raw().T, bits, k)
    zero = _zeros(parts["qzeros"].raw(), bits, n, quantization.minus_one)[order]
    scale = exact_scales(parts["scales"])[order]
    return quantized_tensor(codes, zero.T, scale.T, bits, quantization.size(k))


def _zeros(words: NDArray[Any], bits: int, n: int, minus_one: bool) -> U8:
    """Zero points [groups, n]."""
    if minus_one and 32 % bits == 0:
        # The tools add and subtract whole words, with carries between neighbours: a zero point 0 borrows from the
        # next one, and only the same addition gives both back.
        words = (words.view(np.uint32) + np.uint32(sum(1 << at for at in range(0, 32, bits)))).view(np.int32)
    zero = unpack_words(words, bits, n)
    if minus_one and 32 % bits:
        zero = (zero + np.uint8(1)) & np.uint8(2**bits - 1)
    return zero
