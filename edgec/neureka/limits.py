"""Which jobs N-EUREKA can run. `check_job` names the first limit that a job breaks, with both numbers."""

from __future__ import annotations

from edgec.neureka.engine import BITS, CIN, COUT, L1, LINE, NEURAL, PIXELS, ceil_div, weight_bytes
from edgec.neureka.job import MODES, OUTPUTS, Job, JobError

TILES = 1 << 16  # a count of tiles is a 16-bit field
MAX_SHIFT = 31
SCALE_BITS = (8, 32)


def check_job(job: Job) -> None:
    """Raise JobError unless the engine computes what `Job` says."""
    _check_kind(job)
    _check_sizes(job)
    _check_accumulators(job)
    _check_memory(job)
    if job.output != "int32":
        _check_scales(job)


def _require(condition: bool, limit: str) -> None:
    if not condition:
        raise JobError(f"N-EUREKA: {limit}")


def _check_kind(job: Job) -> None:
    _require(job.mode in MODES, f"mode is 3x3 or 1x1, not {job.mode}")
    _require(job.output in OUTPUTS, f"output is int32, int8 or uint8, not {job.output}")
    _require(job.bits in BITS, f"weights have {BITS.start} to {BITS.stop - 1} bits, not {job.bits}")
    _require(
        -(1 << job.bits) < job.offset <= 0,
        f"the offset of {job.bits}-bit weights is {1 - (1 << job.bits)} to 0, not {job.offset}",
    )
    if job.output == "int32":
        empty = (job.scale_bits, job.scale, job.bias, job.shift) == (0, 0, 0, 0)
        _require(empty, "an int32 output has no scale, bias or shift")


def _check_sizes(job: Job) -> None:
    for name in ("cin", "cout", "height", "width"):
        _require(getattr(job, name) > 0, f"{name} is at least 1, not {getattr(job, name)}")
    tiles = {"cin": CIN[job.mode], "cout": COUT, "height": PIXELS, "width": PIXELS}
    for name, tile in tiles.items():
        _require(
            ceil_div(getattr(job, name), tile) < TILES,
            f"{name} is at most {tile * (TILES - 1):,} ({TILES - 1:,} tiles of {tile}), not {getattr(job, name):,}",
        )
    for name in ("x_pixel", "x_row", "y_pixel", "y_row"):
        stride = getattr(job, name)
        _require(0 <= stride < 1 << 31, f"{name} is a stride of 0 to 2^31 - 1 bytes, not {stride:,}")
    inside = min(job.in_height, job.in_width) - 2 * job.border
    one_pass = job.mode == "3x3" and max(job.height, job.width) <= PIXELS
    _require(
        job.border == 0 or (one_pass and inside > 0),
        f"a border of {job.border} is around inputs, of a 3x3 job of {PIXELS} x {PIXELS} pixels at most",
    )
    pixel = job.cout * OUTPUTS[job.output]
    row = (job.width - 1) * job.y_pixel + pixel
    _require(
        job.width == 1 or job.y_pixel >= pixel, f"y_pixel is at least the pixel's {pixel:,} B, not {job.y_pixel:,}"
    )
    _require(job.height == 1 or job.y_row >= row, f"y_row is at least the row's {row:,} B, not {job.y_row:,}")


def _check_accumulators(job: Job) -> None:
    weight = max(-job.offset, (1 << job.bits) - 1 + job.offset)
    peak = job.cin * job.taps * weight * (128 if job.x_signed else 255)
    _require(
        peak < 1 << 31,
        f"a 32-bit accumulator holds less than {1 << 31:,}, but {job.cin * job.taps:,} products may reach {peak:,}",
    )


def _check_memory(job: Job) -> None:
    size = weight_bytes(job.mode, job.cin, job.cout, job.bits)
    _require(job.w % LINE == 0, f"weights are aligned to {LINE} B, not at 0x{job.w:08x}")
    _require(
        _inside(job.w, size, L1) or _inside(job.w, size, NEURAL),
        f"weights lie in L1 or in the neural memory, not {size:,} B at 0x{job.w:08x}",
    )
    _in_l1("inputs", job.x, job.x_bytes)
    _in_l1("outputs", job.y, job.y_bytes)
    aligned = job.y % 4 == 0 and job.y_pixel % 4 == 0 and job.y_row % 4 == 0
    _require(
        job.output != "int32" or aligned,
        f"int32 outputs are aligned to 4 B, not at 0x{job.y:08x} with strides {job.y_pixel:,} and {job.y_row:,}",
    )
    apart = job.x + job.x_bytes <= job.y or job.y + job.y_bytes <= job.x
    _require(apart, f"outputs at 0x{job.y:08x} overlap the {job.x_bytes:,} B of inputs at 0x{job.x:08x}")


def _check_scales(job: Job) -> None:
    _require(job.scale_bits in SCALE_BITS, f"scales have 8 or 32 bits, not {job.scale_bits}")
    _require(0 <= job.shift <= MAX_SHIFT, f"the shift is 0 to {MAX_SHIFT}, not {job.shift}")
    _require(
        job.scale % (job.scale_bits // 8) == 0,
        f"{job.scale_bits}-bit scales are aligned to {job.scale_bits // 8} B, not at 0x{job.scale:08x}",
    )
    # The engine loads scales by the word and biases by the pass, whether it needs the last ones or not.
    _in_l1("scales", job.scale, ceil_div(job.cout * job.scale_bits // 8, 4) * 4)
    if job.bias:
        _require(job.bias % 4 == 0, f"biases are aligned to 4 B, not at 0x{job.bias:08x}")
        _in_l1("biases", job.bias, ceil_div(job.cout, COUT) * COUT * 4)


def _inside(address: int, size: int, memory: range) -> bool:
    return memory.start <= address and address + size <= memory.stop


def _in_l1(what: str, address: int, size: int) -> None:
    _require(
        _inside(address, size, L1),
        f"{what} lie in L1 (0x{L1.start:08x} to 0x{L1.stop:08x}), not {size:,} B at 0x{address:08x}",
    )
