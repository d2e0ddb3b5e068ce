"""load_rows, store_rows: what one run keeps another finds, at its own position."""

import numpy as np
from op_laws import check_refuses, check_rows, check_types, examples, run

from edgec.ir.graph import TensorType
from edgec.ops import find


def test_types() -> None:
    for name in ("load_rows", "store_rows"):
        check_types(name)
        check_refuses(name, rows=TensorType((1, 7), "f16"))
    check_refuses("store_rows", x=TensorType((1, 1009), "f32"))


def test_rows() -> None:
    check_rows("load_rows", ("tokens",))
    check_rows("store_rows", ("x",), ("rows",))


def test_stored_rows_are_loaded() -> None:
    for op, example in examples("store_rows"):
        state = example.inputs["rows"].copy()
        y = op.reference({**example.inputs, "rows": state}, {}, example.pos)["y"]
        m = len(y)
        tokens = np.zeros(m, np.int32)
        assert (
            find("load_rows").reference({"tokens": tokens, "rows": state}, {}, example.pos)["y"].tobytes()
            == y.tobytes()
        )
        before, after = state[: example.pos], state[example.pos + m :]
        assert before.tobytes() == example.inputs["rows"][: example.pos].tobytes()
        assert after.tobytes() == example.inputs["rows"][example.pos + m :].tobytes()


def test_what_is_loaded_is_a_copy() -> None:
    for op, example in examples("load_rows"):
        y = run(op, example)["y"]
        assert not np.shares_memory(op.reference(dict(example.inputs), {}, example.pos)["y"], example.inputs["rows"])
        assert y.shape == (len(example.inputs["tokens"]), example.inputs["rows"].shape[1])
