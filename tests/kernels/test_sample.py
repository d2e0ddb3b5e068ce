"""sample at its edges, which random settings do not reach: equalities, roundings, sums above 32 bits."""

from __future__ import annotations

import ctypes

import numpy as np
import pytest
from kernel_library import Args, assert_same, call, compile_library, compilers, sources, twin

from edgec.ops.numerics import F32, I32
from edgec.ops.sample import STATE_HIGH, STATE_LOW, Sampling, draw


@pytest.fixture(
    scope="module", params=[f"{name}-{isa}" for name in sorted(compilers()) for isa in ("generic", "xpulpv2")]
)
def library(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> ctypes.CDLL:
    """The kernel, also the one for XpulpV2 in what it falls back to on a host."""
    name, isa = request.param.split("-")
    paths = [path for path in sources(isa) if path.parent.name == "sample"]
    return compile_library(compilers()[name], tmp_path_factory.mktemp(f"sample_{request.param}"), paths)


def _pick(library: ctypes.CDLL, logits: F32, params: I32) -> tuple[int, I32]:
    """The token, the same in C and NumPy, and the parameters afterwards."""
    args: Args = {"logits": logits, "params": params, "token": np.zeros(1, np.int32), "n": logits.size}
    want = twin("sample", args)
    for n_cores in (1, 2, 3, 8):
        got = call(library, "sample", args, n_cores)
        assert_same("sample", got, want)
    return int(got["token"][0]), got["params"].copy()


def _drawing(params: I32, wanted: int) -> I32:
    """The parameters with a generator state whose next draw is `wanted`.

    The state's top five bits, the rotation, are 0; then bit i of state ^ (state >> 18) is a bit of the draw
    for i in 27 .. 58, and they are solved from the top.
    """
    state = 0
    for i in range(58, 26, -1):
        state |= ((wanted >> (i - 27) & 1) ^ (state >> (i + 18) & 1)) << i
    params = params.copy()
    params.view(np.uint32)[[STATE_LOW, STATE_HIGH]] = state & 0xFFFFFFFF, state >> 32
    assert draw(params.copy()) == wanted
    return params


@pytest.mark.parametrize("n", [1, 2, 15, 16, 17, 31, 127, 128, 129, 255, 300, 512, 1025])
def test_the_first_of_the_largest(library: ctypes.CDLL, n: int) -> None:
    """Wherever the largest logit is, also where others equal it, zeros of either sign also if all are negative."""
    greedy = Sampling().params()
    rng = np.random.default_rng(n)
    for at in sorted({0, n - 1, *rng.integers(n, size=40).tolist()}):
        logits = rng.normal(size=n).astype(np.float32) - np.float32(rng.choice([0, 50]))
        logits[at] = logits.max() + np.float32(1)
        assert _pick(library, logits, greedy)[0] == at
        again = np.minimum(at + rng.integers(n, size=3), n - 1)
        logits[again] = logits[at]
        assert _pick(library, logits, greedy)[0] == at
        zeros = -np.abs(logits)
        zeros[again], zeros[at] = np.float32(0.0), np.float32(-0.0)
        assert _pick(library, zeros, greedy)[0] == at
        assert _pick(library, -zeros, greedy)[0] == int(np.argmax(-zeros))


@pytest.mark.parametrize("token", range(8))
def test_draw_between_two_candidates(library: ctypes.CDLL, token: int) -> None:
    """Of eight equal candidates, each has an eighth of the draws: its first and last one."""
    params, logits = Sampling(1.0).params(), np.zeros(8, np.float32)
    for wanted in (token << 29, (token + 1 << 29) - 1):
        assert _pick(library, logits, _drawing(params, wanted))[0] == token


@pytest.mark.parametrize(("parts", "kept"), [(28086, 3), (28087, 4), (0, 1), (1, 1), (65535, 7), (65536, 7)])
def test_top_p_rounds_up(library: ctypes.CDLL, parts: int, kept: int) -> None:
    """parts/65536 of seven equal candidates: 28087 is half a unit of weight more than three of them."""
    params, logits = Sampling(1.0, 0, parts / 65536).params(), np.zeros(7, np.float32)
    assert _pick(library, logits, _drawing(params, 0xFFFFFFFF))[0] == kept - 1


@pytest.mark.parametrize("top_k", [0, 140000])
@pytest.mark.parametrize("top_p", [0.7, 1.0])
def test_sample_of_a_flat_large_vocabulary(library: ctypes.CDLL, top_k: int, top_p: float) -> None:
    """Weights whose sum passes 2^32, so that its product with a draw passes 2^64; all of them tie."""
    logits = np.zeros(200_000, np.float32)
    for seed in range(3):
        params = Sampling(1.0, top_k, top_p, seed).params()
        _pick(library, logits, params)


def test_sample_draws_again(library: ctypes.CDLL) -> None:
    """A run of draws from one generator, each starting from what the call before left."""
    rng = np.random.default_rng(5)
    params = Sampling(1.0, 50, 0.95, 7).params()
    for _ in range(50):
        _, params = _pick(library, rng.normal(size=300).astype(np.float32), params)
