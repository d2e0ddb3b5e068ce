"""rmsnorm_quantize: the bits of rmsnorm and then quantize_dynamic."""

from op_laws import check_refuses, check_rows, check_types, examples, run

from edgec.ir.graph import TensorType
from edgec.ops import find


def test_types() -> None:
    check_types("rmsnorm_quantize")
    check_refuses("rmsnorm_quantize", x=TensorType((3, 4), "i8"), gain=TensorType((1009,), "f32"))


def test_rows() -> None:
    check_rows("rmsnorm_quantize", ("x",))


def test_the_bits_of_the_two_ops() -> None:
    for op, example in examples("rmsnorm_quantize"):
        y = find("rmsnorm").reference(example.inputs, example.attrs, 0)["y"]
        want = find("quantize_dynamic").reference({"x": y}, example.attrs, 0)
        got = run(op, example)
        assert {role: a.tobytes() for role, a in got.items()} == {role: a.tobytes() for role, a in want.items()}
