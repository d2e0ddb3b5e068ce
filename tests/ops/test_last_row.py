"""last_row: the last row, bit for bit, as a copy."""

from op_laws import check_refuses, check_types, examples

from edgec.ir.graph import TensorType


def test_types() -> None:
    check_types("last_row")
    check_refuses("last_row", x=TensorType((3, 4), "i8"))


def test_it_is_the_last_row() -> None:
    for op, example in examples("last_row"):
        y = op.reference(example.inputs, example.attrs, 0)["y"]
        assert y.tobytes() == example.inputs["x"][-1].tobytes()
        assert y.base is not example.inputs["x"]
