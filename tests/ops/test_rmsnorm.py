"""rmsnorm: within float32's rounding of the formula, per row or per head."""

import numpy as np
from op_laws import HALF_ULP, check_refuses, check_rows, check_types, examples, run, with_inputs

from edgec.ir.graph import TensorType


def test_types() -> None:
    check_types("rmsnorm")
    check_refuses("rmsnorm", x=TensorType((3, 4), "i8"), gain=TensorType((1009,), "f32"))


def test_rows() -> None:
    check_rows("rmsnorm", ("x",))


def test_close_to_the_formula() -> None:
    """Eight lanes of k/8 additions, a root (half of the sum's error), a few Newton steps and three products."""
    for op, example in examples("rmsnorm"):
        y, want = run(op, example)["y"], op.ideal(example.inputs, example.attrs, 0)["y"]
        k = example.inputs["gain"].size
        bound = (k / 16 + 14) * HALF_ULP * np.abs(want) + 1e-37
        assert (np.abs(y - want) <= bound).all()


def test_a_row_of_zeros_stays_zero_and_heads_are_rows() -> None:
    for op, example in examples("rmsnorm"):
        assert not run(op, with_inputs(example, x=np.zeros_like(example.inputs["x"])))["y"].any()
        k = example.inputs["gain"].size
        heads = with_inputs(example, x=example.inputs["x"].reshape(-1, k))
        assert run(op, heads)["y"].tobytes() == run(op, example)["y"].tobytes()
