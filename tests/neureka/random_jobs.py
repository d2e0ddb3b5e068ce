"""Random jobs with their operands in a memory of bytes, and a convolution written as plainly as its definition."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgec.neureka.encode import encode_1x1
from edgec.neureka.engine import BITS, CIN, L1, LINE, NEURAL, TAPS
from edgec.neureka.job import MODES, Job

Bytes = NDArray[np.uint8]


class Memory:
    """L1 and the neural memory: bytes of 0xA5 until written."""

    def __init__(self) -> None:
        self.pieces = {start: np.full(len(r), 0xA5, np.uint8) for r in (L1, NEURAL) for start in (r.start,)}
        self.writes: list[range] = []

    def _at(self, address: int, size: int) -> Bytes:
        start = NEURAL.start if address in NEURAL else L1.start
        piece = self.pieces[start][address - start : address - start + size]
        assert len(piece) == size, f"{size} B at 0x{address:08x}"
        return piece

    def read(self, address: int, size: int) -> bytes:
        return self._at(address, size).tobytes()

    def write(self, address: int, data: bytes) -> None:
        self.writes.append(range(address, address + len(data)))
        self._at(address, len(data))[:] = np.frombuffer(data, np.uint8)

    def put(self, address: int, array: NDArray[Any]) -> None:
        self._at(address, array.nbytes)[:] = np.ascontiguousarray(array).reshape(-1).view(np.uint8)


@dataclass
class Case:
    """A job, its memory, and its operands as arrays: x [height + 2, width + 2, cin] as the engine sees it, zeros
    in its border; u [cout, 3, 3, cin].
    """

    job: Job
    memory: Memory
    x: NDArray[Any]
    u: Bytes
    scale: NDArray[Any] | None
    bias: NDArray[np.int32] | None


def encode_filters(u: Bytes, bits: int) -> Bytes:
    """Filters [cout, rows, columns, cin] of any job to lines, bit by bit."""
    cout, rows, _, cin = u.shape
    if rows == 1:
        return encode_1x1(u.reshape(cout, cin), bits)
    n_blocks = -(-cin // 28)
    out = np.zeros((cout, n_blocks, bits, 8 * LINE), np.uint8)
    for position in range(9):
        for c in range(cin):
            for b in range(bits):
                weight = u[:, position // 3, position % 3, c]
                out[:, c // 28, b, 28 * position + c % 28] = weight >> b & 1
    return np.packbits(out, bitorder="little")


def random_case(rng: np.random.Generator, **fixed: Any) -> Case:
    """A job of random shape, width and output, with operands over their whole ranges."""
    mode = fixed.get("mode", str(rng.choice(list(MODES))))
    bits = int(rng.choice(BITS))
    cin = int(rng.integers(1, 3 * CIN[mode]))
    cout = int(rng.integers(1, 80))
    height, width = (1, 1) if rng.random() < 0.3 else map(int, rng.integers(1, 9, 2))
    output = fixed.get("output", str(rng.choice(["int32", "int8", "uint8"])))
    size = 4 if output == "int32" else 1
    gap = int(rng.integers(0, 3))
    in_width = width + (2 if mode == "3x3" else 0)
    job = Job(
        mode=mode,
        bits=bits,
        offset=-(1 << bits - 1) if rng.random() < 0.7 else -int(rng.integers(0, 1 << bits)),
        x=L1.start + int(rng.integers(0, 32)),
        w=NEURAL.start + LINE * int(rng.integers(0, 100_000)) if rng.random() < 0.8 else L1.start + 0x10000,
        y=L1.start + 0x34000,
        cin=cin,
        cout=cout,
        height=height,
        width=width,
        x_pixel=cin + gap,
        x_row=in_width * (cin + gap) + gap,
        y_pixel=cout * size + 4 * gap,
        y_row=width * (cout * size + 4 * gap) + 8 * gap,
        x_signed=bool(rng.random() < 0.7),
        output=output,
        prefetch=bool(rng.random() < 0.5),
    )
    if output != "int32":
        job = replace(
            job,
            scale_bits=int(rng.choice([8, 32])),
            scale=L1.start + 0x3F000,
            bias=L1.start + 0x3F800 if rng.random() < 0.6 else 0,
            shift=int(rng.integers(0, 24)),
        )
    if mode == "3x3" and max(height, width) <= 6 and rng.random() < 0.4:
        job = replace(job, border=int(rng.integers(1, (min(job.in_height, job.in_width) - 1) // 2 + 1)))
    return fill(job, rng)


def fill(job: Job, rng: np.random.Generator) -> Case:
    """Random operands for a job."""
    memory = Memory()
    kind = np.int8 if job.x_signed else np.uint8
    low, high = np.iinfo(kind).min, np.iinfo(kind).max
    x = rng.integers(low, high, (job.in_height, job.in_width, job.cin), dtype=kind, endpoint=True)
    side = 3 if job.mode == "3x3" else 1
    u = rng.integers(0, 1 << job.bits, (job.cout, side, side, job.cin)).astype(np.uint8)
    assert TAPS[job.mode] == side * side
    for i in range(job.in_height):
        for j in range(job.in_width):
            memory.put(job.x + i * job.x_row + j * job.x_pixel, x[i, j])
    if job.border:
        frame = np.ones(x.shape[:2], bool)
        frame[job.border : -job.border, job.border : -job.border] = False
        x[frame] = 0  # what the memory has there does not matter
    memory.put(job.w, encode_filters(u, job.bits))
    scale = bias = None
    if job.output != "int32":
        top = 256 if job.scale_bits == 8 else 1 << int(rng.integers(1, 33))
        scale = rng.integers(0, top, job.cout).astype(f"u{job.scale_bits // 8}")
        memory.put(job.scale, scale)
        if job.bias:
            bias = rng.integers(-(1 << 31), 1 << 31, job.cout).astype(np.int32) >> int(rng.integers(0, 16))
            memory.put(job.bias, bias)
    return Case(job, memory, x, u, scale, bias)


def expected(case: Case) -> NDArray[Any]:
    """The definition, in integers: [height, width, cout]."""
    job, side = case.job, case.u.shape[1]
    weights = case.u.astype(np.int64) + job.offset
    acc = np.zeros((job.height, job.width, job.cout), np.int64)
    for r in range(side):
        for s in range(side):
            window = case.x[r : r + job.height, s : s + job.width].astype(np.int64)
            acc += np.einsum("ijc,nc->ijn", window, weights[:, r, s])
    if case.scale is None:
        return acc.astype(np.int32)
    out = np.zeros(acc.shape, np.int64)
    for index, value in np.ndenumerate(acc):
        v = int(value) * int(case.scale[index[-1]])
        if case.bias is not None:
            v = (v + int(case.bias[index[-1]]) + (1 << 31)) % (1 << 32) - (1 << 31)
        low, high = (0, 255) if job.output == "uint8" else (-128, 127)
        out[index] = min(max(v >> job.shift, low), high)
    return out.astype(job.output)


def stored(case: Case) -> NDArray[Any]:
    """The outputs that are in memory now."""
    job = case.job
    size = job.cout * (4 if job.output == "int32" else 1)
    pixels = [
        case.memory.read(job.y + i * job.y_row + j * job.y_pixel, size)
        for i in range(job.height)
        for j in range(job.width)
    ]
    return np.frombuffer(b"".join(pixels), job.output).reshape(job.height, job.width, job.cout)
