"""matmul_w2a8 ... matmul_w8a8: within float32's rounding of the sum over exact integers."""

import numpy as np
import pytest
from op_laws import HALF_ULP, check_refuses, check_rows, check_types, examples, run, with_inputs

from edgec.ir.graph import TensorType
from edgec.ops import find
from edgec.ops.matmul_w4a8 import bits_of
from edgec.ops.op import TypeRuleError
from edgec.packing import n_groups, row_bytes, unpack

NAMES = [f"matmul_w{bits}a8" for bits in range(2, 9)]


@pytest.mark.parametrize("name", NAMES)
def test_types(name: str) -> None:
    check_types(name)
    check_refuses(
        name,
        x=TensorType((3, 1009), "i8"),
        w=TensorType((5, 1009), "u8"),
        w_scale=TensorType((1009, 1), "f16"),
        x_sums=TensorType((1, 1009), "i32"),
        x_scale=TensorType((1, 1009), "f32"),
    )


@pytest.mark.parametrize("name", NAMES)
def test_rows(name: str) -> None:
    check_rows(name, ("x", "x_scale", "x_sums"))


@pytest.mark.parametrize("name", NAMES)
def test_close_to_the_sum(name: str) -> None:
    """One rounding to float32 and two products a group, one addition each, and the bias."""
    for op, example in examples(name):
        i, bits = example.inputs, bits_of(name)
        k, size = int(example.attrs["k"]), int(example.attrs["group_size"])
        group = np.arange(k) // size
        zero = i["w_zero"].astype(np.float64)[:, group] if "w_zero" in i else 2 ** (bits - 1)
        w = (unpack(i["w"], k, bits, size).astype(np.float64) - zero) * i["w_scale"].astype(np.float64)[:, group]
        x = i["x"] * np.broadcast_to(i["x_scale"].astype(np.float64)[:, group], i["x"].shape)
        bias = i.get("bias", np.zeros(len(w))).astype(np.float64)
        want = x @ w.T + bias
        # Inside a group nothing is rounded: what can be lost is relative to the groups' sums.
        parts = [np.abs(x[:, group == g] @ w[:, group == g].T) for g in range(n_groups(k, size))]
        bound = HALF_ULP * ((len(parts) + 6) * sum(parts) + 2 * np.abs(bias)) + 1e-37
        assert (np.abs(run(op, example)["y"] - want) <= bound).all()


@pytest.mark.parametrize("name", NAMES)
def test_zero_points_of_the_middle_change_nothing(name: str) -> None:
    for op, example in examples(name):
        middle = np.full(example.inputs["w_scale"].shape, 2 ** (bits_of(name) - 1), np.uint8)
        inputs = {r: a for r, a in example.inputs.items() if r != "w_zero"}
        without = op.reference(inputs, example.attrs, 0)["y"]
        assert run(op, with_inputs(example, w_zero=middle))["y"].tobytes() == without.tobytes()


def test_an_accumulator_that_can_overflow_is_refused() -> None:
    """127 * 255 * 66,311 is above 2^31; 66,310 is not."""
    op = find("matmul_w8a8")

    def infer(k: int) -> None:
        types = {
            "x": TensorType((1, k), "i8"),
            "x_scale": TensorType((1, 1), "f32"),
            "x_sums": TensorType((1, 1), "i32"),
        }
        types |= {"w": TensorType((4, row_bytes(k, 8, k)), "u8"), "w_scale": TensorType((4, 1), "f16")}
        op.infer(types, {"k": k, "group_size": k})

    infer(66_310)
    with pytest.raises(TypeRuleError, match=r"overflow its 32-bit accumulator"):
        infer(66_312)


def test_extremes_are_exact_integers() -> None:
    """All weights and activations at their extremes: the accumulator is the integer, whatever BLAS does."""
    k, op = 60_000, find("matmul_w8a8")
    inputs = {"x": np.full((1, k), -127, np.int8), "x_scale": np.ones((1, 1), np.float32)}
    inputs |= {"x_sums": np.full((1, 1), -127 * k, np.int32), "w": np.full((1, k), 255, np.uint8)}
    inputs |= {"w_scale": np.ones((1, 1), np.float16)}
    assert op.reference(inputs, {"k": k, "group_size": k}, 0)["y"] == np.float32(-127 * 127 * k)
