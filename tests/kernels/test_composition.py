"""Kernels put together as a plan puts them together give the op's reference: tiles and gathers change no bit."""

from __future__ import annotations

import ctypes
import itertools

import numpy as np
import pytest
from kernel_library import Args, call

from edgec.ops import find
from edgec.ops.attention import cap_of, factor, float_example
from edgec.ops.op import Arrays
from edgec.packing import pack

f32 = np.float32


def _flat(arrays: Arrays) -> Arrays:
    return {role: np.ascontiguousarray(v).reshape(-1) for role, v in arrays.items()}


def _cores(rng: np.random.Generator) -> int:
    return int(rng.integers(1, 9))


@pytest.mark.parametrize("seed", range(10))
@pytest.mark.parametrize("bits", range(2, 9))
def test_matmul_in_tiles(library: ctypes.CDLL, bits: int, seed: int) -> None:
    """Output channels in tiles of random sizes, straight into y's rows."""
    rng = np.random.default_rng([seed, bits])
    op = find(f"matmul_w{bits}a8")
    example = op.example(rng)
    want = op.reference(example.inputs, example.attrs, 0)["y"]
    m, n = want.shape
    y = np.zeros(m * n, f32)
    first = 0
    while first < n:
        count = int(rng.integers(1, n - first + 1))
        own = ("w", "w_scale", "w_zero", "w_min", "bias")  # these have one row an output channel
        inputs = {r: v[first : first + count] if r in own else v for r, v in example.inputs.items()}
        if "addend" in inputs:
            inputs["addend"] = inputs["addend"].reshape(-1)[first:]
        numbers = {"m": m, "n": count, "k": example.attrs["k"], "group_size": example.attrs["group_size"], "ldy": n}
        empty = {"w_zero": None, "w_min": None, "bias": None, "addend": None}
        args: Args = {**empty, **_flat(inputs), "y": y[first:], **numbers}
        y[first:] = call(library, op.name, args, _cores(rng))["y"]
        first += count
    assert (y.view(np.uint8) == want.reshape(-1).view(np.uint8)).all()


@pytest.mark.parametrize("seed", range(30))
def test_embed_of_gathered_rows(library: ctypes.CDLL, seed: int) -> None:
    """Rows copied out of the table by token, then dequantised."""
    rng = np.random.default_rng(seed)
    example = find("embed").example(rng)
    want = find("embed").reference(example.inputs, example.attrs, 0)["y"]
    tokens = example.inputs["tokens"]
    rows = {role: v[tokens] for role, v in example.inputs.items() if role != "tokens"}
    numbers = {"m": tokens.size, "factor": 1.0, **example.attrs}
    args: Args = {"w_zero": None, "w_min": None, **_flat(rows), "y": np.zeros(want.size, f32), **numbers}
    y = call(library, "embed", args, _cores(rng))["y"]
    assert (y.view(np.uint8) == want.reshape(-1).view(np.uint8)).all()


@pytest.mark.parametrize("seed", range(60))
def test_attention_in_tiles(library: ctypes.CDLL, seed: int) -> None:
    """Quantised queries, K and V in tiles of random sizes, score rows longer than the context."""
    rng = np.random.default_rng(seed)
    op = find("attention")
    example = float_example(rng)
    want = op.reference(example.inputs, example.attrs, example.pos)["y"]
    heads, kv, d = (int(example.attrs[key]) for key in ("n_heads", "n_kv_heads", "head_dim"))
    m = want.shape[0]
    length, units = example.pos + m, m * heads
    lds = length + int(rng.integers(0, 4))
    flat = _flat(example.inputs)

    q = np.zeros(units * d, np.int8)
    args: Args = {"x": flat["q"], "q": q, "scale": np.zeros(units, f32), "sums": None}
    args |= {"rows": units, "k": d, "group_size": d}
    quantised = call(library, "quantize_dynamic", args, _cores(rng))

    shape = {"m": m, "n_heads": heads, "n_kv_heads": kv, "head_dim": d}
    s, p, acc = np.zeros(units * lds, f32), np.zeros(units * lds, np.uint8), np.full(units * d, 77, np.int32)
    for first, count in _tiles(rng, length):
        tile = {"first": first, "count": count, "lds": lds, "factor": factor(d, float(example.attrs.get("scale", 0)))}
        k = flat["k_cache"][first * kv * d : (first + count) * kv * d]
        k_scale = flat["k_scale"][first * kv : (first + count) * kv]
        args = {"q": quantised["q"], "q_scale": quantised["scale"], "k": k, "k_scale": k_scale, "s": s}
        s = call(library, "attention_scores", {**args, **shape, **tile}, _cores(rng))["s"]
    limits = {"window": int(example.attrs.get("window", 0)), "cap": cap_of(example.attrs)}
    args = {"s": s, "m": m, "n_heads": heads, "pos": example.pos, "lds": lds, **limits}
    if limits["cap"]:
        s = call(library, "attention_cap", args, _cores(rng))["s"]
    args = {"s": s, "v_scale": flat["v_scale"][: length * kv], "p": p, "p_scale": np.zeros(units, f32)}
    args |= {"m": m, "n_heads": heads, "n_kv_heads": kv, "pos": example.pos, "lds": lds}
    args["window"] = limits["window"]
    weights = call(library, "attention_softmax", args, _cores(rng))
    for first, count in _tiles(rng, length):
        tile = {"first": first, "count": count, "lds": lds}
        v = flat["v_cache"][first * kv * d : (first + count) * kv * d]
        acc = call(library, "attention_values", {"p": weights["p"], "v": v, "acc": acc, **shape, **tile}, 3)["acc"]
    args = {"acc": acc, "p_scale": weights["p_scale"], "y": np.zeros(units * d, f32)}
    y = call(library, "attention_finish", {**args, "m": m, "n_heads": heads, "head_dim": d}, _cores(rng))["y"]
    assert (y.view(np.uint8) == want.reshape(-1).view(np.uint8)).all()


def _tiles(rng: np.random.Generator, length: int) -> list[tuple[int, int]]:
    """(first, count) of tiles that cover a length."""
    cuts = sorted({0, length, *rng.integers(0, length + 1, size=int(rng.integers(0, 4))).tolist()})
    return [(a, b - a) for a, b in itertools.pairwise(cuts)]


@pytest.mark.parametrize("bits", [2, 3, 4])
@pytest.mark.parametrize("signs", [(1, 1), (-1, -1), (1, -1), (-1, 1), (1, 1, -1, -1), (-1, -1, 1, 1)])
def test_two_products_in_one_multiplication_never_overflow(
    library: ctypes.CDLL, bits: int, signs: tuple[int, ...]
) -> None:
    """The largest weights times the largest inputs, for every length of a group up to three runs."""
    op = find(f"matmul_w{bits}a8")
    top, n = 2**bits - 1, 3
    for k in range(1, 49):
        x = np.resize(np.array(signs, np.int8) * 127, (1, k)).astype(np.int8)
        w = pack(np.array([[top] * k, [0] * k, ([top, 0] * k)[:k]], np.uint8), bits, k)
        inputs: Arrays = {"x": x, "x_scale": np.ones((1, 1), f32), "x_sums": x.sum(axis=1, dtype=np.int32)[:, None]}
        inputs |= {"w": w, "w_scale": np.ones((n, 1), np.float16)}
        attrs = {"k": k, "group_size": k}
        want = op.reference(inputs, attrs, 0)["y"]
        empty: Args = {"w_zero": None, "w_min": None, "bias": None, "addend": None, "y": np.zeros(n, f32)}
        empty |= {"m": 1, "n": n, "ldy": n}
        y = call(library, op.name, {**empty, **_flat(inputs), **attrs}, 1)["y"]
        assert (y == want.reshape(-1)).all(), k
