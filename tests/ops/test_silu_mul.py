"""silu_mul: gate * sigmoid(gate) * up within float32's rounding."""

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
    """exp's argument is rounded twice (relative 2^-24 each), the rest is within 2e-6; exp ends at e^88 = 1.6e38."""
    for op, example in examples("silu_mul"):
        y, want = run(op, example)["y"], op.ideal(example.inputs, example.attrs, 0)["y"]
        gate, up = operands(example.inputs)
        scale = np.abs(up) * np.abs(gate)
        relative = 2e-6 + 2 * HALF_ULP * np.abs(gate)
        assert (np.abs(y - want) <= relative * np.abs(want) + scale * 2e-38).all()


def test_large_gates_pass_and_large_negative_ones_close() -> None:
    for op, example in examples("silu_mul"):
        _, up = operands(example.inputs)
        large = np.full_like(up, 100.0)
        assert np.allclose(op.reference({"gate": large, "up": up}, {}, 0)["y"], 100 * up, rtol=1e-6)
        assert np.abs(op.reference({"gate": -large, "up": up}, {}, 0)["y"]).max() < 1e-30
