"""kv_append_i4: the cache's rows are the new heads within half a step of a binary16 scale; nothing else changes."""

import numpy as np
from op_laws import check_refuses, check_rows, check_types, examples

from edgec.ir.graph import TensorType
from edgec.ops.kv_append import new_rows
from edgec.ops.kv_append_i4 import codes, quantize_heads

SMALLEST_NORMAL, LARGEST = 2.0**-14, 65504.0
STATES = ("k_cache", "k_scale", "v_cache", "v_scale")


def test_types() -> None:
    check_types("kv_append_i4")
    check_refuses("kv_append_i4", k=TensorType((1, 1009), "f32"), v_scale=TensorType((3, 1009), "f16"))


def test_rows() -> None:
    check_rows("kv_append_i4", ("k", "v"), STATES)


def test_bytes_by_hand() -> None:
    """Elements 0 and 2 share the first byte, 1 and 3 the second; 7 steps are the largest magnitude."""
    packed, scale = quantize_heads(np.array([[7.0, -3.0, 0.6, -7.0]], np.float32))
    assert scale.tolist() == [1.0]
    assert packed.tolist() == [[15 | 9 << 4, 5 | 1 << 4]]
    assert codes(packed).tolist() == [[7, -3, 1, -7]]


def test_half_a_step_and_the_scales_rounding() -> None:
    """The scale is rounded by 2^-11 at most, so an extreme of 7 steps may be clamped by 7 * 2^-11 steps more."""
    for op, example in examples("kv_append_i4"):
        d = int(example.attrs["head_dim"])
        out = op.reference(example.inputs, example.attrs, example.pos)
        for role in "kv":
            x = new_rows(example.inputs, example.attrs, role)
            x = x.reshape(len(x), -1, d).astype(np.float64)
            scale = out[f"{role}_q_scale"].astype(np.float64)[..., None]
            q = codes(out[f"{role}_q"].reshape(*x.shape[:2], d // 2))
            normal = np.broadcast_to((scale >= SMALLEST_NORMAL) & (scale < LARGEST), x.shape)
            bound = (0.5 + 7 * 2.0**-11 + 1e-3) * np.broadcast_to(scale, x.shape)
            assert (np.abs(x - q * scale) <= bound)[normal].all()
            assert np.abs(q).max() <= 7


def test_only_its_rows_change() -> None:
    for op, example in examples("kv_append_i4"):
        inputs = {r: np.full_like(a, 77) if r in STATES else a for r, a in example.inputs.items()}
        out = op.reference(inputs, example.attrs, example.pos)
        m = example.inputs["k"].shape[0]
        for role in STATES:
            rows = inputs[role][example.pos : example.pos + m]
            assert rows.tobytes() == out[role.replace("_cache", "_q").replace("_scale", "_q_scale")].tobytes()
            assert (np.delete(inputs[role], np.s_[example.pos : example.pos + m], axis=0) == 77).all()
