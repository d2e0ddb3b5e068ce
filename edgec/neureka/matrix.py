"""Matrices as N-EUREKA's constants: which can be, their bytes, their codes there and back.

A row of the constant holds one output channel of one group; all channels of a group lie together. In 3x3 form the last
inputs of a group, those behind whole blocks, may be the cores' (`tail`): their weights are a constant of their own.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgec.neureka.encode import decode_1x1, decode_3x3, encode_1x1, encode_3x3
from edgec.neureka.engine import CIN, gemv_cin, weight_bytes
from edgec.packing import n_groups

Array = NDArray[Any]

BLOCK = 252  # inputs of the engine's one pixel and block
STEP = {"3x3": BLOCK, "1x1": CIN["1x1"]}  # inputs of the engine's block
RULE = {"3x3": "alike", "1x1": f"alike and of a multiple of {STEP['1x1']}"}  # of several groups
WORD = 4  # inputs that the cores multiply at once


def row_bytes(k: int, group_size: int, bits: int, mode: str = "3x3", tail: int = 0) -> int:
    """Bytes of one output channel and group in the encoded constant; the last group is padded to the others' size.

    tail: inputs of a group that are not in it.
    """
    size = min(k, group_size) - tail
    return weight_bytes(mode, gemv_cin(size) if mode == "3x3" else size, 1, bits)


def tail_of(k: int, group_size: int, mode: str = "3x3") -> int:
    """A group's inputs behind whole blocks, which the cores may multiply so that jobs have whole blocks only."""
    size = min(k, group_size)
    return size % BLOCK if mode == "3x3" and size > BLOCK and size % WORD == 0 and k % size == 0 else 0


def suits(k: int, group_size: int, mode: str = "3x3") -> bool:
    """Whether a matrix's groups can be jobs: one of all inputs, or all alike, in 1x1 form of whole blocks."""
    return group_size >= k or (k % group_size == 0 and (mode == "3x3" or group_size % STEP[mode] == 0))


def encode(u: Array, bits: int, group_size: int, mode: str = "3x3") -> Array:
    """Unsigned weights [n, k] as the constant u8[groups * n, row_bytes].

    In 1x1 form they have 8 bits there: codes move up so that the middle one is 128.
    """
    n, k = u.shape
    rows = n_groups(k, group_size) * n, row_bytes(k, group_size, bits, mode)
    if mode == "3x3":
        return encode_3x3(u, bits, group_size).reshape(rows)
    return encode_1x1(u + np.uint8(128 - 2 ** (bits - 1)), 8, group_size).reshape(rows)


def encode_with_tail(u: Array, bits: int, group_size: int, tail: int, mode: str = "3x3") -> tuple[Array, Array | None]:
    """Unsigned weights [n, k]: the constant of all but the last `tail` inputs of each group, and theirs as
    int8 [n, groups * tail]; None if there are none.
    """
    if not tail:
        return encode(u, bits, group_size, mode), None
    (n, k), size = u.shape, min(u.shape[1], group_size)
    by_group = u.reshape(n, k // size, size)
    codes = by_group[..., size - tail :].astype(np.int16) - 2 ** (bits - 1)
    whole = by_group[..., : size - tail].reshape(n, -1)
    return encode(whole, bits, size - tail), codes.astype(np.int8).reshape(n, -1)


def weights(
    w: Array, n: int, k: int, bits: int, group_size: int, mode: str = "3x3", w_tail: Array | None = None
) -> Array:
    """Inverse of `encode_with_tail`: weights u - 2^(bits-1), int16 [n, groups, group_size].

    bits: of codes in the constant, in 1x1 form 8.
    """
    groups, size = n_groups(k, group_size), min(k, group_size)
    whole = size if w_tail is None else size - w_tail.shape[1] // groups
    decode = decode_3x3 if mode == "3x3" else decode_1x1
    codes = decode(w.reshape(-1), bits, n, groups * whole, whole).reshape(n, groups, whole)
    values = codes.astype(np.int16) - np.int16(2 ** (bits - 1))
    return values if w_tail is None else np.concatenate([values, w_tail.reshape(n, groups, -1)], axis=2)


def prepare(w: Array, k: int, bits: int, group_size: int, mode: str = "3x3", w_tail: Array | None = None) -> Array:
    """Weights u - 2^(bits-1) as floats [groups, group_size, n], as `matmul_w4a8.prepare` makes them."""
    groups, size = n_groups(k, group_size), min(k, group_size)
    exact32 = size * 2**bits * 127 <= 2**24
    values = weights(w, w.shape[0] // groups, k, bits, group_size, mode, w_tail)
    return np.ascontiguousarray(values.transpose(1, 2, 0), np.float32 if exact32 else np.float64)
