"""A job of N-EUREKA: a 3x3 or 1x1 convolution of height x width output pixels, and the 24 registers that carry it.

Inputs are 8-bit, channels of a pixel contiguous; weights are unsigned with one offset for the whole job (see
`encode.py`). A 3x3 job reads (height + 2) x (width + 2) pixels, of which a `border` counts as zeros.

    y[i, j, n] = sum over r, s, c of x[i + r, j + s, c] * (u[n, r, s, c] + offset)          output "int32"
    v = y * scale[n] (+ bias[n]) >> shift, clamped to -128 .. 127 (or 0 .. 255)             output "int8" ("uint8")

Output "uint8" is what the hardware calls relu: it clamps to 0 .. 255; without, to int8. Scales are unsigned.

A vector times a matrix is a 3x3 job of one pixel (`gemv_job`): its k inputs are a 3x3 image of ceil(k / 9) channels. Of
few inputs it is a job of nine pixels (`fold_job`): they are one pixel amid zeros, which each output pixel sees at
another of the nine positions, so that nine output channels share what would be the filter of one.
Rows times a matrix is a 1x1 job with a row for each pixel (`rows_job`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from edgec.neureka.engine import (
    BUFFER,
    CIN,
    COUT,
    LINE,
    NEURAL,
    PIXELS,
    SIDE,
    TAPS,
    WORDS,
    blocks,
    ceil_div,
    fold_rows,
    gemv_cin,
    lines,
)

MODES = {"3x3": 0, "1x1": 2}
OUTPUTS = {"int32": 4, "int8": 1, "uint8": 1}  # bytes of an output

# Registers by index.
W, X, Y, SCALE, SHIFTS, BIAS = range(6)
X_STRIDES, Y_STRIDES, W_STRIDES = 6, 9, 12  # three each
REST_CHANNELS, REST_OUT, REST_IN, TILES_CHANNELS, TILES_OUT = range(15, 20)
PADDING, OFFSET, FILTER_MASK, CONFIG = range(20, 24)

# Bits of CONFIG; weight bits less 1 are in the lowest three.
MODE_SHIFT, SHIFT_SHIFT = 5, 16
REQUANTISE, FROM_NEURAL, PREFETCH, WIDE_SCALE, OFFSET_ON = 1 << 4, 1 << 9, 1 << 10, 2 << 12, 1 << 15
INT32_OUT, SIGNED_OUT, WITH_BIAS, SIGNED_IN = 2 << 21, 1 << 23, 1 << 25, 1 << 26
KNOWN = (
    *(7, 3 << MODE_SHIFT, REQUANTISE, FROM_NEURAL, PREFETCH, WIDE_SCALE, OFFSET_ON, 31 << SHIFT_SHIFT, INT32_OUT),
    *(SIGNED_OUT, WITH_BIAS, SIGNED_IN),
)


class JobError(Exception):
    """A job, weights or registers that the engine, or this package, does not take; the message names the limit."""


@dataclass(frozen=True)
class Job:
    """See the module's docstring. Addresses are the cores'; strides are in bytes.

    x_pixel, x_row, y_pixel, y_row: from a pixel to the next one, from a row of pixels to the next.
    border: rows and columns of inputs at each side that are zeros instead of what is read; of 3x3 jobs of one pass.
    scale_bits, scale, bias, shift: of requantised outputs, else 0. bias 0: none.
    """

    mode: str
    bits: int
    offset: int
    x: int
    w: int
    y: int
    cin: int
    cout: int
    height: int
    width: int
    x_pixel: int
    x_row: int
    y_pixel: int
    y_row: int
    x_signed: bool = True
    output: str = "int32"
    scale_bits: int = 0
    scale: int = 0
    bias: int = 0
    shift: int = 0
    prefetch: bool = True
    border: int = 0

    @property
    def taps(self) -> int:
        """Filter positions: 9 or 1."""
        return TAPS[self.mode]

    @property
    def in_height(self) -> int:
        """Rows of the input."""
        return self.height + (2 if self.mode == "3x3" else 0)

    @property
    def in_width(self) -> int:
        """Columns of the input."""
        return self.width + (2 if self.mode == "3x3" else 0)

    @property
    def x_bytes(self) -> int:
        """Bytes from the first input to behind the last."""
        return (self.in_height - 1) * self.x_row + (self.in_width - 1) * self.x_pixel + self.cin

    @property
    def y_bytes(self) -> int:
        """Bytes from the first output to behind the last."""
        return (self.height - 1) * self.y_row + (self.width - 1) * self.y_pixel + self.cout * OUTPUTS[self.output]

    def registers(self) -> list[int]:
        """The 24 registers, each below 2^32."""
        block, n_blocks = CIN[self.mode], blocks(self.mode, self.cin)
        words = [0] * WORDS
        words[W] = self.w - NEURAL.start if self.w in NEURAL else self.w
        words[X], words[Y], words[SCALE], words[BIAS] = self.x, self.y, self.scale, self.bias
        words[X_STRIDES : X_STRIDES + 2] = self.x_pixel, self.x_row
        words[Y_STRIDES : Y_STRIDES + 3] = LINE, self.y_pixel, self.y_row
        words[W_STRIDES : W_STRIDES + 2] = LINE, LINE * lines(self.mode, self.bits) * n_blocks
        rest_out = _pair(_rest(self.height, PIXELS), _rest(self.width, PIXELS))
        words[REST_CHANNELS] = _pair(_rest(self.cout, COUT), _rest(self.cin, block))
        words[REST_OUT] = rest_out
        words[REST_IN] = rest_out + (_pair(2, 2) if self.mode == "3x3" else 0)
        words[TILES_CHANNELS] = _pair(ceil_div(self.cout, COUT), n_blocks)
        words[TILES_OUT] = _pair(ceil_div(self.height, PIXELS), ceil_div(self.width, PIXELS))
        words[PADDING] = self._padding()
        words[OFFSET] = self.offset & 0xFFFF_FFFF
        words[CONFIG] = self._config()
        return words

    def _padding(self) -> int:
        """Top, right, bottom, left: those behind count from the end of the engine's buffer of 8 x 8 inputs."""
        if not self.border:
            return 0
        bottom, right = (BUFFER - size + self.border for size in (self.in_height, self.in_width))
        return self.border << 28 | right << 24 | bottom << 20 | self.border << 16

    def _config(self) -> int:
        flags = {
            FROM_NEURAL: self.w in NEURAL,
            PREFETCH: self.prefetch,
            SIGNED_IN: self.x_signed,
            INT32_OUT: self.output == "int32",
            REQUANTISE: self.output != "int32",
            SIGNED_OUT: self.output == "int8",
            WIDE_SCALE: self.scale_bits == 32,
            WITH_BIAS: self.bias != 0,
        }
        value = self.bits - 1 | MODES[self.mode] << MODE_SHIFT | self.shift << SHIFT_SHIFT | OFFSET_ON
        return value | sum(flag for flag, is_set in flags.items() if is_set)

    @classmethod
    def from_registers(cls, words: Sequence[int]) -> Job:
        """Inverse of `registers`; JobError if they hold what a Job cannot say, such as padding that is no border."""
        if len(words) != WORDS:
            raise JobError(f"a job of N-EUREKA has {WORDS} registers, not {len(words)}")
        config, quantised = words[CONFIG], bool(words[CONFIG] & REQUANTISE)
        mode = {code: name for name, code in MODES.items()}.get(config >> MODE_SHIFT & 3)
        if mode is None or config & ~sum(KNOWN):
            raise JobError(f"configuration 0x{config:08x} asks N-EUREKA for more than 3x3 and 1x1 convolutions")
        tiles_cout, tiles_cin = _halves(words[TILES_CHANNELS])
        rest_cout, rest_cin = _halves(words[REST_CHANNELS])
        height, width = (
            (tiles - 1) * PIXELS + rest
            for tiles, rest in zip(_halves(words[TILES_OUT]), _halves(words[REST_OUT]), strict=True)
        )
        job = cls(
            mode=mode,
            bits=(config & 7) + 1,
            offset=(words[OFFSET] ^ 1 << 31) - (1 << 31),
            x=words[X],
            w=words[W] + (NEURAL.start if config & FROM_NEURAL else 0),
            y=words[Y],
            cin=(tiles_cin - 1) * CIN[mode] + rest_cin,
            cout=(tiles_cout - 1) * COUT + rest_cout,
            height=height,
            width=width,
            x_pixel=words[X_STRIDES],
            x_row=words[X_STRIDES + 1],
            y_pixel=words[Y_STRIDES + 1],
            y_row=words[Y_STRIDES + 2],
            x_signed=bool(config & SIGNED_IN),
            output=("int8" if config & SIGNED_OUT else "uint8") if quantised else "int32",
            scale_bits=(32 if config & WIDE_SCALE else 8) if quantised else 0,
            scale=words[SCALE],
            bias=words[BIAS] if config & WITH_BIAS else 0,
            shift=config >> SHIFT_SHIFT & 31,
            prefetch=bool(config & PREFETCH),
            border=words[PADDING] >> 28,
        )
        if job.registers() != list(words):
            i = next(i for i, (a, b) in enumerate(zip(words, job.registers(), strict=True)) if a != b)
            raise JobError(
                f"register {i} is 0x{words[i]:08x}, which does not belong to the job that the others describe"
            )
        return job


def gemv_job(x: int, w: int, y: int, k: int, n: int, bits: int) -> Job:
    """One token: y [n] int32 = W [n, k] times x [k] int8, with weights from `encode_3x3` as one job.

    Where 9 does not divide k, up to 8 bytes behind x are read; they count for nothing. Change what differs with
    `dataclasses.replace`.
    """
    cin, row = gemv_cin(k), 4 * n
    return Job("3x3", bits, -(1 << bits - 1), x, w, y, cin, n, 1, 1, cin, 3 * cin, row, row)


def fold_job(x: int, w: int, y: int, k: int, n: int, bits: int) -> Job:
    """One token of few inputs: y [9 * ceil(n / 9)] int32, of which the first n are W [n, k] times x [k] int8, with
    weights from `encode_folded`. Change what differs with `dataclasses.replace`.
    """
    rows = fold_rows(n)
    job = gemv_job(x, w, y, 1, rows, bits)
    return replace(
        job, cin=k, height=SIDE, width=SIDE, x_pixel=0, x_row=0, y_pixel=4 * rows, y_row=4 * SIDE * rows, border=2
    )


def rows_job(x: int, w: int, y: int, grid: tuple[int, int], k: int, n: int, bits: int) -> Job:
    """height * width tokens: y [tokens, n] int32 = x [tokens, k] int8 times W^T, with weights from `encode_1x1`."""
    height, width = grid
    return Job("1x1", bits, -(1 << bits - 1), x, w, y, k, n, height, width, k, width * k, 4 * n, width * 4 * n)


def grids(rows: int) -> list[tuple[int, int]]:
    """Rectangles of pixels (height, width) for so many rows, one behind the other, in the fewest passes of 6 x 6."""
    exact = [(rows // w, w) for w in range(1, rows + 1) if rows % w == 0]
    split = [(rows // PIXELS, PIXELS), (1, rows % PIXELS)] if rows > PIXELS and rows % PIXELS else []
    best = min(exact, key=lambda g: (_passes(g), g[1]))
    return split if split and sum(map(_passes, split)) < _passes(best) else [best]


def _passes(grid: tuple[int, int]) -> int:
    return ceil_div(grid[0], PIXELS) * ceil_div(grid[1], PIXELS)


def _rest(size: int, tile: int) -> int:
    """Size of the last tile: 1 to tile."""
    return (size - 1) % tile + 1


def _pair(high: int, low: int) -> int:
    return high << 16 | low


def _halves(word: int) -> tuple[int, int]:
    return word >> 16, word & 0xFFFF
