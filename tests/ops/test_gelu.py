"""gelu: both forms within 3e-7 of their formulas, over all that a network computes."""

import numpy as np
import pytest
import torch
from op_laws import HALF_ULP, check_refuses, check_rows, check_types, examples, run

from edgec.ir.graph import TensorType
from edgec.ops import find
from edgec.ops.gelu import gelu
from edgec.ops.op import TypeRuleError


def test_types() -> None:
    check_types("gelu")
    check_refuses("gelu", x=TensorType((3, 4), "i8"))
    with pytest.raises(TypeRuleError, match="tanh or erf, not sigmoid"):
        find("gelu").infer({"x": TensorType((3, 4), "f32")}, {"form": "sigmoid"})


def test_rows() -> None:
    check_rows("gelu", ("x",))


def test_close_to_the_formula() -> None:
    """exp's argument is rounded (relative 2^-24 of up to 88) and exp is within 4e-6; erf's polynomial within 6.8e-8."""
    for op, example in examples("gelu"):
        y, want = run(op, example)["y"], op.ideal(example.inputs, example.attrs, 0)["y"]
        bound = 6e-7 * np.abs(want) + 1.6e-7 + np.abs(example.inputs["x"]) * 1e-38
        assert (np.abs(y - want) <= bound).all()


@pytest.mark.parametrize(("form", "error"), [("erf", 2.5e-7), ("tanh", 1.5e-7)])
def test_largest_error(form: str, error: float) -> None:
    """What docs/numerics.md says: on a dense line, absolute up to 1, relative above."""
    x = np.linspace(-12, 12, 2**20 + 1, dtype=np.float32)
    want = find("gelu").ideal({"x": x}, {"form": form}, 0)["y"]
    off = np.abs(gelu(x, form).astype(np.float64) - want) / np.maximum(1.0, np.abs(want))
    assert off.max() < error
    assert np.abs(gelu(x, form)[x > 6] / x[x > 6] - 1).max() <= 2 * HALF_ULP


@pytest.mark.parametrize(("form", "name"), [("erf", "none"), ("tanh", "tanh")])
def test_agrees_with_torch(form: str, name: str) -> None:
    x = np.random.default_rng(5).normal(size=4096).astype(np.float32) * 3
    want = torch.nn.functional.gelu(torch.from_numpy(x), approximate=name).numpy()
    assert np.abs(gelu(x, form) - want).max() < 2e-6


@pytest.mark.parametrize("form", ["erf", "tanh"])
def test_far_inputs_pass_or_vanish(form: str) -> None:
    x = np.array([50.0, 1e6, 1e25, -50.0, -1e6, 0.0], np.float32)
    y = gelu(x, form)
    assert (y[:3] == x[:3]).all()
    assert np.abs(y[3:]).max() < 1e-30
