"""Matrices as N-EUREKA's constants: which can be, their bytes, their codes there and back.

A row of the constant holds one output channel of one group; all channels of a group lie together. In 3x3 form the last
inputs of a group, those behind whole blocks, may be apart (`Split`), with constants of their own: `tail` inputs are the
cores', and before them, of a single group, `fold` inputs the engine's in a job where nine channels share a filter.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from edgec.neureka.encode import decode_1x1, decode_3x3, decode_folded, encode_1x1, encode_3x3, encode_folded
from edgec.neureka.engine import CIN, fold_rows, gemv_cin, weight_bytes
from edgec.packing import n_groups

Array = NDArray[Any]

BLOCK = 252  # inputs of the engine's one pixel and block
STEP = {"3x3": BLOCK, "1x1": CIN["1x1"]}  # inputs of the engine's block
RULE = {"3x3": "alike", "1x1": f"alike and of a multiple of {STEP['1x1']}"}  # of several groups
WORD = 4  # inputs that the cores multiply at once
FEW = 2 * WORD  # that they multiply as they scale a channel: more have a loop of their own


class Split(NamedTuple):
    """Inputs of a group behind the engine's whole blocks: first folded ones, then the cores'."""

    tail: int = 0
    fold: int = 0

    @property
    def apart(self) -> int:
        """Inputs that the constant lacks."""
        return self.tail + self.fold


WHOLE = Split()


def row_bytes(k: int, group_size: int, bits: int, mode: str = "3x3", apart: int = 0) -> int:
    """Bytes of one output channel and group in the encoded constant; the last group is padded to the others' size.

    apart: inputs of a group that are not in it.
    """
    size = min(k, group_size) - apart
    return weight_bytes(mode, gemv_cin(size) if mode == "3x3" else size, 1, bits)


def fold_shape(n: int, bits: int, fold: int) -> tuple[int, int]:
    """Of the constant of so many folded inputs of n channels: filters, and bytes of each."""
    return fold_rows(n), weight_bytes("3x3", fold, 1, bits)


def splits(k: int, group_size: int, mode: str = "3x3") -> list[Split]:
    """How a group's inputs behind whole blocks can be apart: as the cores', all folded, or folded as far as they fill
    blocks of the engine's channels, and the cores' if that leaves few (`FEW`).
    """
    size = min(k, group_size)
    behind = size % BLOCK if mode == "3x3" and size > BLOCK and k % size == 0 else 0
    if not behind:
        return []
    few, words = behind % CIN["3x3"], size % WORD == 0
    found = [Split(behind)] if words else []
    if k == size:
        found += [Split(0, behind)]
        found += [Split(few, behind - few)] if words and 0 < few <= FEW and few < behind else []
    return found


def check_split(split: Split, k: int, group_size: int, mode: str = "3x3") -> None:
    """ValueError unless inputs can be apart so."""
    if split.apart and split not in splits(k, group_size, mode):
        known = ", ".join(f"{s.fold} and {s.tail}" for s in splits(k, group_size, mode)) or "none"
        given = f"{split.fold} folded inputs and {split.tail} of the cores"
        raise ValueError(f"{given}, of {k} in groups of {group_size}: it can be {known}")


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


def encode_apart(u: Array, bits: int, group_size: int, split: Split, mode: str = "3x3") -> dict[str, Array]:
    """Unsigned weights [n, k] as constants by role: w, and where there are such inputs w_tail, int8 [n, groups * tail],
    and w_fold (`fold_shape`).
    """
    if not split.apart:
        return {"w": encode(u, bits, group_size, mode)}
    (n, k), size = u.shape, min(u.shape[1], group_size)
    by_group, inside = u.reshape(n, k // size, size), size - split.apart
    found = {"w": encode(by_group[..., :inside].reshape(n, -1), bits, inside)}
    if split.tail:
        codes = by_group[..., size - split.tail :].astype(np.int16) - 2 ** (bits - 1)
        found["w_tail"] = codes.astype(np.int8).reshape(n, -1)
    if split.fold:
        folded = encode_folded(u[:, inside : inside + split.fold], bits)
        found["w_fold"] = folded.reshape(fold_shape(n, bits, split.fold))
    return found


def weights(
    w: Array,
    n: int,
    k: int,
    bits: int,
    group_size: int,
    mode: str = "3x3",
    w_tail: Array | None = None,
    w_fold: Array | None = None,
) -> Array:
    """Inverse of `encode_apart`: weights u - 2^(bits-1), int16 [n, groups, group_size].

    bits: of codes in the constant, in 1x1 form 8.
    """
    groups, size = n_groups(k, group_size), min(k, group_size)
    split = split_of(k, group_size, w_tail, w_fold, mode)
    inside, middle = size - split.apart, np.int16(2 ** (bits - 1))
    decode = decode_3x3 if mode == "3x3" else decode_1x1
    codes = decode(w.reshape(-1), bits, n, groups * inside, inside).reshape(n, groups, inside)
    parts = [codes.astype(np.int16) - middle]
    if w_fold is not None:
        folded = decode_folded(w_fold.reshape(-1), bits, n, split.fold)
        parts.append((folded.astype(np.int16) - middle)[:, None])
    if w_tail is not None:
        parts.append(w_tail.reshape(n, groups, -1))
    return np.concatenate(parts, axis=2)


def split_of(k: int, group_size: int, w_tail: Any, w_fold: Any, mode: str = "3x3") -> Split:
    """The inputs apart of a matrix that has those constants, arrays or types, or None: there is one way at most.

    ValueError if there is none.
    """
    found = w_tail is not None, w_fold is not None
    for split in (WHOLE, *splits(k, group_size, mode)):
        if (split.tail > 0, split.fold > 0) == found:
            return split
    roles = " and ".join(role for role, there in zip(("w_tail", "w_fold"), found, strict=True) if there)
    raise ValueError(f"no inputs for {roles}, of {k} in groups of {group_size} in {mode} form")


def prepare(
    w: Array,
    k: int,
    bits: int,
    group_size: int,
    mode: str = "3x3",
    w_tail: Array | None = None,
    w_fold: Array | None = None,
) -> Array:
    """Weights u - 2^(bits-1) as floats [groups, group_size, n], as `matmul_w4a8.prepare` makes them."""
    groups, size = n_groups(k, group_size), min(k, group_size)
    exact32 = size * 2**bits * 127 <= 2**24
    values = weights(w, w.shape[0] // groups, k, bits, group_size, mode, w_tail, w_fold)
    return np.ascontiguousarray(values.transpose(1, 2, 0), np.float32 if exact32 else np.float64)
