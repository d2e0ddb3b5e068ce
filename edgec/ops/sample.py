"""sample: the next token from logits: greedy, or temperature with top-k and top-p, in integers.

With temperature 0 the token is the argmax (the lowest index among equals). Otherwise

    i[n] = rint((logit[n] - max) * (log2(e) / temperature) * 4096), at least -16 * 4096
    e[n] = exp2_q15(i[n])                                        integer weight in [0, 32768]

candidates are taken in order of (e descending, index ascending): at most top_k of them (0: all), and of those the
shortest prefix whose weight reaches top_p of their sum; a 32-bit draw r of the generator picks the first candidate, in
index order, whose cumulative weight exceeds (r * total) >> 32. Integers make the choice the same everywhere.

The generator is PCG32 (O'Neill 2014, XSH-RR) with a fixed stream; `state` is its 64-bit state in two i32.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from edgec.errors import RecipeError
from edgec.ir.graph import TensorType
from edgec.ops.numerics import F32, I32, LOG2E, exp2_q15, f32, rint_i32
from edgec.ops.op import CORES, Array, Arrays, Attrs, Example, Kernel, Op, Param, Types, Work, require

MULTIPLIER, INCREMENT, MASK = 6364136223846793005, 1442695040888963407, 2**64 - 1
# The parameters of one call, as the op's input `params` i32[6]:
# bits of float32 temperature, top_k, bits of float32 top_p, unused, and the two halves of the generator's state.
COLDEST = 1e-6  # a temperature below is greedy: the division by it must not overflow
TEMPERATURE, TOP_K, TOP_P, _UNUSED, STATE_LOW, STATE_HIGH = range(6)


@dataclass(frozen=True)
class Sampling:
    """What the user chooses: temperature 0 is greedy; top_k 0 and top_p 1 leave all tokens in."""

    temperature: float = 0.0
    top_k: int = 0
    top_p: float = 1.0
    seed: int = 0

    def __post_init__(self) -> None:
        if not (self.temperature >= 0 and np.isfinite(self.temperature)):
            raise RecipeError(f"the temperature is {self.temperature}; it is 0 (greedy) or positive.")
        if self.top_k < 0 or not 0 <= self.top_p <= 1:
            raise RecipeError(f"top_k is {self.top_k} and top_p {self.top_p}; they are at least 0, and 0 to 1.")

    def params(self) -> I32:
        """The op's `params` at the start of a generation."""
        state = ((self.seed & MASK) + INCREMENT) * MULTIPLIER + INCREMENT & MASK
        temperature = self.temperature if f32(self.temperature) >= f32(COLDEST) else 0.0
        floats = np.array([temperature, self.top_p], np.float32).view(np.int32)
        halves = np.array([state & 0xFFFFFFFF, state >> 32], np.uint32).view(np.int32)
        return np.array([floats[0], self.top_k, floats[1], 0, halves[0], halves[1]], np.int32)


def infer(types: Types, attrs: Attrs) -> dict[str, TensorType]:
    """logits f32[1, vocabulary] and params i32[6] give token i32[1]; the generator's state in params advances."""
    logits, params = types["logits"], types["params"]
    require(logits.dtype == "f32" and logits.shape[0] == 1, f"sample takes one row of float32 logits, not {logits}")
    require(params == TensorType((6,), "i32"), f"sample's params are i32[6], not {params}")
    return {"token": TensorType((1,), "i32")}


def draw(params: I32) -> int:
    """One 32-bit PCG32 output; the state in `params` advances."""
    low, high = params.view(np.uint32)[[STATE_LOW, STATE_HIGH]]
    state = int(high) << 32 | int(low)
    following = (state * MULTIPLIER + INCREMENT) & MASK
    params.view(np.uint32)[[STATE_LOW, STATE_HIGH]] = following & 0xFFFFFFFF, following >> 32
    word = ((state >> 18) ^ state) >> 27 & 0xFFFFFFFF
    turn = state >> 59
    return (word >> turn | word << (-turn & 31)) & 0xFFFFFFFF


def pick(logits: F32, params: I32) -> int:
    """The definition, on logits [vocabulary]."""
    temperature, top_p = params[[TEMPERATURE, TOP_P]].view(np.float32)
    if not temperature > 0:
        return int(np.argmax(logits))
    slope = (LOG2E / temperature) * f32(4096.0)
    i = rint_i32(np.maximum((logits - logits.max()) * slope, f32(-65536.0)))
    e = exp2_q15(i).astype(np.int64)
    order = np.lexsort((np.arange(e.size), -e))
    if 0 < params[TOP_K] < e.size:
        order = order[: params[TOP_K]]
    cumulative = np.cumsum(e[order])
    # top_p as a 16-bit fraction, rounded up, so that the comparison is between integers.
    fraction = int(min(max(int(rint_i32(np.array([top_p * f32(65536.0)], np.float32))[0]), 0), 65536))
    wanted = (int(cumulative[-1]) * fraction + 65535) >> 16
    kept = np.sort(order[: int(np.searchsorted(cumulative, max(wanted, 1))) + 1])
    running = np.cumsum(e[kept])
    threshold = draw(params) * int(running[-1]) >> 32
    return int(kept[int(np.searchsorted(running, threshold, side="right"))])


def reference(inputs: Arrays, attrs: Attrs, pos: int) -> Arrays:
    """Bit-exact definition; advances the generator in `params`."""
    return {"token": np.array([pick(inputs["logits"][0], inputs["params"])], np.int32)}


def run(a: dict[str, Any]) -> None:
    """Kernel twin."""
    a["token"][0] = pick(a["logits"][: a["n"]], a["params"])


def example(rng: np.random.Generator) -> Example:
    """Random logits with ties, random settings."""
    n = int(rng.integers(1, 300))
    logits: Array = (rng.normal(size=(1, n)) * rng.choice([0.1, 2.0, 20.0])).astype(np.float32)
    if rng.random() < 0.4:
        logits = np.round(logits)
    sampling = Sampling(
        float(rng.choice([0.0, 0.3, 1.0, 2.5])),
        int(rng.choice([0, 1, 5, 40, 1000])),
        float(rng.choice([0.0, 0.1, 0.5, 0.9, 0.99, 1.0])),
        int(rng.integers(0, 2**63)),
    )
    return Example({"logits": logits, "params": sampling.params()}, {})


KERNEL = Kernel(
    "sample",
    (Param("logits", "in", "f32"), Param("params", "inout", "i32"), Param("token", "out", "i32"), Param("n", "u32")),
    run,
    lambda a: Work(flops=2 * a["n"], parallel=min(CORES, -(-a["n"] // 16))),  # of blocks of 16
    directed=True,
)
DOC = "the next token: greedy, or temperature, top-k and top-p"
OPS = (Op("sample", DOC, infer, reference, reference, (KERNEL,), example),)
