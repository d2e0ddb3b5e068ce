"""quantize_dynamic: half a step of error per element, exact sums, extremes that reach 127."""

import numpy as np
from op_laws import check_refuses, check_rows, check_types, examples, run, with_inputs

from edgec.ir.graph import TensorType
from edgec.ops.quantize_dynamic import pieces


def test_types() -> None:
    check_types("quantize_dynamic")
    check_refuses("quantize_dynamic", x=TensorType((3, 4), "i8"))


def test_rows() -> None:
    check_rows("quantize_dynamic", ("x",))


def test_pieces() -> None:
    """Groups of several rows, or of many groups; else parts, of which the last of the eight may be empty."""
    assert pieces(3, 64, 32, 4) == 6
    assert pieces(1, 160, 32, 4) == 5
    assert [pieces(1, k, 64, 4) for k in (64, 128, 256)] == [8, 8, 8]
    assert pieces(1, 172, 64, 4) == 6  # of 32
    assert pieces(1, 36, 64, 4) == 5  # of 8
    assert pieces(1, 35, 64, 4) == 1 and pieces(1, 40, 20, 4) == 2  # not in pairs: by groups


def padded(x: np.ndarray, group_size: int) -> np.ndarray:
    """Rows as [m, groups, size], the last group filled with zeros."""
    size = min(group_size, x.shape[1])
    x = np.pad(x, ((0, 0), (0, -x.shape[1] % size)))
    return x.reshape(x.shape[0], -1, size).astype(np.float64)


def test_half_a_step() -> None:
    for op, example in examples("quantize_dynamic"):
        size = int(example.attrs["group_size"])
        out = run(op, example)
        x, q, scale = (
            padded(example.inputs["x"], size),
            padded(out["q"], size),
            out["scale"][..., None].astype(np.float64),
        )
        assert (np.abs(x - q * scale) <= 0.5 * scale * (1 + 1e-4)).all()
        assert np.allclose(scale[..., 0] * 127, np.abs(x).max(-1), rtol=1e-6, atol=1e-37)
        live = scale[..., 0] > 1e-36
        assert (np.abs(q).max(-1)[live] == 127).all()
        assert (out["sums"] == q.sum(-1)).all()


def test_ties_go_to_even_and_zeros_are_zero() -> None:
    op, example = next(iter(examples("quantize_dynamic")))
    x = np.array([[127.0, 0.5, 1.5, 2.5, -0.5, -1.5, -126.5, -127.0]], np.float32)
    out = op.reference({"x": x}, {"group_size": 8}, 0)
    assert out["q"].tolist() == [[127, 0, 2, 2, 0, -2, -126, -127]]
    out = run(op, with_inputs(example, x=np.zeros_like(example.inputs["x"])))
    assert not any(array.any() for array in out.values())
