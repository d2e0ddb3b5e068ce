"""The codes of a matrix that is encoded for N-EUREKA, some of whose inputs may be the cores' or folded."""

from __future__ import annotations

import numpy as np

from edgec.neureka.encode import decode_1x1, decode_3x3, decode_folded
from edgec.ops.matmul_w4a8_neureka import mode_of
from edgec.ops.op import Array, Example, ints


def codes_of(name: str, bits: int, example: Example) -> Array:
    """Unsigned codes u8 [n, k] of an op's example, which are of so many bits."""
    k, size = ints(example.attrs, "k", "group_size")
    tail, fold = (example.inputs.get(role) for role in ("w_tail", "w_fold"))
    n, groups = example.inputs["w_scale"].shape
    size = min(k, size)
    cores = 0 if tail is None else tail.shape[1] // groups
    folded = 0 if fold is None else size % 252 - cores
    whole = size - cores - folded
    decode = decode_1x1 if mode_of(name) == "1x1" else decode_3x3
    parts = [decode(example.inputs["w"].reshape(-1), bits, n, groups * whole, whole)]
    if fold is not None:
        parts.append(decode_folded(fold.reshape(-1), bits, n, folded))
    if tail is not None:
        parts.append((tail.astype(np.int16) + 2 ** (bits - 1)).astype(np.uint8))
    return np.concatenate([a.reshape(n, groups, -1) for a in parts], axis=2).reshape(n, k)
