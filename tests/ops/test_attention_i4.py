"""attention_i4: bit for bit attention over the same integers in an int8 cache."""

import numpy as np
from op_laws import check_refuses, check_rows, check_types, examples, run

from edgec.ir.graph import TensorType
from edgec.ops import find
from edgec.ops.attention import MAX_CONTEXT
from edgec.ops.kv_append_i4 import codes


def test_types() -> None:
    check_types("attention_i4")
    long = TensorType((MAX_CONTEXT + 1, 4), "u8")
    check_refuses("attention_i4", q=TensorType((3, 1009), "f32"), k_cache=long)


def test_rows() -> None:
    check_rows("attention_i4", ("q", "q_scale"))


def test_it_is_attention_over_the_same_integers() -> None:
    for op, example in examples("attention_i4"):
        d = int(example.attrs["head_dim"])
        wide = dict(example.inputs)
        for role in ("k_cache", "v_cache"):
            rows = len(wide[role])
            wide[role] = codes(wide[role].reshape(rows, -1, d // 2)).reshape(rows, -1)
            assert np.abs(wide[role]).max() <= 7
        want = find("attention").reference(wide, example.attrs, example.pos)["y"]
        assert run(op, example)["y"].tobytes() == want.tobytes()
