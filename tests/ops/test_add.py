"""add: IEEE sums, element by element."""

import numpy as np
from op_laws import check_refuses, check_rows, check_types, examples, run

from edgec.ir.graph import TensorType


def test_types() -> None:
    check_types("add")
    check_refuses("add", a=TensorType((7, 1000), "f32"), b=TensorType((7, 1000), "f16"))


def test_rows() -> None:
    check_rows("add", ("a", "b"))


def test_it_is_the_rounded_sum() -> None:
    for op, example in examples("add"):
        a, b = (example.inputs[r].astype(np.float64) for r in "ab")
        assert (run(op, example)["y"] == (a + b).astype(np.float32)).all()
