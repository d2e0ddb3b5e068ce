"""matmul_w2a8_mlp_neureka ... : bit for bit gate, up and SiLU in one call, and down behind it."""

from __future__ import annotations

import pytest
from op_laws import check_refuses, check_types, examples, run

from edgec.ir.graph import TensorType
from edgec.ops import find
from edgec.ops.matmul_w4a8_mlp_neureka import DOWN, GATED, parts_of
from edgec.ops.matmul_w4a8_silu_neureka import grouped

NAMES = [*(f"matmul_w{bits}a8_mlp_neureka" for bits in range(2, 9)), "matmul_w8a8_mlp_neureka_1x1"]


@pytest.mark.parametrize("name", NAMES)
def test_types(name: str) -> None:
    check_types(name)
    check_refuses(name, x=TensorType((1, 1009), "i8"), w=TensorType((5, 1009), "u8"))
    check_refuses(name, down_scale=TensorType((1009, 1), "f16"))
    check_refuses(name, addend=TensorType((1, 1009), "f32"))


@pytest.mark.parametrize("name", NAMES)
def test_only_of_one_row(name: str) -> None:
    _, example = next(iter(examples(name)))
    k = example.inputs["x"].shape[1]
    groups = example.inputs["x_scale"].shape[1]
    check_refuses(name, x=TensorType((2, k), "i8"), x_scale=TensorType((2, groups), "f32"))


@pytest.mark.parametrize("name", NAMES)
def test_it_is_the_two_ops(name: str) -> None:
    for op, example in examples(name):
        i, (gated, down) = example.inputs, parts_of(name)
        made = find(gated).reference({r: i[r] for r in GATED if r in i}, dict(example.attrs), 0)
        attrs = {"k": made["q"].shape[1], "group_size": example.attrs["out_group"]}
        given = {r: i[mine] for r, mine in DOWN.items() if mine in i}
        want = find(down).reference({**given, "x": made["q"], "x_scale": made["scale"]}, attrs, 0)
        assert run(op, example)["y"].tobytes() == want["y"].tobytes()


def test_few_long_groups_are_multiplied_one_by_one() -> None:
    assert grouped(756, 252) and grouped(512, 128)
    assert not any((grouped(252, 252), grouped(756, 756), grouped(256, 64), grouped(1260, 252), grouped(387, 129)))
