"""silu_mul_quantize: the bits of silu_mul and then quantize_dynamic, from two inputs or from one."""

import numpy as np
from op_laws import check_refuses, check_rows, check_types, examples, run

from edgec.ir.graph import TensorType
from edgec.ops import find


def test_types() -> None:
    check_types("silu_mul_quantize")
    check_refuses("silu_mul_quantize", gate_up=TensorType((3, 5), "f32"))


def test_rows() -> None:
    check_rows("silu_mul_quantize", ("gate_up", "gate", "up"))


def test_the_bits_of_the_two_ops() -> None:
    for op, example in examples("silu_mul_quantize"):
        y = find("silu_mul").reference(example.inputs, example.attrs, 0)["y"]
        want = find("quantize_dynamic").reference({"x": y}, example.attrs, 0)
        got = run(op, example)
        assert {role: a.tobytes() for role, a in got.items()} == {role: a.tobytes() for role, a in want.items()}


def test_one_input_is_two_halves() -> None:
    for op, example in examples("silu_mul"):
        if "gate_up" in example.inputs:
            gate, up = np.split(example.inputs["gate_up"], 2, axis=1)
            apart = op.reference({"gate": gate, "up": up}, {}, 0)
            assert apart["y"].tobytes() == run(op, example)["y"].tobytes()
