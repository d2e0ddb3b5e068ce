"""embed of an encoded table gives the bits of embed of the packed one, and refuses what a job cannot hold."""

from __future__ import annotations

import numpy as np
import pytest
from encoded_codes import codes_of
from op_laws import check_refuses, check_rows, check_types, examples, run

from edgec.ir.graph import TensorType
from edgec.ops import find
from edgec.ops.embed_neureka import fours
from edgec.packing import pack

NAMES = ("embed_neureka", "embed_neureka_1x1")


@pytest.mark.parametrize("name", NAMES)
def test_types(name: str) -> None:
    check_types(name)
    check_refuses(name, w=TensorType((3, 1009), "u8"))
    check_refuses(name, w_scale=TensorType((7, 9), "f16"))


@pytest.mark.parametrize("name", NAMES)
def test_rows(name: str) -> None:
    check_rows(name, ("tokens",))


@pytest.mark.parametrize("name", NAMES)
def test_it_is_embed(name: str) -> None:
    seen = set()
    for op, example in examples(name):
        bits, size = (int(example.attrs[key]) for key in ("bits", "group_size"))
        groups = example.inputs["w_scale"].shape[1]
        packed = {**example.inputs, "w": pack(codes_of(name, bits, example), bits, size)}
        want = find("embed").reference(packed, example.attrs, 0)["y"]
        assert (run(op, example)["y"].view(np.uint32) == want.view(np.uint32)).all()
        seen.add((bits, groups > 1, "w_tail" in example.inputs))
    assert len(seen) > (1 if name.endswith("1x1") else 12)


def test_runs_of_four() -> None:
    """Of a position of the image, whose last run may be short; of a row in 1x1 form."""
    assert [fours(size, "3x3") for size in (1, 9, 36, 37, 252, 504)] == [9, 9, 9, 18, 63, 126]
    assert [fours(size, "1x1") for size in (1, 4, 5, 64)] == [1, 1, 2, 16]
