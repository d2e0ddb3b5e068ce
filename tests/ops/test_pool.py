"""pool: the mean or the first row of a text, in runs of any size."""

import numpy as np
import pytest
from op_laws import HALF_ULP, check_refuses, check_types, examples

from edgec.ir.graph import TensorType
from edgec.ops import find
from edgec.ops.op import TypeRuleError


def test_types() -> None:
    check_types("pool")
    check_refuses("pool", sum=TensorType((2, 7), "f32"))
    x, total = TensorType((3, 7), "f32"), TensorType((1, 7), "f32")
    with pytest.raises(TypeRuleError, match="mean or first, not max"):
        find("pool").infer({"x": x, "sum": total}, {"mode": "max"})


@pytest.mark.parametrize("mode", ["mean", "first"])
def test_runs_of_any_size_give_the_same_bits(mode: str) -> None:
    rng = np.random.default_rng(4)
    for _ in range(20):
        n, k = int(rng.integers(1, 40)), int(rng.integers(1, 30))
        x = rng.normal(size=(n, k)).astype(np.float32)
        seen = set()
        for rows in (1, 3, 16, 40):
            total, y = rng.normal(size=(1, k)).astype(np.float32), np.zeros(0)
            for pos in range(0, n, rows):
                y = find("pool").reference({"x": x[pos : pos + rows], "sum": total}, {"mode": mode}, pos)["y"]
            seen.add(y.tobytes())
            want = x.astype(np.float64).mean(0) if mode == "mean" else x[0]
            assert np.abs(y[0] - want).max() <= (n + 2) * HALF_ULP * np.abs(x).sum(0).max()
        assert len(seen) == 1


def test_zeros_have_one_sign() -> None:
    zeros = np.full((2, 3), -0.0, np.float32)
    y = find("pool").reference({"x": zeros, "sum": zeros[:1].copy()}, {"mode": "mean"}, 0)["y"]
    assert y.tobytes() == np.zeros((1, 3), np.float32).tobytes()


def test_a_text_starts_anew() -> None:
    for op, example in examples("pool"):
        if example.pos == 0:
            other = np.full_like(example.inputs["sum"], 77)
            got = [op.reference({**example.inputs, "sum": s.copy()}, example.attrs, 0)["y"] for s in (other, -other)]
            assert got[0].tobytes() == got[1].tobytes()
