"""attention: softmax attention over the cache as stored, up to 8-bit queries and weights; rows in any pieces."""

import math

import numpy as np
import pytest
from op_laws import check_refuses, check_rows, check_types, examples, run, types_of, with_inputs

from edgec.ir.graph import TensorType
from edgec.ops import find
from edgec.ops.attention import MAX_CONTEXT, float_example
from edgec.ops.attention import queries as quantised
from edgec.ops.op import Example, TypeRuleError


def test_types() -> None:
    check_types("attention")
    long = TensorType((MAX_CONTEXT + 1, 8), "i8")
    check_refuses("attention", q=TensorType((3, 1009), "f32"), k_cache=long)
    check_refuses("attention", q_scale=TensorType((3, 1009), "f32"))


def test_rows() -> None:
    """A prefill in chunks is token by token: each row sees the positions up to its own and no later ones."""
    check_rows("attention", ("q", "q_scale"))


def test_quantised_queries_have_the_bits_of_float_ones() -> None:
    """And have scales, one a head, which float ones have not."""
    op = find("attention")
    for seed in range(20):
        made = float_example(np.random.default_rng(seed))
        q, heads = made.inputs["q"], int(made.attrs["n_heads"])
        groups = find("quantize_dynamic").reference({"x": q}, {"group_size": made.attrs["head_dim"]}, 0)
        given = with_inputs(made, q=groups["q"], q_scale=groups["scale"])
        assert run(op, given)["y"].tobytes() == run(op, made)["y"].tobytes()
        types = types_of(given.inputs)
        for wrong in (
            {**types, "q": TensorType(q.shape, "f32")},
            {**types, "q": TensorType(q.shape, "f16")},
            {**types, "q_scale": TensorType((len(q), heads + 1), "f32")},
            {role: kind for role, kind in types.items() if role != "q_scale"},
        ):
            with pytest.raises(TypeRuleError, match=r"queries|query scales"):
                op.infer(wrong, given.attrs)


def test_close_to_softmax() -> None:
    """Of int8 queries and the stored cache. In units of the largest scale that a row sees a p is off by half of 1/255
    and 1/256 of that and, before that, e by half of 1/255 and by the two roundings of its argument to 1/64.
    """
    for op, example in examples("attention"):
        heads, kv, d = (int(example.attrs[key]) for key in ("n_heads", "n_kv_heads", "head_dim"))
        i, m = example.inputs, len(example.inputs["q"])
        t = example.pos + m
        q8, qs = quantised(i, heads)
        q = q8.astype(np.float64) * qs[..., None]
        k, v = (
            (i[f"{r}_cache"][:t].reshape(t, kv, d) * i[f"{r}_scale"][:t].astype(np.float64)[..., None]).repeat(
                heads // kv, 1
            )
            for r in "kv"
        )
        s = np.einsum("mhd,thd->mht", q, k) * (float(example.attrs.get("scale", 0)) or 1 / math.sqrt(d))
        if cap := float(example.attrs.get("softcap", 0)):
            s = cap * np.tanh(s / cap)
        distance = example.pos + np.arange(m)[:, None] - np.arange(t)
        within = (distance >= 0) & (distance < (int(example.attrs.get("window", 0)) or t))
        s = np.where(within[:, None], s, -np.inf)
        e = np.exp(s - s.max(-1, keepdims=True))
        want = np.einsum("mht,thd->mhd", e / e.sum(-1, keepdims=True), v)
        largest = np.abs(v).max(-1).T[None]  # heads, t
        seen = np.isfinite(s)
        scales = np.where(seen, i["v_scale"][:t].astype(np.float64).T.repeat(heads // kv, 0)[None], 0)
        steps = (0.5 + 1 / 256) / 255 * scales.max(-1, keepdims=True) * 127 * seen
        relative = 2 ** (1 / 64) - 1 + 1e-5 * np.maximum(1, np.abs(np.where(seen, s, 0)).max())
        bound = (steps + 2 * (relative * e + 0.5 / 255) * seen * largest).sum(-1) / e.sum(-1) * 1.01 + 1e-9
        error = np.abs(run(op, example)["y"].reshape(m, heads, d) - want).max(-1)
        assert (error <= bound).all()


def test_what_lies_behind_a_row_has_no_influence() -> None:
    for op, example in examples("attention"):
        t = example.pos + len(example.inputs["q"])
        other = {}
        for role in ("k_cache", "v_cache", "k_scale", "v_scale"):
            other[role] = example.inputs[role].copy()
            other[role][t:] = 99
        assert run(op, with_inputs(example, **other))["y"].tobytes() == run(op, example)["y"].tobytes()


def test_what_lies_before_a_window_has_no_influence() -> None:
    seen = 0
    for op, example in examples("attention"):
        window = int(example.attrs.get("window", 0))
        before = example.pos + 1 - window  # positions that not even the first row sees
        if not window or before < 1:
            continue
        seen += 1
        other = {}
        for role in ("k_cache", "v_cache", "k_scale", "v_scale"):
            other[role] = example.inputs[role].copy()
            other[role][:before] = 99
        assert run(op, with_inputs(example, **other))["y"].tobytes() == run(op, example)["y"].tobytes()
        if window == 1:  # only a row's own position is left
            own = example.inputs["v_cache"][before : before + len(example.inputs["q"])].astype(np.float32)
            assert np.allclose(run(op, example)["y"], spread(example, own), rtol=1e-5, atol=1e-9)
    assert seen > 3


def spread(example: Example, rows: np.ndarray) -> np.ndarray:
    """Values [m, kv * head_dim] of the last m positions times their scales, one copy for each query head."""
    heads, kv, d = (int(example.attrs[key]) for key in ("n_heads", "n_kv_heads", "head_dim"))
    scale = example.inputs["v_scale"][example.pos : example.pos + len(rows)].astype(np.float32)
    return (rows.reshape(-1, kv, d) * scale[..., None]).repeat(heads // kv, axis=1).reshape(len(rows), -1)


def test_equal_values_come_back() -> None:
    """However the weights fall, the mean of equal values is that value, to 8 bits of the weights."""
    for op, example in examples("attention"):
        value = np.full_like(example.inputs["v_cache"], 50)
        scale = np.full_like(example.inputs["v_scale"], 0.5)
        y = run(op, with_inputs(example, v_cache=value, v_scale=scale))["y"]
        t = example.pos + len(y)
        assert np.abs(y - 25).max() <= 25 * (t * 0.5 / 255 + 1e-3)
