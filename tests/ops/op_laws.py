"""What holds for every op, on its own random examples: the type rule tells the truth, rows are independent."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace

import numpy as np
import pytest

from edgec.ir.graph import DTYPES, TensorType
from edgec.ops import find
from edgec.ops.op import Arrays, Example, Op, TypeRuleError

EXAMPLES = 40
NAMES = {kind: name for name, kind in DTYPES.items()}
HALF_ULP = 2.0**-24  # relative rounding error of one float32 operation


def examples(name: str) -> Iterator[tuple[Op, Example]]:
    """The op with 40 of its random examples."""
    op = find(name)
    for seed in range(EXAMPLES):
        yield op, op.example(np.random.default_rng([seed, len(name)]))


def types_of(arrays: Mapping[str, np.ndarray]) -> dict[str, TensorType]:
    return {role: TensorType(a.shape, NAMES[a.dtype]) for role, a in arrays.items()}


def run(op: Op, example: Example) -> Arrays:
    """The reference on copies, so that states of the example stay."""
    return op.reference({r: a.copy() for r, a in example.inputs.items()}, example.attrs, example.pos)


def check_types(name: str) -> None:
    """The reference returns what the type rule promises, finite, and the same again."""
    for op, example in examples(name):
        promised = op.infer(types_of(example.inputs), example.attrs)
        out = run(op, example)
        assert types_of(out) == promised
        assert list(out) == list(promised)
        for role, array in run(op, example).items():
            assert array.tobytes() == out[role].tobytes()
            assert np.isfinite(array.astype(np.float64)).all()


def check_refuses(name: str, **changes: TensorType) -> None:
    """The type rule refuses each of these types in place of a valid one, in one sentence."""
    op, example = next(iter(examples(name)))
    types = types_of(example.inputs)
    for role, wrong in changes.items():
        with pytest.raises(TypeRuleError) as caught:
            op.infer({**types, role: wrong}, example.attrs)
        assert str(caught.value)
        assert "\n" not in str(caught.value)


def check_rows(name: str, per_row: Sequence[str], states: Sequence[str] = ()) -> None:
    """Row by row, and in two pieces, the reference gives the bits of the whole, and leaves the states alike."""
    for op, example in examples(name):
        whole = {r: a.copy() for r, a in example.inputs.items()}
        want = op.reference(whole, example.attrs, example.pos)
        m = next(example.inputs[role].shape[0] for role in per_row if role in example.inputs)
        for size in {1, max(1, m // 2), m}:
            inputs = {r: a.copy() for r, a in example.inputs.items()}
            pieces = []
            for first in range(0, m, size):
                part = {r: a[first : first + size] if r in per_row else a for r, a in inputs.items()}
                pieces.append(op.reference(part, example.attrs, example.pos + first))
            for role, array in want.items():
                assert np.concatenate([p[role] for p in pieces]).tobytes() == array.tobytes()
            for role in states:
                assert inputs[role].tobytes() == whole[role].tobytes()


def with_inputs(example: Example, **inputs: np.ndarray) -> Example:
    return replace(example, inputs={**example.inputs, **inputs})
