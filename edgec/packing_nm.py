"""How matrices with N of every M weights removed lie in memory: kept codes, and the places that they belong to.

A window is M consecutive inputs of a row; its M - N kept codes are stored in ascending order of input. The kept codes
of a group are cut into units of 8, the last one padded with zeros; a unit of codes and a unit of places take whole
bytes in every width and pattern, so 8 codes and their places are found without shifting over bytes' borders.

A unit of codes is `bits` bytes: planes of 8, 4, 2 or 1 bits as in `edgec/packing.py`, p bytes each, with element j in
byte j % p at bit p * (j // p). A unit of places has one of two forms, whichever is shorter (where both are as long, the
first, which needs no search); both are streams of bits, the first one in the lowest bit of the first byte:

    indices    log2(M) bits a kept code: its input within the window
    bitmask    M bits a window: bit i is set if input i is kept

    removed of   1:2   2:4   3:4   4:8       6:8   8:16      12:16
    form         index index index bitmask   index bitmask   index
    bytes a unit 1     2     2     2         3     2         4
    inputs       16    16    32    16        32    16        32
    b/w at int4  2.5   3.0   1.5   3.0       1.75  3.0       2.0        scales not counted

1:8 and 1:16 would take 4.5 and 4.75 bits: more than dense codes, so they have no packed form.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgec.packing import PLANES, U8, n_groups, row_bytes

Pattern = tuple[int, int]  # (removed, of)
PATTERNS: tuple[Pattern, ...] = ((1, 2), (2, 4), (3, 4), (4, 8), (6, 8), (8, 16), (12, 16))
UNIT = 8  # kept codes that lie together


def kept(elements: int, pattern: Pattern) -> int:
    """Codes that are left of so many inputs, a multiple of the window."""
    removed, of = pattern
    return elements // of * (of - removed)


def index_bits(pattern: Pattern) -> int:
    """Bits that tell an input within a window."""
    return (pattern[1] - 1).bit_length()


def indexed(pattern: Pattern) -> bool:
    """Whether places are stored as indices; else as a bitmask."""
    removed, of = pattern
    return (of - removed) * index_bits(pattern) <= of


def place_bytes(pattern: Pattern) -> int:
    """Bytes of the places of a unit."""
    removed, of = pattern
    window = (of - removed) * index_bits(pattern) if indexed(pattern) else of  # bits
    return window * UNIT // ((of - removed) * 8)


def units(k: int, group_size: int, pattern: Pattern) -> int:
    """Units of a row of k inputs."""
    return sum(-(-kept(size, pattern) // UNIT) for _, size in _groups(k, group_size))


def bits_per_weight(bits: int, group_size: int, pattern: Pattern | None = None) -> float:
    """Bits that one weight of a long row takes with its 16-bit scale, packed by the pattern or dense."""
    if pattern is None:
        return 8 * row_bytes(group_size, bits, group_size) / group_size + 16 / group_size
    return 8 * units(group_size, group_size, pattern) * (bits + place_bytes(pattern)) / group_size + 16 / group_size


def pack_codes(codes: U8, bits: int, group_size: int, pattern: Pattern) -> U8:
    """Kept codes [n, kept of k], each below 2^bits, to bytes [n, units * bits]."""
    parts, at = [], 0
    for _, size in _groups(codes.shape[1] * pattern[1] // (pattern[1] - pattern[0]), group_size):
        count = kept(size, pattern)
        parts.append(_pack_units(codes[:, at : at + count], bits))
        at += count
    return np.concatenate(parts, axis=1)


def _pack_units(codes: U8, bits: int) -> U8:
    n, count = codes.shape
    run = np.pad(codes, ((0, 0), (0, -count % UNIT))).reshape(n, -1, UNIT)
    planes, low = [], 0
    for p in PLANES[bits]:
        lanes = (run >> np.uint8(low) & np.uint8(2**p - 1)).reshape(n, -1, UNIT // p, p)
        shifts = (p * np.arange(UNIT // p, dtype=np.uint8))[:, None]
        planes.append(np.bitwise_or.reduce(lanes << shifts, axis=2))
        low += p
    packed: U8 = np.concatenate(planes, axis=2).reshape(n, -1)
    return packed


def unpack_codes(packed: U8, k: int, bits: int, group_size: int, pattern: Pattern) -> U8:
    """Inverse of `pack_codes`: bytes [n, units * bits] to kept codes [n, kept of k]."""
    n, parts, at = packed.shape[0], [], 0
    for _, size in _groups(k, group_size):
        count = kept(size, pattern)
        used = -(-count // UNIT) * bits
        run = packed[:, at : at + used].reshape(n, -1, bits)
        at += used
        out, low = np.zeros((n, run.shape[1], UNIT), np.uint8), 0
        for p in PLANES[bits]:
            shifts = (p * np.arange(UNIT // p, dtype=np.uint8))[:, None]
            lanes = run[:, :, None, low : low + p] >> shifts & np.uint8(2**p - 1)
            out |= lanes.reshape(n, -1, UNIT).astype(np.uint8) << np.uint8(low)
            low += p
        parts.append(out.reshape(n, -1)[:, :count])
    return np.concatenate(parts, axis=1)


def pack_places(keep: NDArray[np.bool_], group_size: int, pattern: Pattern) -> U8:
    """Places [n, units * place_bytes] of a mask [n, k] that keeps what the pattern says of every window."""
    n, k = keep.shape
    of, count = pattern[1], kept(pattern[1], pattern)
    if (keep.reshape(n, -1, of).sum(axis=2) != count).any():
        raise ValueError(f"a window does not keep {count} of {of}")
    parts = []
    for first, size in _groups(k, group_size):
        windows = keep[:, first : first + size].reshape(n, -1, of)
        if indexed(pattern):
            order = np.argsort(~windows, axis=2, kind="stable")[..., :count].astype(np.uint8)
            bits = order[..., None] >> np.arange(index_bits(pattern), dtype=np.uint8) & 1
        else:
            bits = windows.astype(np.uint8)
        stream = bits.reshape(n, -1)
        pad = -stream.shape[1] % (8 * place_bytes(pattern))
        parts.append(np.packbits(np.pad(stream, ((0, 0), (0, pad))), axis=1, bitorder="little"))
    return np.concatenate(parts, axis=1)


def unpack_places(places: U8, k: int, group_size: int, pattern: Pattern) -> U8:
    """Inverse of `pack_places`: the input of every kept code within its window, [n, windows, kept of a window].

    Any bytes have a meaning, and the kernels' one: a bitmask with a bit too many loses its last, one with too few ends
    in what the kernels' table has there.
    """
    n = places.shape[0]
    of, count, size = pattern[1], kept(pattern[1], pattern), place_bytes(pattern)
    parts, at = [], 0
    for _, inputs in _groups(k, group_size):
        windows = inputs // of
        used = -(-kept(inputs, pattern) // UNIT) * size
        run = places[:, at : at + used]
        at += used
        if indexed(pattern):
            width = index_bits(pattern)
            bits = np.unpackbits(run, axis=1, bitorder="little")[:, : windows * count * width]
            fields = bits.reshape(n, windows, count, width) << np.arange(width, dtype=np.uint8)
            parts.append(fields.sum(axis=3, dtype=np.uint8))
        else:
            parts.append(_places_of(run[:, : windows * of // 8].reshape(n, windows, of // 8), count))
    return np.concatenate(parts, axis=1)


def _places_of(masks: U8, count: int) -> U8:
    """The first `count` set bits of bitmasks of one byte or two, [..., bytes] to [..., count]."""
    places, counts = _mask_table()
    word = places[masks[..., 0]]
    if masks.shape[-1] == 2:
        # The high byte's places, 8 further on, go behind those of the low byte.
        high = (places[masks[..., 1]] | np.uint64(0x88888888)) << counts[masks[..., 0]] * np.uint64(4)
        word = word | high & np.uint64(0xFFFFFFFF)
    nibbles = word[..., None] >> np.uint64(4) * np.arange(count, dtype=np.uint64) & np.uint64(15)
    return nibbles.astype(np.uint8)


def _mask_table() -> tuple[NDArray[np.uint64], NDArray[np.uint64]]:
    """For every byte: the places of its set bits, four bits each from the lowest, and how many they are."""
    places, counts = np.zeros(256, np.uint64), np.zeros(256, np.uint64)
    for mask in range(256):
        bits = [i for i in range(8) if mask >> i & 1]
        places[mask], counts[mask] = sum(i << 4 * j for j, i in enumerate(bits)), len(bits)
    return places, counts


def spread(values: NDArray[Any], places: U8, of: int) -> NDArray[Any]:
    """Kept values [n, windows * kept] at their places among zeros: [n, windows * of]. Values of one place add up."""
    n, windows, count = places.shape
    out = np.zeros((n, windows, of), values.dtype)
    rows, columns = np.arange(n)[:, None], np.arange(windows)[None, :]
    grouped = values.reshape(n, windows, count)
    for i in range(count):
        out[rows, columns, places[..., i]] += grouped[..., i]
    return out.reshape(n, windows * of)


def _groups(k: int, group_size: int) -> list[tuple[int, int]]:
    """(first input, inputs) of every group of a row."""
    size = min(k, group_size)
    return [(i * size, min(size, k - i * size)) for i in range(n_groups(k, size))]
