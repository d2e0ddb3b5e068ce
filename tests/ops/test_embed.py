"""embed: (u - zero) * scale exactly, or u * scale + minimum rounded once, of the right rows."""

import numpy as np
from op_laws import check_refuses, check_rows, check_types, examples, run

from edgec.ir.graph import TensorType
from edgec.packing import unpack


def test_types() -> None:
    check_types("embed")
    check_refuses("embed", w=TensorType((3, 1009), "u8"))


def test_rows() -> None:
    check_rows("embed", ("tokens",))


def test_it_is_exact() -> None:
    """A weight of at most 9 bits times a binary16 of 11 is a float32; their sum with a minimum is rounded to one."""
    for op, example in examples("embed"):
        k, bits, size = (int(example.attrs[key]) for key in ("k", "bits", "group_size"))
        rows = example.inputs["tokens"]
        u = unpack(example.inputs["w"], k, bits, size)[rows].astype(np.float64)
        group = np.arange(k) // size
        scale = example.inputs["w_scale"][rows].astype(np.float64)[:, group]
        zero = (
            example.inputs["w_zero"][rows].astype(np.float64)[:, group]
            if "w_zero" in example.inputs
            else 2 ** (bits - 1)
        )
        want = (u - zero) * scale
        if "w_min" in example.inputs:
            want = (u * scale + example.inputs["w_min"][rows].astype(np.float64)[:, group]).astype(np.float32)
        want = want.astype(np.float32) * np.float32(example.attrs.get("factor", 1.0))
        assert (run(op, example)["y"] == want).all()
