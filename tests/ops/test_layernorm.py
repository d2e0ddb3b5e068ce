"""layernorm: within float32's rounding of the formula, also where the mean is far larger than the spread."""

import numpy as np
import torch
from op_laws import HALF_ULP, check_refuses, check_rows, check_types, examples, run, with_inputs

from edgec.ir.graph import TensorType
from edgec.ops import find


def test_types() -> None:
    check_types("layernorm")
    long = TensorType((1009,), "f32")
    check_refuses("layernorm", x=TensorType((3, 4), "i8"), gain=long, bias=long)


def test_rows() -> None:
    check_rows("layernorm", ("x",))


def test_close_to_the_formula() -> None:
    """The mean is off by k/8 + 4 roundings of the row's largest element, which moves all of it; the rest as rmsnorm.

    Where the spread is below the mean's own error, eps decides: such rows are close to the bias.
    """
    for op, example in examples("layernorm"):
        x, gain, bias = (example.inputs[r].astype(np.float64) for r in ("x", "gain", "bias"))
        y, want = run(op, example)["y"], op.ideal(example.inputs, example.attrs, 0)["y"]
        k = gain.size
        spread = np.sqrt(x.var(-1, keepdims=True) + float(example.attrs["eps"]))
        moved = (k / 8 + 5) * HALF_ULP * np.abs(x).max(-1, keepdims=True) / spread
        bound = 2 * moved * np.abs(gain) + (k / 16 + 16) * HALF_ULP * np.abs(want - bias) * (1 + moved)
        assert (np.abs(y - want) <= bound + 2 * HALF_ULP * np.abs(want) + 1e-37).all()


def test_agrees_with_torch() -> None:
    rng = np.random.default_rng(3)
    x, gain, bias = (rng.normal(size=s).astype(np.float32) for s in ((5, 384), 384, 384))
    y = find("layernorm").reference({"x": x, "gain": gain, "bias": bias}, {"eps": 1e-12}, 0)["y"]
    want = torch.nn.functional.layer_norm(
        *map(torch.from_numpy, (x,)), (384,), *map(torch.from_numpy, (gain, bias)), 1e-12
    )
    assert np.abs(y - want.numpy()).max() < 5e-6


def test_a_constant_row_gives_the_bias_and_a_shift_changes_little() -> None:
    """Powers of two have exact means."""
    for op, example in examples("layernorm"):
        ones = np.full_like(example.inputs["x"], 4.0)
        k = ones.shape[1]
        if k & (k - 1) == 0:
            y = run(op, with_inputs(example, x=ones))["y"]
            assert (y == example.inputs["bias"]).all()
        for zero in (0.0, -0.0):
            y = run(op, with_inputs(example, x=np.full_like(ones, zero)))["y"]
            assert (y == example.inputs["bias"]).all()
