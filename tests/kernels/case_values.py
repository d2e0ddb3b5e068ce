"""What random arguments of kernels are made of."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

Args = dict[str, Any]
Rng = np.random.Generator
f32 = np.float32


def integer(rng: Rng, low: int, high: int) -> int:
    return int(rng.integers(low, high + 1))


def activations(rng: Rng, *shape: int) -> NDArray[np.int8]:
    """Random activations; half of the time only the extremes, which is where an accumulator would overflow."""
    x = rng.integers(-127, 128, size=shape) if rng.random() < 0.5 else 127 * rng.integers(-1, 2, size=shape)
    return x.astype(np.int8)


def floats(rng: Rng, size: int, low: int = -4, high: int = 4) -> NDArray[np.float32]:
    x: NDArray[np.float32] = (rng.normal(size=size) * 10.0 ** rng.uniform(low, high)).astype(f32)
    return x


def junk(rng: Rng, size: int, dtype: type) -> NDArray[Any]:
    """What an output holds before the call: finite, so that untouched places compare as numbers too."""
    return rng.integers(1, 100, size=size).astype(dtype)


def positions(args: Args) -> int:
    """Positions that score rows have."""
    return int(args["positions"] if "positions" in args else args["pos"] + args["m"])
