"""rope_append: the bits of rope twice, quantize_dynamic and kv_append, and their type rules."""

import numpy as np
from op_laws import check_refuses, check_rows, check_types, examples, run

from edgec.ir.graph import TensorType
from edgec.ops import find

STATES = ("k_cache", "k_scale", "v_cache", "v_scale")


def test_types() -> None:
    check_types("rope_append")
    check_refuses("rope_append", x=TensorType((1, 1009), "f32"), v_scale=TensorType((3, 1009), "f16"))


def test_rows() -> None:
    check_rows("rope_append", ("x",), STATES)


def test_the_bits_of_the_ops_that_it_joins() -> None:
    for op, example in examples("rope_append"):
        attrs, inputs, pos = example.attrs, {r: a.copy() for r, a in example.inputs.items()}, example.pos
        queries, keys = (int(attrs[r]) * int(attrs["head_dim"]) for r in ("n_heads", "n_kv_heads"))
        x, table = inputs["x"], inputs["table"]
        rotated = []
        for first, width in ((0, queries), (queries, keys)):
            columns = {"head_dim": attrs["head_dim"], "unit": attrs["unit"], "first": first, "width": width}
            rotated.append(find("rope").reference({"x": x, "table": table}, columns, pos)["y"])
        inputs |= {"k": rotated[1], "v": np.ascontiguousarray(x[:, queries + keys :])}
        heads = find("quantize_dynamic").reference({"x": rotated[0]}, {"group_size": attrs["head_dim"]}, pos)
        want = {"q": heads["q"], "q_scale": heads["scale"]}
        want |= find("kv_append").reference(inputs, {"head_dim": attrs["head_dim"]}, pos)
        got = run(op, example)
        assert {role: a.tobytes() for role, a in got.items()} == {role: a.tobytes() for role, a in want.items()}
        states = {role: a.copy() for role, a in example.inputs.items()}
        op.reference(states, attrs, pos)
        assert all(states[role].tobytes() == inputs[role].tobytes() for role in STATES)
