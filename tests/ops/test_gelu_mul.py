"""gelu_mul: GELU's tanh formula times up, within float32's rounding."""

from __future__ import annotations

import numpy as np
from op_laws import check_refuses, check_rows, check_types, examples

from edgec.ir.graph import TensorType
from edgec.ops.gelu_mul import gelu_mul, operands


def test_types() -> None:
    check_types("gelu_mul")
    check_refuses("gelu_mul", gate=TensorType((9, 1009), "f32"), up=TensorType((9, 1009), "f32"))


def test_rows() -> None:
    check_rows("gelu_mul", ("gate", "up", "gate_up"))


def test_values() -> None:
    """Against the formula with float64's tanh."""
    for op, example in examples("gelu_mul"):
        gate, up = operands(example.inputs)
        y = op.reference(example.inputs, {}, 0)["y"]
        want = op.ideal(example.inputs, {}, 0)["y"].astype(np.float64)
        # Of large negative gates only the tail is left, which exp's relative error scales; it is absolutely small.
        assert (np.abs(y - want) <= 4e-6 * np.abs(want) + 1e-6 * np.abs(up) * np.minimum(1, np.abs(gate))).all()


def test_extremes() -> None:
    """Neither NaN nor infinity from any finite gate: a huge one passes or vanishes."""
    x = np.array([-3e38, -1e20, -100, 0, 100, 1e20, 3e38], np.float32)
    y = gelu_mul(x, np.ones_like(x))
    assert np.isfinite(y).all() and (y[4:] == x[4:]).all() and (np.abs(y[:4]) <= 2.0).all() and y[3] == 0
