"""matmul_w2a8 ... matmul_w8a8: within float32's rounding of the sum over exact integers."""

from dataclasses import replace

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
    check_rows(name, ("x", "x_scale", "x_sums", "addend"))


@pytest.mark.parametrize("name", NAMES)
def test_close_to_the_sum(name: str) -> None:
    """One rounding to float32 and two products a group, one addition each, the bias and the addend."""
    for op, example in examples(name):
        i, bits = example.inputs, bits_of(name)
        k, size = int(example.attrs["k"]), int(example.attrs["group_size"])
        group = np.arange(k) // size
        zero = i["w_zero"].astype(np.float64)[:, group] if "w_zero" in i else 2 ** (bits - 1)
        least = i["w_min"].astype(np.float64)[:, group] if "w_min" in i else 0.0
        u, scale = unpack(i["w"], k, bits, size).astype(np.float64), i["w_scale"].astype(np.float64)[:, group]
        w = u * scale + least if "w_min" in i else (u - zero) * scale
        x = i["x"] * np.broadcast_to(i["x_scale"].astype(np.float64)[:, group], i["x"].shape)
        bias = i.get("bias", np.zeros(len(w))) + i.get("addend", np.zeros((1, len(w)))).astype(np.float64)
        want = x @ w.T + bias
        magnitude = np.abs(i.get("bias", np.zeros(len(w)))) + np.abs(i.get("addend", np.zeros((1, len(w)))))
        # Inside a group nothing is rounded: what can be lost is relative to the groups' sums.
        parts = [np.abs(x[:, group == g] @ w[:, group == g].T) for g in range(n_groups(k, size))]
        if "w_min" in i:  # products that may cancel: the bound is relative to each
            parts = [
                np.abs(x[:, at] @ ((u - zero) * scale)[:, at].T)
                + np.abs(x[:, at].sum(axis=1)[:, None] * (np.abs(zero * scale) + np.abs(least))[:, at][:, 0])
                for at in (group == g for g in range(n_groups(k, size)))
            ]
        behind = 3 + len(parts) if "w_min" in i else 3  # roundings of sums that hold bias or addend
        bound = HALF_ULP * ((len(parts) + behind + 4) * sum(parts) + behind * magnitude) + 1e-37
        assert (np.abs(run(op, example)["y"] - want) <= bound).all()


@pytest.mark.parametrize("name", NAMES)
def test_zero_points_of_the_middle_change_nothing(name: str) -> None:
    for op, example in examples(name):
        middle = np.full(example.inputs["w_scale"].shape, 2 ** (bits_of(name) - 1), np.uint8)
        inputs = {r: a for r, a in example.inputs.items() if r not in ("w_zero", "w_min")}
        example = replace(example, inputs=inputs)
        without = op.reference(inputs, example.attrs, 0)["y"]
        assert run(op, with_inputs(example, w_zero=middle))["y"].tobytes() == without.tobytes()


@pytest.mark.parametrize("name", NAMES)
def test_a_minimum_that_is_a_zero_point_is_that_zero_point(name: str) -> None:
    """w_scale a power of two, w_min = -zero * w_scale: both forms are the same exact weights and sums."""
    for op, example in examples(name):
        shape = example.inputs["w_scale"].shape
        zero = np.random.default_rng(1).integers(0, 2 ** bits_of(name), shape).astype(np.uint8)
        fixed = {r: a for r, a in example.inputs.items() if r not in ("w_zero", "w_min", "bias")}
        fixed |= {"w_scale": np.full(shape, 0.5, np.float16), "x_scale": np.ones_like(fixed["x_scale"])}
        by_zero = op.reference(fixed | {"w_zero": zero}, example.attrs, 0)["y"]
        by_min = op.reference(fixed | {"w_min": (zero * -0.5).astype(np.float16)}, example.attrs, 0)["y"]
        np.testing.assert_array_equal(by_min, by_zero)


def test_zero_points_and_minima_exclude_each_other() -> None:
    for name in ("matmul_w4a8", "embed"):
        for op, example in examples(name):
            sides = example.inputs["w_scale"].shape
            types = {r: TensorType(a.shape, "f32") for r, a in example.inputs.items()}
            types |= {"w_zero": TensorType(sides, "u8"), "w_min": TensorType(sides, "f16")}
            with pytest.raises(TypeRuleError, match="not both"):
                op.infer(types, example.attrs)


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
