"""matmul_w2a8_neureka ... matmul_w8a8_neureka: bit for bit the matmul of the same matrix in the cores' form."""

from __future__ import annotations

import numpy as np
import pytest
from encoded_codes import codes_of
from op_laws import check_refuses, check_rows, check_types, examples, run

from edgec.ir.graph import TensorType
from edgec.neureka.matrix import Split, encode, encode_apart, splits, suits
from edgec.ops import find
from edgec.ops.matmul_w4a8 import bits_of, sum_groups
from edgec.ops.op import Attrs, TypeRuleError
from edgec.packing import pack

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
        size = int(example.attrs["group_size"])
        inputs = {r: i[r] for r in ("x", "x_scale", "w_scale", "bias", "addend") if r in i}
        inputs |= {"w": pack(codes_of(name, bits, example), bits, size), "x_sums": sum_groups(i["x"], size)}
        want = find(name.partition("_neureka")[0]).reference(inputs, dict(example.attrs), 0)["y"]
        assert run(op, example)["y"].tobytes() == want.tobytes()


@pytest.mark.parametrize("name", NAMES)
def test_some_examples_have_inputs_apart(name: str) -> None:
    found = [{"w_tail", "w_fold"} & set(example.inputs) for _, example in examples(name)]
    if name.endswith("_1x1"):
        assert not any(found)
    else:
        assert all(one in found for one in ({"w_tail"}, {"w_fold"}, {"w_tail", "w_fold"}))


@pytest.mark.parametrize(
    ("k", "group_size", "mode", "found"),
    [
        (256, 256, "3x3", [(4, 0), (0, 4)]),
        (256, 999, "3x3", [(4, 0), (0, 4)]),
        (768, 768, "3x3", [(12, 0), (0, 12)]),
        (288, 288, "3x3", [(36, 0), (0, 36), (8, 28)]),
        (280, 280, "3x3", [(28, 0), (0, 28)]),
        (384, 384, "3x3", [(132, 0), (0, 132)]),  # 20 are not few
        (260, 260, "3x3", [(8, 0), (0, 8)]),
        (504, 504, "3x3", []),
        (64, 64, "3x3", []),  # less than a block
        (258, 258, "3x3", [(0, 6)]),  # not of whole words
        (756, 252, "3x3", []),  # groups of a block
        (768, 256, "3x3", [(4, 0)]),  # several groups
        (512, 128, "3x3", []),
        (256, 256, "1x1", []),
    ],
)
def test_inputs_behind_whole_blocks(k: int, group_size: int, mode: str, found: list[tuple[int, int]]) -> None:
    assert [tuple(split) for split in splits(k, group_size, mode)] == found


def test_the_cores_inputs_are_those_of_the_matrix() -> None:
    op, u = find("matmul_w4a8_neureka"), np.full((3, 260), 9, np.uint8)
    found = encode_apart(u, 4, 260, Split(8))
    w, w_tail = found["w"], found["w_tail"]
    assert w_tail.tolist() == [[1] * 8] * 3 and "w_fold" not in found
    assert w.shape == (3, 128)  # a block of four lines of 32 bytes
    types = {role: TensorType(a.shape, kind) for role, a, kind in (("w", w, "u8"), ("w_tail", w_tail, "i8"))}
    types |= {
        "x": TensorType((1, 260), "i8"),
        "x_scale": TensorType((1, 1), "f32"),
        "w_scale": TensorType((3, 1), "f16"),
    }
    attrs: Attrs = {"k": 260, "group_size": 260}
    assert op.infer(types, attrs)["y"].shape == (1, 3)
    for shape, kind in (((3, 4), "i8"), ((2, 8), "i8"), ((3, 8), "u8")):
        with pytest.raises(TypeRuleError, match=r"w_tail .* is not i8\[3x8\]"):
            op.infer(types | {"w_tail": TensorType(shape, kind)}, attrs)


def test_folded_inputs_are_those_of_the_matrix() -> None:
    """Of 288 inputs 28 are folded and 8 the cores': a filter of four lines for nine channels."""
    op, u = find("matmul_w4a8_neureka"), np.full((10, 288), 9, np.uint8)
    found = encode_apart(u, 4, 288, Split(8, 28))
    assert found["w"].shape == (10, 128) and found["w_fold"].shape == (2, 128) and found["w_tail"].shape == (10, 8)
    kinds = {"w": "u8", "w_tail": "i8", "w_fold": "u8"}
    types = {role: TensorType(a.shape, kinds[role]) for role, a in found.items()}
    types |= {
        "x": TensorType((1, 288), "i8"),
        "x_scale": TensorType((1, 1), "f32"),
        "w_scale": TensorType((10, 1), "f16"),
    }
    attrs: Attrs = {"k": 288, "group_size": 288}
    assert op.infer(types, attrs)["y"].shape == (1, 10)
    for shape in ((10, 128), (2, 256)):
        with pytest.raises(TypeRuleError, match=r"w_fold .* is not u8\[2x128\]"):
            op.infer(types | {"w_fold": TensorType(shape, "u8")}, attrs)
    with pytest.raises(TypeRuleError, match="of 288 in groups of 144"):
        op.infer(types | {"w_scale": TensorType((5, 2), "f16")}, {"k": 288, "group_size": 144})


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
    [(64, 64, True), (64, 252, True), (64, 32, True), (504, 252, True), (576, 252, False), (756, 504, False)],
)
def test_groups_are_jobs(k: int, group_size: int, fits: bool) -> None:
    assert suits(k, group_size) == fits


def test_a_group_that_is_no_job_is_refused() -> None:
    op = find("matmul_w4a8_neureka")
    types = {"x": TensorType((1, 64), "i8"), "w": TensorType((4, 128), "u8")}
    with pytest.raises(TypeRuleError, match="groups of 48 of 64 inputs are not alike"):
        op.infer(types, {"k": 64, "group_size": 48})
    with pytest.raises(TypeRuleError, match="groups of 16 of 64 inputs are not alike and of a multiple of 32"):
        find("matmul_w8a8_neureka_1x1").infer(types, {"k": 64, "group_size": 16})
