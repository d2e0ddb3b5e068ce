"""How 2- to 8-bit weights lie in memory, for the cores' kernels.

A row of a weight matrix is a sequence of groups of `group_size` inputs (the last may be shorter). Every
group is padded to whole blocks; a block is one or more 32-bit little-endian words. A width is a sum of
planes of 8, 4, 2 or 1 bits (7 = 4 + 2 + 1: the low four bits, then the next two, then the top one), and
inside a plane of p bits element j of a run of 32/p elements sits in byte j % 4, at bit p * (j // 4).
So `(word >> p*i) & mask` gives four neighbouring elements in the four bytes of a word: one SIMD operand.

    bits 4: word = e0 | e4<<4, e1 | e5<<4, e2 | e6<<4, e3 | e7<<4      (8 elements, 4 bytes)

Weights are stored unsigned; the value is (u - zero) * scale, with zero = 2^(bits-1) unless given.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

U8 = NDArray[np.uint8]

PLANES: dict[int, tuple[int, ...]] = {8: (8,), 7: (4, 2, 1), 6: (4, 2), 5: (4, 1), 4: (4,), 3: (2, 1), 2: (2,)}


def block_elements(bits: int) -> int:
    """Elements of the smallest run that fills whole words in every plane of this width."""
    return 32 // PLANES[bits][-1]


def group_bytes(elements: int, bits: int) -> int:
    """Bytes that a group of `elements` weights takes, padding included."""
    block = block_elements(bits)
    return -(-elements // block) * block * bits // 8


def n_groups(k: int, group_size: int) -> int:
    """Groups in a row of k inputs."""
    return -(-k // group_size)


def row_bytes(k: int, bits: int, group_size: int) -> int:
    """Bytes of one packed row of k inputs."""
    full, rest = divmod(k, group_size)
    return full * group_bytes(group_size, bits) + (group_bytes(rest, bits) if rest else 0)


def pack(values: U8, bits: int, group_size: int) -> U8:
    """Pack unsigned weights [n, k] (each < 2^bits) to bytes [n, row_bytes]."""
    n, k = values.shape
    parts = [_pack_run(part, bits) for part in _split(values, k, group_size)]
    return np.concatenate([p.reshape(n, -1) for p in parts], axis=1)


def unpack(packed: U8, k: int, bits: int, group_size: int) -> U8:
    """Inverse of `pack`: bytes [n, row_bytes] to unsigned weights [n, k]."""
    n = packed.shape[0]
    full, rest = divmod(k, group_size)
    stride = group_bytes(group_size, bits)
    out = np.empty((n, k), np.uint8)
    if full:
        run = _unpack_run(packed[:, : full * stride].reshape(n, full, stride), bits)
        out[:, : full * group_size].reshape(n, full, group_size)[:] = run[..., :group_size]
    if rest:
        out[:, full * group_size :] = _unpack_run(packed[:, full * stride :].reshape(n, 1, -1), bits)[:, 0, :rest]
    return out


def _split(values: U8, k: int, group_size: int) -> list[U8]:
    """The full groups as [n, groups, group_size] and the short last one as [n, 1, rest]."""
    n = values.shape[0]
    full, rest = divmod(k, group_size)
    parts: list[U8] = []
    if full:
        parts.append(values[:, : full * group_size].reshape(n, full, group_size))
    if rest:
        parts.append(values[:, full * group_size :].reshape(n, 1, rest))
    return parts


def _pack_run(run: U8, bits: int) -> U8:
    """Pack the last axis of [n, groups, elements]."""
    block = block_elements(bits)
    pad = -run.shape[-1] % block
    if pad:
        run = np.concatenate([run, np.zeros((*run.shape[:-1], pad), np.uint8)], axis=-1)
    blocks = run.reshape(*run.shape[:-1], -1, block)
    planes: list[NDArray[Any]] = []
    low = 0
    for p in PLANES[bits]:
        lanes = ((blocks >> low) & (2**p - 1)).reshape(*blocks.shape[:-1], block * p // 32, 32 // p // 4, 4)
        word = np.zeros((*lanes.shape[:-2], 4), np.uint8)
        for i in range(lanes.shape[-2]):
            word |= lanes[..., i, :] << (p * i)
        planes.append(word.reshape(*blocks.shape[:-1], block * p // 8))
        low += p
    return np.concatenate(planes, axis=-1)


def _unpack_run(packed: U8, bits: int) -> U8:
    """Unpack the last axis of [n, groups, bytes]; padding elements stay."""
    if bits == 8:
        return packed
    block = block_elements(bits)
    blocks = packed.reshape(*packed.shape[:-1], -1, block * bits // 8)
    out = np.zeros((*blocks.shape[:-1], block), np.uint8)
    at, low = 0, 0
    for p in PLANES[bits]:
        size = block * p // 8
        word = blocks[..., at : at + size].reshape(*blocks.shape[:-1], block * p // 32, 1, 4)
        lanes = out.reshape(*blocks.shape[:-1], block * p // 32, 32 // p // 4, 4)
        for i in range(32 // p // 4):
            lanes[..., i, :] |= ((word[..., 0, :] >> (p * i)) & (2**p - 1)) << low
        at, low = at + size, low + p
    return out.reshape(*packed.shape[:-1], -1)
