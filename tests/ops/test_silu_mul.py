"""silu_mul: gate * sigmoid(gate) * up within the error of the sigmoid."""

import numpy as np
from op_laws import HALF_ULP, check_refuses, check_rows, check_types, examples, run

from edgec.ir.graph import TensorType
from edgec.ops.silu_mul import operands


def test_types() -> None:
    check_types("silu_mul")
    check_refuses("silu_mul", gate=TensorType((9, 1009), "f32"), up=TensorType((9, 1009), "f32"))


def test_rows() -> None:
    check_rows("silu_mul", ("gate", "up", "gate_up"))


def test_close_to_the_formula() -> None:
    """sigmoid is within 2.36e-5; the three operations behind it round once each, and twins round once more."""
    for op, example in examples("silu_mul"):
        y, want = run(op, example)["y"], op.ideal(example.inputs, example.attrs, 0)["y"]
        gate, up = operands(example.inputs)
        scale = np.abs(up.astype(np.float64) * gate)
        assert (np.abs(y - want) <= (2.36e-5 + 4 * HALF_ULP) * scale + np.finfo(np.float32).tiny).all()


def test_large_gates_pass_and_large_negative_ones_close() -> None:
    for op, example in examples("silu_mul"):
        _, up = operands(example.inputs)
        large = np.full_like(up, 100.0)
        assert np.allclose(op.reference({"gate": large, "up": up}, {}, 0)["y"], 100 * up, rtol=1e-6)
        assert np.abs(op.reference({"gate": -large, "up": up}, {}, 0)["y"]).max() == 0
