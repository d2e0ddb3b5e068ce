"""add_positions: rows of the table from the run's position on."""

import numpy as np
from op_laws import check_refuses, check_rows, check_types, examples, run

from edgec.ir.graph import TensorType


def test_types() -> None:
    check_types("add_positions")
    check_refuses("add_positions", x=TensorType((3, 1009), "f32"), table=TensorType((64, 3), "i16"))


def test_rows() -> None:
    check_rows("add_positions", ("x",))


def test_adds_the_positions_rows() -> None:
    for op, example in examples("add_positions"):
        x, table = example.inputs["x"], example.inputs["table"]
        y = run(op, example)["y"]
        for row in range(x.shape[0]):
            assert (y[row] == x[row] + table[example.pos + row].astype(np.float32)).all()
