"""What a job of N-EUREKA computes, bit for bit, from its registers and the memory that they point into.

Sums are exact in float64: |u + offset| * |x| of all inputs of a job add up to less than 2^31 (`limits.py`).

Requantisation multiplies the int32 accumulator with an unsigned scale in 64 bits, adds the bias and keeps 32 bits if
there is one, shifts right (rounding down) and clamps. Where a product without bias reaches 2^47 in magnitude, the
hardware's 48-bit datapath may give other bits than this and the public model.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgec.neureka.encode import U8, filters, filters_3x3, job_inputs
from edgec.neureka.engine import gemv_cin, weight_bytes
from edgec.neureka.job import Job
from edgec.neureka.limits import check_job

I32 = NDArray[np.int32]
Read = Callable[[int, int], bytes]  # (address, size)
Write = Callable[[int, bytes], None]  # (address, data)


def execute(registers: Sequence[int], read: Read, write: Write) -> None:
    """Run the job in the registers. JobError if the engine could not."""
    job = Job.from_registers(registers)
    check_job(job)
    _store(job, outputs(job, read), write)


def outputs(job: Job, read: Read) -> NDArray[Any]:
    """What the job computes, [height, width, cout] of its output type."""
    encoded = _u8(read(job.w, weight_bytes(job.mode, job.cin, job.cout, job.bits)))
    u = filters(job.mode, encoded, job.bits, job.cout, job.cin)
    acc = _accumulate(_windows(job, read), u, job.offset).reshape(job.height, job.width, job.cout)
    return acc if job.output == "int32" else _requantise(job, acc, read)


def gemv_3x3(encoded: U8, x: NDArray[Any], bits: int, n: int, k: int, k_per_job: int | None = None) -> I32:
    """W x of each job of a vector x [k], int8 or uint8: [jobs, n] int32. Weights from `encode_3x3`, zero 2^(bits-1)."""
    sums, at = [], 0
    for part in job_inputs(k, k_per_job):
        cin = gemv_cin(len(part))
        size = weight_bytes("3x3", cin, n, bits)
        u = filters_3x3(encoded[at : at + size], bits, n, cin).reshape(n, 1, -1)[..., : len(part)]
        sums.append(_accumulate(x[None, None, part.start : part.stop], u, -(1 << bits - 1))[0])
        at += size
    return np.stack(sums)


def _accumulate(x: NDArray[Any], u: U8, offset: int) -> I32:
    """x [pixels, taps, cin], u [cout, taps, cin] to [pixels, cout]."""
    weights = u.reshape(len(u), -1).astype(np.float64)
    weights += offset
    acc: I32 = (x.reshape(len(x), -1).astype(np.float64) @ weights.T).astype(np.int32)
    return acc


def _windows(job: Job, read: Read) -> NDArray[Any]:
    """The inputs of every output pixel, [pixels, taps, cin]."""
    memory = _u8(read(job.x, job.x_bytes)).view(np.int8 if job.x_signed else np.uint8)
    shape, strides = (job.in_height, job.in_width, job.cin), (job.x_row, job.x_pixel, 1)
    image = np.lib.stride_tricks.as_strided(memory, shape, strides, writeable=False)
    if job.border:
        inside = tuple(slice(job.border, size - job.border) for size in shape[:2])
        framed = np.zeros(shape, image.dtype)
        framed[inside] = image[inside]
        image = framed
    if job.mode == "1x1":
        return image.reshape(-1, 1, job.cin)
    windows = np.lib.stride_tricks.sliding_window_view(image, (3, 3), axis=(0, 1))  # type: ignore[call-overload]
    return np.moveaxis(windows, 2, -1).reshape(job.height * job.width, job.taps, job.cin)


def _requantise(job: Job, acc: I32, read: Read) -> NDArray[Any]:
    kind = np.uint8 if job.scale_bits == 8 else np.uint32
    scale = np.frombuffer(read(job.scale, job.cout * job.scale_bits // 8), kind).astype(np.int64)
    value = acc * scale
    if job.bias:
        bias = np.frombuffer(read(job.bias, job.cout * 4), np.int32)
        value = (value + bias).astype(np.int32).astype(np.int64)
    value >>= job.shift
    if job.output == "uint8":
        return np.clip(value, 0, 255).astype(np.uint8)
    return np.clip(value, -128, 127).astype(np.int8)


def _store(job: Job, y: NDArray[Any], write: Write) -> None:
    """Write rows, or pixels where there is a gap between them."""
    for i in range(job.height):
        if job.width == 1 or job.y_pixel == y[i, 0].nbytes:
            write(job.y + i * job.y_row, y[i].tobytes())
        else:
            for j in range(job.width):
                write(job.y + i * job.y_row + j * job.y_pixel, y[i, j].tobytes())


def _u8(data: bytes) -> U8:
    return np.frombuffer(data, np.uint8)
