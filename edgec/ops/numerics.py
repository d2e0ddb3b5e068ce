"""edgec's own float32 functions: fixed sequences of IEEE operations, the same here and in kernels/common/.

NumPy's and the C library's `exp` and `sqrt` differ between versions and hosts; these do not. Each
function below is a straight line of float32 additions, multiplications, divisions and integer
operations on the bits, none contracted, so that C compiled with -ffp-contract=off gives the same bits.
The C twins are in `kernels/common/edgec_math.h`, under the same names.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

F32 = NDArray[np.float32]
I32 = NDArray[np.int32]
Array = NDArray[Any]

f32 = np.float32

# Adding 1.5 * 2^23 leaves the rounded integer in the low mantissa bits (ties to even), for |x| < 2^22.
MAGIC = f32(12582912.0)
MAGIC_BITS = np.int32(0x4B400000)

LOG2E = f32(1.4426950408889634)
# exp's argument in 32nds of a power of two, the powers 2^(j/32), and 2^(r/32) = 1 + r·(C1 + r·C2) for |r| <= 0.5
# (minimax with the value 1 at 0: relative error < 6e-8).
LOG2E_32 = f32(32 * 1.4426950408889634)
EXP2_TABLE = (2.0 ** (np.arange(32) / 32)).astype(np.float32)
EXP2_C1 = f32(2.166116698955562e-2)
EXP2_C2 = f32(2.3459619820224677e-4)
# 255 * 2^x in whole numbers, for x in steps of 1/64 from -9 on: entry 576 is 255, and entry 0 is 0, for all below.
EXP2_STEPS = 64
EXP2_BYTES = np.rint(255 * 2.0 ** ((np.arange(577) - 576) / EXP2_STEPS)).astype(np.uint8)
# Floats from 2^17 to 2^18 are 1/64 apart: added to this one, x rounds to a multiple of 1/64, ties to even.
EXP2_MAGIC = f32(1.5 * 2**17)
EXP2_LOWEST = EXP2_MAGIC.view(np.int32) - np.int32(576)  # bits of the sum that stand for entry 0
EXP2_FARTHEST = f32(2**16)
# Floats from 2^19 to 2^20 are 1/16 apart.
SIGMOID_MAGIC = f32(1.5 * 2**19)
SIGMOID_ENDS = f32(12)


def _sigmoid_lines() -> F32:
    """[385, 2]: intercept and slope of sigmoid's chord around each multiple of 1/16 from -12 to 12; at the ends 0, 1.

    The ends of the chords lie Δ²/16·sigmoid'' off the curve, which halves the error in the middle, and are multiples of
    2^-22. So all numbers here are exact, and where two chords meet they give the same float: what they give ascends.
    """
    x = (np.arange(386) - 192.5) / 16
    y = 1 / (1 + np.exp(-x))
    y = np.rint((y - y * (1 - y) * (1 - 2 * y) / 4096) * 2**22) / 2**22
    slope = np.diff(y) * 16
    lines = np.stack([y[:-1] - slope * x[:-1], slope], axis=1)
    lines[0], lines[-1] = (0, 0), (1, 0)
    return lines.astype(np.float32)


SIGMOID_LINES = _sigmoid_lines()

ONE_127TH = f32(1.0 / 127.0)
ONE_255TH = f32(1.0 / 255.0)
F16_MAX = f32(65504.0)


def rint_i32(x: F32) -> I32:
    """Nearest integer, ties to even, of |x| < 2^22."""
    return (x + MAGIC).view(np.int32) - MAGIC_BITS


def exp(x: F32) -> F32:
    """e^x with a relative error below 4e-6 (7e-7 for |x| <= 10); x is clamped to [-87, 88].

    So there are neither infinities nor subnormals.
    """
    t = np.minimum(np.maximum(x, f32(-87.0)), f32(88.0)) * LOG2E_32
    n = rint_i32(t)
    r = t - n.astype(np.float32)
    p = (r * EXP2_C2 + EXP2_C1) * r + f32(1.0)
    bits: I32 = EXP2_TABLE.view(np.int32)[n & 31] + (n >> 5 << 23)
    power: F32 = p * bits.view(np.float32)
    return power


def sigmoid(x: F32) -> F32:
    """1 / (1 + e^-x) to within 2.4e-5, ascending from 0 to 1: a chord around the nearest multiple of 1/16.

    x is clamped to [-12, 12] as integers are, so what is no number is at one of the ends.
    """
    bits = np.minimum(x.view(np.int32), SIGMOID_ENDS.view(np.int32)).view(np.uint32)
    t = np.minimum(bits, (-SIGMOID_ENDS).view(np.uint32)).view(np.float32)
    line = SIGMOID_LINES[(t + SIGMOID_MAGIC).view(np.int32) - SIGMOID_MAGIC.view(np.int32) + 192]
    y: F32 = line[..., 0] + line[..., 1] * t
    return y


def silu(x: F32) -> F32:
    """x·sigmoid(x); -infinity gives no number, as -infinity / (1 + e^infinity)."""
    y: F32 = x * sigmoid(x)
    return y


def rsqrt(x: F32) -> F32:
    """1/sqrt(x) for normal positive x: an integer first guess and three Newton steps.

    The guess is off by 3.5 % at most, the steps by 1.8e-3, 4.7e-6 and 3.4e-11: what is left is rounding.
    """
    y = (np.int32(0x5F3759DF) - (x.view(np.int32) >> 1)).view(np.float32)
    half = f32(0.5) * x
    for _ in range(3):
        y = y * (f32(1.5) - (half * y) * y)
    return y


def capped(x: F32, cap: np.float32) -> F32:
    """cap tanh(x / cap), as cap - 2 cap / (1 + exp(2 x / cap)): off by 3e-7 cap at most; cap > 0."""
    y: F32 = cap - (cap + cap) / (f32(1.0) + exp(x * (f32(2.0) / cap)))
    return y


def exp2_q15(i: I32) -> I32:
    """2^(i/4096) for i <= 0 as a Q15 integer in [0, 32768], truncated; 0 below i = -16 * 4096.

    The cubic's coefficients (Q15) make 2^f exact at f = 0 and within 1.2e-4 elsewhere.
    """
    i = np.maximum(i, np.int32(-65536))
    f = i & 4095
    p = (f * 2589) >> 12
    p = (f * (7355 + p)) >> 12
    p = (f * (22824 + p)) >> 12
    e: I32 = (32768 + p) >> -(i >> 12)
    return e


def exp2_bytes(x: F32, top: F32) -> I32:
    """255 * 2^(x - top) in whole numbers, for x <= top, to within 0.5 and 1/90 of it; 0 from 9 below top on.

    x + (EXP2_MAGIC - top) has x - top in its low bits, both rounded to 1/64. A top beyond EXP2_FARTHEST is subtracted
    first, as its sum would leave the floats that are 1/64 apart.
    """
    far = np.abs(top) > EXP2_FARTHEST
    x, top = np.where(far, x - top, x), np.where(far, f32(0), top)
    index = (x + (EXP2_MAGIC - top)).view(np.int32)
    index = np.clip(index, EXP2_LOWEST, EXP2_MAGIC.view(np.int32)) - EXP2_LOWEST  # whatever a score is, even no number
    e: I32 = EXP2_BYTES[index].astype(np.int32)
    return e


def f16_from_f32(x: F32) -> NDArray[np.float16]:
    """Nearest binary16 (ties to even) of a non-negative x, saturated at 65504."""
    return np.minimum(x, F16_MAX).astype(np.float16)


def lane_sum(x: F32) -> F32:
    """Sum over the last axis in the written order: eight lanes (element i in lane i % 8), each ascending,
    then lanes j and j+4, j and j+2, j and j+1.
    """
    k = x.shape[-1]
    pad = -k % 8
    if pad:
        x = np.concatenate([x, np.zeros((*x.shape[:-1], pad), np.float32)], axis=-1)
    lanes = x.reshape(*x.shape[:-1], -1, 8)
    s = lanes[..., 0, :]
    if lanes.shape[-2] > 1:
        s = np.add.accumulate(lanes, axis=-2)[..., -1, :]
    s = s[..., :4] + s[..., 4:]
    s = s[..., :2] + s[..., 2:]
    total: F32 = s[..., 0] + s[..., 1]
    return total
