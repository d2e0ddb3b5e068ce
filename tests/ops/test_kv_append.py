"""kv_append: the cache's rows are the new heads within half a step of a binary16 scale; nothing else changes."""

import numpy as np
from op_laws import check_refuses, check_rows, check_types, examples

from edgec.ir.graph import TensorType
from edgec.ops.kv_append import new_rows

SMALLEST_NORMAL, LARGEST = 2.0**-14, 65504.0
STATES = ("k_cache", "k_scale", "v_cache", "v_scale")


def test_types() -> None:
    check_types("kv_append")
    check_refuses("kv_append", k=TensorType((1, 1009), "f32"), v_scale=TensorType((3, 1009), "f16"))


def test_rows() -> None:
    check_rows("kv_append", ("k", "v"), STATES)


def test_values_are_columns_of_a_wider_row() -> None:
    """v of joined matrices: the same bytes as v alone; keys have no such columns."""
    seen = 0
    for op, example in examples("kv_append"):
        if first := int(example.attrs.get("v_first", 0)):
            seen += 1
            width = example.inputs["k"].shape[1]
            alone = {**example.inputs, "v": example.inputs["v"][:, first : first + width].copy()}
            want = op.reference(alone, {"head_dim": example.attrs["head_dim"]}, example.pos)
            got = op.reference(example.inputs, example.attrs, example.pos)
            assert all(got[role].tobytes() == want[role].tobytes() for role in want)
    assert seen


def test_half_a_step_and_the_scales_rounding() -> None:
    """The scale is rounded by 2^-11 at most, so an extreme of 127 steps may be clamped by 127 * 2^-11 steps more."""
    for op, example in examples("kv_append"):
        d = int(example.attrs["head_dim"])
        out = op.reference(example.inputs, example.attrs, example.pos)
        for role in "kv":
            x = new_rows(example.inputs, example.attrs, role)
            x = x.reshape(len(x), -1, d).astype(np.float64)
            scale = out[f"{role}_q_scale"].astype(np.float64)[..., None]
            q = out[f"{role}_q"].reshape(x.shape)
            normal = np.broadcast_to((scale >= SMALLEST_NORMAL) & (scale < LARGEST), x.shape)
            bound = (0.5 + 127 * 2.0**-11 + 1e-3) * np.broadcast_to(scale, x.shape)
            assert (np.abs(x - q * scale) <= bound)[normal].all()
            assert np.abs(q).max() <= 127


def test_only_its_rows_change() -> None:
    for op, example in examples("kv_append"):
        inputs = {r: np.full_like(a, 77) if r in STATES else a for r, a in example.inputs.items()}
        out = op.reference(inputs, example.attrs, example.pos)
        m = example.inputs["k"].shape[0]
        for role in STATES:
            rows = inputs[role][example.pos : example.pos + m]
            assert rows.tobytes() == out[role.replace("_cache", "_q").replace("_scale", "_q_scale")].tobytes()
            others = np.delete(inputs[role], np.s_[example.pos : example.pos + m], axis=0)
            assert (others == 77).all()
