"""matmul_w2a8_silu_neureka ... : bit for bit the cores' matmul of gate and up, silu_mul, quantize_dynamic."""

from __future__ import annotations

import pytest
from encoded_codes import codes_of
from op_laws import check_refuses, check_types, examples, run

from edgec.ir.graph import TensorType
from edgec.ops import find
from edgec.ops.matmul_w4a8 import bits_of, sum_groups
from edgec.packing import pack

NAMES = [*(f"matmul_w{bits}a8_silu_neureka" for bits in range(2, 9)), "matmul_w8a8_silu_neureka_1x1"]


@pytest.mark.parametrize("name", NAMES)
def test_types(name: str) -> None:
    check_types(name)
    check_refuses(name, x=TensorType((3, 1009), "i8"), w=TensorType((5, 1009), "u8"))
    check_refuses(name, w_scale=TensorType((1009, 1), "f16"), addend=TensorType((3, 4), "f32"))


@pytest.mark.parametrize("name", NAMES)
def test_it_is_the_three_ops(name: str) -> None:
    for op, example in examples(name):
        i, bits = example.inputs, bits_of(name)
        size = int(example.attrs["group_size"])
        n = i["w_scale"].shape[0]
        inputs = {r: i[r] for r in ("x", "x_scale", "w_scale", "bias") if r in i}
        inputs |= {"w": pack(codes_of(name, bits, example), bits, size)}
        inputs |= {"x_sums": sum_groups(i["x"], size)}
        y = find(f"matmul_w{bits}a8").reference(inputs, dict(example.attrs), 0)["y"]
        v = find("silu_mul").reference({"gate": y[:, : n // 2], "up": y[:, n // 2 :]}, {}, 0)["y"]
        want = find("quantize_dynamic").reference({"x": v}, {"group_size": example.attrs["out_group"]}, 0)
        got = run(op, example)
        assert {role: a.tobytes() for role, a in got.items()} == {role: a.tobytes() for role, a in want.items()}
