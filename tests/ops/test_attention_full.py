"""attention_full: what `attention` gives the last row of a text, for every row; nothing behind the length counts."""

import numpy as np
from op_laws import check_refuses, check_rows, check_types, examples, run, with_inputs

from edgec.ir.graph import TensorType
from edgec.ops import find
from edgec.ops.attention import MAX_CONTEXT


def test_types() -> None:
    check_types("attention_full")
    check_refuses("attention_full", length=TensorType((2,), "i32"), k_cache=TensorType((MAX_CONTEXT + 1, 8), "i8"))


def test_rows() -> None:
    check_rows("attention_full", ("q",))


def test_each_row_is_the_last_row_of_causal_attention() -> None:
    """Bit for bit: at position length - 1 a causal row sees all of the text."""
    causal = find("attention")
    for op, example in examples("attention_full"):
        y = run(op, example)["y"]
        last = int(example.inputs["length"][0]) - 1
        for row in range(len(y)):
            inputs = {role: a.copy() for role, a in example.inputs.items() if role != "length"}
            inputs["q"] = example.inputs["q"][row : row + 1]
            assert causal.reference(inputs, example.attrs, last)["y"].tobytes() == y[row : row + 1].tobytes()


def test_what_lies_behind_the_text_has_no_influence() -> None:
    for op, example in examples("attention_full"):
        t, other = int(example.inputs["length"][0]), {}
        for role in ("k_cache", "v_cache", "k_scale", "v_scale"):
            other[role] = example.inputs[role].copy()
            other[role][t:] = 99
        assert run(op, with_inputs(example, **other))["y"].tobytes() == run(op, example)["y"].tobytes()


def test_close_to_the_ideal() -> None:
    """Of the cache as stored: within the steps of 8-bit queries and weights."""
    for op, example in examples("attention_full"):
        heads, kv, d = (int(example.attrs[key]) for key in ("n_heads", "n_kv_heads", "head_dim"))
        floats = {}
        for r in "kv":
            scale = example.inputs[f"{r}_scale"].astype(np.float32)
            floats[f"{r}_cache"] = example.inputs[f"{r}_cache"].astype(np.float32) * np.repeat(scale, d, axis=1)
        want = op.ideal({**example.inputs, **floats}, example.attrs, 0)["y"]
        y = run(op, example)["y"]
        # A score of a query rounded to 8 bits is off by half a step times the sum of the keys' magnitudes.
        steps = np.abs(example.inputs["q"].reshape(len(y), heads, d)).max(-1) / 254
        keys = np.abs(floats["k_cache"].reshape(-1, kv, d)).sum(-1).max() / np.sqrt(d)
        off = np.expm1(2 * steps.max() * keys + 1e-3) + 0.01 * example.inputs["length"][0]
        assert np.abs(y - want).max() <= off * np.abs(floats["v_cache"]).max() + 1e-9
