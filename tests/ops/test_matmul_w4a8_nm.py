"""matmul_w2a8_nm ... matmul_w8a8_nm: bit for bit the dense matmul of the same matrix with its zeros."""

from __future__ import annotations

import numpy as np
import pytest
import tiny_models
from op_laws import check_refuses, check_rows, check_types, examples, run

from edgec.cost.engine import call_cycles
from edgec.ir.graph import TensorType
from edgec.ops import find
from edgec.ops.matmul_w4a8 import bits_of, sum_groups
from edgec.ops.op import TypeRuleError
from edgec.packing import pack
from edgec.packing_nm import spread, unpack_codes, unpack_places
from edgec.target import load_target

NAMES = [f"matmul_w{bits}a8_nm" for bits in range(2, 9)]


@pytest.mark.parametrize("name", NAMES)
def test_types(name: str) -> None:
    check_types(name)
    check_refuses(
        name,
        x=TensorType((3, 1009), "i8"),
        w=TensorType((5, 1009), "u8"),
        w_pos=TensorType((5, 1009), "u8"),
        w_scale=TensorType((1009, 1), "f16"),
        x_scale=TensorType((1, 1009), "f32"),
    )


@pytest.mark.parametrize("name", NAMES)
def test_rows(name: str) -> None:
    check_rows(name, ("x", "x_scale", "addend"))


@pytest.mark.parametrize("name", NAMES)
def test_it_is_the_dense_matmul(name: str) -> None:
    for op, example in examples(name):
        i, bits = example.inputs, bits_of(name)
        k, size, removed, of = (int(example.attrs[key]) for key in ("k", "group_size", "removed", "of"))
        group = np.arange(k) // size
        middle = np.full(i["w_scale"].shape, 2 ** (bits - 1), np.uint8)
        zero = i.get("w_zero", middle)
        codes = unpack_codes(i["w"], k, bits, size, (removed, of)).astype(np.float32)
        places = unpack_places(i["w_pos"], k, size, (removed, of))
        kept = spread(np.ones_like(codes), places, of) > 0
        dense = np.where(kept, spread(codes, places, of), zero[:, group]).astype(np.uint8)
        inputs = {r: i[r] for r in ("x", "x_scale", "w_scale", "bias", "addend") if r in i}
        inputs |= {"w": pack(dense, bits, size), "w_zero": zero, "x_sums": sum_groups(i["x"], size)}
        want = find(name.removesuffix("_nm")).reference(inputs, {"k": k, "group_size": size}, 0)["y"]
        assert run(op, example)["y"].tobytes() == want.tobytes()


@pytest.mark.parametrize(("removed", "of"), [(1, 8), (1, 16), (2, 8), (3, 8)])
def test_patterns_that_save_nothing_or_are_unknown_are_refused(removed: int, of: int) -> None:
    op, example = next(iter(examples("matmul_w4a8_nm")))
    types = {r: TensorType(a.shape, "f32") for r, a in example.inputs.items()}
    with pytest.raises(TypeRuleError, match="no packed form"):
        op.infer(types, {**example.attrs, "removed": removed, "of": of})


def test_windows_must_divide_groups() -> None:
    op, example = next(iter(examples("matmul_w4a8_nm")))
    types = {r: TensorType(a.shape, "f32") for r, a in example.inputs.items()}
    with pytest.raises(TypeRuleError, match="do not divide"):
        op.infer(types, {"k": 64, "group_size": 20, "removed": 4, "of": 8})


def test_a_kept_weight_costs_more_than_a_dense_one_and_less_for_four_rows() -> None:
    """2:4 halves the multiplications; what it costs one row to find their inputs is more than that saves."""
    target = tiny_models.plain(load_target("siracusa"))
    numbers = {"n": 64, "k": 1024, "group_size": 1024, "ldy": 64}
    dense, packed = (
        [call_cycles(target, name, {"m": m, **numbers}) for m in (1, 4)] for name in ("matmul_w4a8", "matmul_w4a8_2_4")
    )
    assert 1.1 < packed[0] / dense[0] < 1.4
    assert 0.6 < packed[1] / dense[1] < 0.9
    assert find("matmul_w4a8_nm").kernels[1].work({"m": 1, **numbers}).macs == 64 * 512
