"""softcap: cap tanh(x / cap), bounded, monotone, and straight near zero."""

from __future__ import annotations

import numpy as np
from op_laws import check_refuses, check_rows, check_types, examples

from edgec.ir.graph import TensorType
from edgec.ops import find
from edgec.ops.numerics import capped


def test_types() -> None:
    check_types("softcap")
    check_refuses("softcap", x=TensorType((2, 3), "i8"))


def test_rows() -> None:
    check_rows("softcap", ("x",))


def test_values() -> None:
    for op, example in examples("softcap"):
        want = op.ideal(example.inputs, example.attrs, 0)["y"]
        got = op.reference(example.inputs, example.attrs, 0)["y"]
        assert np.abs(got - want).max() <= 3e-7 * float(example.attrs["cap"])


def test_bounded_and_monotone() -> None:
    x = np.linspace(-400, 400, 20001, dtype=np.float32)
    y = capped(x, np.float32(30))
    assert (np.diff(y) >= 0).all() and np.abs(y).max() <= 30
    assert capped(np.float32([-3e38, 3e38]), np.float32(30)).tolist() == [-30, 30]
    assert find("softcap").in_place == "x"
