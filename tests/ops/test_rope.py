"""rope: a rotation by the position's angles, up to the table's rounding."""

import numpy as np
from op_laws import check_refuses, check_rows, check_types, examples, run

from edgec.ir.graph import TensorType
from edgec.ops.rope import ONE, columns, table


def test_types() -> None:
    check_types("rope")
    check_refuses("rope", x=TensorType((3, 1009), "f32"), table=TensorType((64, 3), "i16"))


def test_rows() -> None:
    check_rows("rope", ("x",))


def test_close_to_the_rotation() -> None:
    """cos and sin are off by half a unit of the table, so an element by at most that times |a| + |b|."""
    for op, example in examples("rope"):
        first, width = columns(example.attrs, example.inputs["x"].shape[1])
        d, x = int(example.attrs["head_dim"]), example.inputs["x"][:, first : first + width].astype(np.float64)
        m = x.shape[0]
        angles = (example.pos + np.arange(m))[:, None] * 10000.0 ** (-2 * np.arange(d // 2) / d)
        c, s = np.cos(angles)[:, None], np.sin(angles)[:, None]
        a, b = np.split(x.reshape(m, -1, d), 2, axis=-1)
        want = np.concatenate([a * c - b * s, b * c + a * s], axis=-1)
        bound = np.tile((np.abs(a) + np.abs(b)) * (0.5 / ONE + 1e-6), 2)
        assert (np.abs(run(op, example)["y"].reshape(want.shape) - want) <= bound).all()


def test_position_zero_turns_nothing_and_the_table_is_symmetric() -> None:
    rows = table((1.0, 0.1, 0.01), 2000)
    assert rows[0].tolist() == [ONE, ONE, ONE, 0, 0, 0]
    assert np.abs(rows.astype(np.int32)).max() == ONE
    radius = np.hypot(rows[:, :3].astype(float), rows[:, 3:].astype(float))
    assert np.abs(radius - ONE).max() < 0.75
