"""matmul_w2a8_neureka ... matmul_w8a8_neureka: bit for bit the matmul of the same matrix in the cores' form."""

from __future__ import annotations

import numpy as np
import pytest
from op_laws import check_refuses, check_rows, check_types, examples, run

from edgec.ir.graph import TensorType
from edgec.neureka.encode import decode_1x1, decode_3x3
from edgec.ops import find
from edgec.ops.matmul_w4a8 import bits_of, sum_groups
from edgec.ops.matmul_w4a8_neureka import encode, mode_of, suits
from edgec.ops.op import TypeRuleError
from edgec.packing import n_groups, pack

NAMES = [*(f"matmul_w{bits}a8_neureka" for bits in range(2, 9)), "matmul_w8a8_neureka_1x1"]


@pytest.mark.parametrize("name", NAMES)
def test_types(name: str) -> None:
    check_types(name)
    check_refuses(
        name,
        x=TensorType((3, 1009), "i8"),
        w=TensorType((5, 1009), "u8"),
        w_scale=TensorType((1009, 1), "f16"),
        x_scale=TensorType((1, 1009), "f32"),
    )


@pytest.mark.parametrize("name", NAMES)
def test_rows(name: str) -> None:
    check_rows(name, ("x", "x_scale", "addend"))


@pytest.mark.parametrize("name", NAMES)
def test_it_is_the_cores_matmul(name: str) -> None:
    for op, example in examples(name):
        i, bits = example.inputs, bits_of(name)
        k, size = (int(example.attrs[key]) for key in ("k", "group_size"))
        n = i["w"].shape[0] // n_groups(k, size)
        decode = decode_1x1 if mode_of(name) == "1x1" else decode_3x3
        codes = decode(i["w"].reshape(-1), bits, n, k, size)
        inputs = {r: i[r] for r in ("x", "x_scale", "w_scale", "bias", "addend") if r in i}
        inputs |= {"w": pack(codes, bits, size), "x_sums": sum_groups(i["x"], size)}
        want = find(name.partition("_neureka")[0]).reference(inputs, dict(example.attrs), 0)["y"]
        assert run(op, example)["y"].tobytes() == want.tobytes()


def test_a_known_value() -> None:
    """y = ((8 - 8) * 5 + (15 - 8) * -2) * 0.5 * 2 + 1"""
    inputs = {
        "x": np.array([[5, -2]], np.int8),
        "x_scale": np.array([[2.0]], np.float32),
        "w": encode(np.array([[8, 15]], np.uint8), 4, 2),
        "w_scale": np.array([[0.5]], np.float16),
        "bias": np.array([1.0], np.float32),
    }
    y = find("matmul_w4a8_neureka").reference(inputs, {"k": 2, "group_size": 2}, 0)["y"]
    assert y.tolist() == [[-13.0]]


@pytest.mark.parametrize(
    ("k", "group_size", "fits"),
    [(64, 64, True), (64, 252, True), (64, 32, False), (504, 252, True), (576, 252, False), (756, 504, False)],
)
def test_groups_are_jobs(k: int, group_size: int, fits: bool) -> None:
    assert suits(k, group_size) == fits


def test_a_group_that_is_no_job_is_refused() -> None:
    op = find("matmul_w4a8_neureka")
    types = {"x": TensorType((1, 64), "i8"), "w": TensorType((4, 128), "u8")}
    with pytest.raises(TypeRuleError, match="groups of 32 of 64 inputs are no multiple of 252"):
        op.infer(types, {"k": 64, "group_size": 32})
