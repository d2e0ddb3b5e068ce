"""AWQ's layout (version `gemm`, 4 bits), as AutoAWQ and GPTQModel write it.

qweight i32[k, n / 8]        a word holds the codes of eight neighbouring outputs, in the order of ORDER
qzeros  i32[groups, n / 8]   the same of the zero points
scales  f16[groups, n]

w[j, i] = scales[i // group_size, j] * (code[i, j] - zero[i // group_size, j])
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

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

ORDER = (0, 2, 4, 6, 1, 3, 5, 7)  # the output that each four bits of a word belong to, lowest bits first


def awq_matrix(
    quantization: Quantization, shape: tuple[int, int], module: str, parts: Mapping[str, StoredTensor]
) -> PackedMatrix:
    """The matrix of `module`. Raises ModelError if a part is missing or misshapen."""
    n, k = shape
    groups = n_groups(k, quantization.size(k))
    check_part(module, parts, "qweight", ("I32",), (k, -(-n // 8)))
    check_part(module, parts, "qzeros", ("I32",), (groups, -(-n // 8)))
    check_part(module, parts, "scales", FLOATS, (groups, n))
    return PackedMatrix(shape, parts, partial(_read, quantization, shape, parts))


def _read(quantization: Quantization, shape: tuple[int, int], parts: Mapping[str, StoredTensor]) -> QuantizedTensor:
    n, k = shape
    codes, zero = (_in_order(parts[part].raw(), n) for part in ("qweight", "qzeros"))
    scale = exact_scales(parts["scales"])
    return quantized_tensor(codes.T, zero.T, scale.T, quantization.bits, quantization.size(k))


def _in_order(words: NDArray[Any], n: int) -> U8:
    """Codes [rows, n] of words [rows, n / 8]."""
    rows, count = words.shape
    stored = unpack_words(words, 4, 8 * count).reshape(rows, count, 8)
    return stored[..., np.argsort(ORDER)].reshape(rows, 8 * count)[:, :n]
