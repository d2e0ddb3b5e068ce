"""Weights as N-EUREKA reads them: lines of 32 bytes, bit by bit, in the order in which the engine asks for them.

A matrix W [n, k] of unsigned weights below 2^bits is cut into jobs of k_per_job inputs (all of them, or in 3x3 form a
multiple of 252 or what divides them, in 1x1 form a multiple of 32). The weights of a job lie together, then those of
the next one; inside a job, those of output channel 0, 1, ...: a range of channels is one piece.

    3x3   a job's k inputs are a 3x3 image of c = ceil(k / 9) channels: input i is position i // c, channel i % c. For
          each block of 28 channels there are `bits` lines; bit 28 * position + channel of line b is the weight's bit b.
          Bytes [job][n][ceil(c / 28)][bits][32]: 4.06 bits a weight at 4 bits, where c is a multiple of 28.
    1x1   for each block of 32 inputs there is one line; bit 32 * (c // 4) + 4 * b + c % 4 is bit b of weight c. Bits
          above the width are not read. Bytes [job][n][ceil(k / 32)][32]: one byte a weight at any width.

A matrix of few inputs may be folded, as one job: nine output channels share the lines of one, a filter position each.
Bytes [ceil(n / 9)][ceil(k / 28)][bits][32].

Channels behind the last are switched off by the engine. Where 9 does not divide k, the image has up to 8 inputs too
many: their weights are `zero`, whose value u + offset is 0, so what lies behind the inputs does not matter.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from edgec.neureka.engine import BITS, CIN, LINE, TAPS, blocks, fold_rows, gemv_cin, weight_bytes
from edgec.neureka.job import JobError

U8 = NDArray[np.uint8]


def job_inputs(k: int, k_per_job: int | None = None, mode: str = "3x3") -> list[range]:
    """The inputs of each job of a matrix with k of them. JobError where k_per_job cuts a block."""
    step = TAPS[mode] * CIN[mode]
    size = k if k_per_job is None or k_per_job >= k else k_per_job
    equal = mode == "3x3" and size > 0 and k % size == 0
    if size < 1 or (size < k and size % step and not equal):
        raise JobError(f"a job of N-EUREKA in {mode} form takes a multiple of {step} inputs, or all {k}; not {size}")
    return [range(i, min(i + size, k)) for i in range(0, k, size)]


def matrix_bytes(n: int, k: int, bits: int, k_per_job: int | None = None, mode: str = "3x3") -> int:
    """Bytes of an encoded matrix [n, k]."""
    return sum(_job_bytes(n, len(part), bits, mode) for part in job_inputs(k, k_per_job, mode))


def job_offset(job: int, n: int, k: int, bits: int, k_per_job: int | None = None, mode: str = "3x3") -> int:
    """Where the weights of a job begin in an encoded matrix."""
    return sum(_job_bytes(n, len(part), bits, mode) for part in job_inputs(k, k_per_job, mode)[:job])


def _job_bytes(n: int, k: int, bits: int, mode: str) -> int:
    return weight_bytes(mode, gemv_cin(k) if mode == "3x3" else k, n, bits)


def encode_3x3(u: U8, bits: int, k_per_job: int | None = None, zero: int | None = None) -> U8:
    """Weights [n, k] to bytes in 3x3 form. zero: the weight whose value is 0, minus the offset; 2^(bits-1) if None."""
    _check(u, bits)
    fill = 1 << bits - 1 if zero is None else zero
    return np.concatenate([_lines_3x3(u[:, p.start : p.stop], bits, fill) for p in job_inputs(u.shape[1], k_per_job)])


def _lines_3x3(u: U8, bits: int, fill: int) -> U8:
    (n, k), block, taps = u.shape, CIN["3x3"], TAPS["3x3"]
    cin = gemv_cin(k)
    image = np.pad(u, ((0, 0), (0, taps * cin - k)), constant_values=fill).reshape(n, taps, cin)
    whole = np.pad(image, ((0, 0), (0, 0), (0, -cin % block)))
    by_block = whole.reshape(n, taps, -1, block).transpose(0, 2, 1, 3).reshape(n, -1, 1, taps * block)
    planes = by_block >> np.arange(bits, dtype=np.uint8)[:, None] & np.uint8(1)
    return np.packbits(planes, axis=-1, bitorder="little").reshape(-1)  # 252 bits: 32 bytes


def decode_3x3(encoded: U8, bits: int, n: int, k: int, k_per_job: int | None = None) -> U8:
    """Inverse of `encode_3x3`: the weights [n, k]."""
    parts, at = [], 0
    for part in job_inputs(k, k_per_job):
        size, cin = _job_bytes(n, len(part), bits, "3x3"), gemv_cin(len(part))
        image = filters_3x3(encoded[at : at + size], bits, n, cin)
        parts.append(image.reshape(n, -1)[:, : len(part)])
        at += size
    return np.concatenate(parts, axis=1)


def filters_3x3(encoded: U8, bits: int, n: int, cin: int) -> U8:
    """The filters [n, 9, cin] of a 3x3 job."""
    block, taps = CIN["3x3"], TAPS["3x3"]
    planes = np.unpackbits(encoded, bitorder="little").reshape(n, blocks("3x3", cin), bits, 8 * LINE)
    u = planes[:, :, 0, : taps * block].copy()
    for b in range(1, bits):
        u |= planes[:, :, b, : taps * block] << np.uint8(b)
    return u.reshape(n, -1, taps, block).transpose(0, 2, 1, 3).reshape(n, taps, -1)[..., :cin]


def encode_folded(u: U8, bits: int) -> U8:
    """Weights [n, k] to bytes for `fold_job`: channel p * rows + v is position 8 - p of filter v, of `rows` filters.

    Channels behind the last have weights of 0.
    """
    _check(u, bits)
    (n, k), rows, taps = u.shape, fold_rows(u.shape[0]), TAPS["3x3"]
    pixels = np.pad(u, ((0, taps * rows - n), (0, 0))).reshape(taps, rows, k)
    return _lines_3x3(pixels[::-1].swapaxes(0, 1).reshape(rows, taps * k), bits, 0)


def decode_folded(encoded: U8, bits: int, n: int, k: int) -> U8:
    """Inverse of `encode_folded`: the weights [n, k]."""
    pixels = filters_3x3(encoded, bits, fold_rows(n), k).swapaxes(0, 1)[::-1]
    return pixels.reshape(-1, k)[:n]


def encode_1x1(u: U8, bits: int, k_per_job: int | None = None) -> U8:
    """Weights [n, k] to bytes in 1x1 form."""
    _check(u, bits)
    parts = job_inputs(u.shape[1], k_per_job, "1x1")
    return np.concatenate([_lines_1x1(u[:, p.start : p.stop]) for p in parts])


def _lines_1x1(u: U8) -> U8:
    n, block = u.shape[0], CIN["1x1"]
    padded = np.pad(u, ((0, 0), (0, -u.shape[1] % block)))
    bits = np.unpackbits(padded.reshape(n, -1, 4, 1), axis=-1, bitorder="little")  # [n, fours, channel of 4, bit]
    return np.packbits(bits.swapaxes(2, 3), axis=None, bitorder="little")


def decode_1x1(encoded: U8, bits: int, n: int, k: int, k_per_job: int | None = None) -> U8:
    """Inverse of `encode_1x1`: the weights [n, k]."""
    parts, at = [], 0
    for part in job_inputs(k, k_per_job, "1x1"):
        size = _job_bytes(n, len(part), bits, "1x1")
        parts.append(filters_1x1(encoded[at : at + size], bits, n, len(part))[:, 0])
        at += size
    return np.concatenate(parts, axis=1)


def filters_1x1(encoded: U8, bits: int, n: int, cin: int) -> U8:
    """The filters [n, 1, cin] of a 1x1 job; bits above the width are not read."""
    planes = np.unpackbits(encoded, bitorder="little").reshape(n, -1, 8, 4)
    u = np.packbits(planes[:, :, :bits].swapaxes(2, 3), axis=-1, bitorder="little")
    return u.reshape(n, 1, -1)[..., :cin]


def filters(mode: str, encoded: U8, bits: int, n: int, cin: int) -> U8:
    """The filters [n, 9 or 1, cin] of a job."""
    return (filters_3x3 if mode == "3x3" else filters_1x1)(encoded, bits, n, cin)


def _check(u: U8, bits: int) -> None:
    if bits not in BITS:
        raise JobError(f"N-EUREKA's weights have {BITS.start} to {BITS.stop - 1} bits, not {bits}")
    if u.size and int(u.max()) >= 1 << bits:
        raise JobError(f"a weight of {bits} bits is below {1 << bits}, not {int(u.max())}")
