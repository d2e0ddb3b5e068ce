"""Every C kernel gives its NumPy twin's bits, on any number of cores in any order, and writes nothing else."""

from __future__ import annotations

import ctypes
import zlib

import numpy as np
import pytest
from case_values import positions
from kernel_cases import CASES, USED_UP
from kernel_library import Args, assert_same, call, twin

from edgec.ops import kernels

BLOCKS, BLOCK = 4, 16  # tests a kernel, and cases a test
N_CORES = (1, 2, 3, 8)
# Arguments that may share memory, as the headers say.
IN_PLACE = [
    ("add", {"y": "a"}),
    ("add", {"y": "b"}),
    ("add", {"b": "a", "y": "a"}),
    ("gelu_mul", {"y": "gate"}),
    ("gelu_mul", {"y": "up"}),
    ("silu_mul", {"y": "gate"}),
    ("silu_mul", {"y": "up"}),
    *((name, {"y": "x"}) for name in ("rmsnorm", "layernorm", "gelu_tanh", "gelu_erf", "add_positions", "softcap")),
    ("copy_rows", {"y": "x"}),
    ("rope", {"y": "x"}),
    *((f"matmul_w{bits}a8", {"y": "addend"}) for bits in range(2, 9)),
    ("matmul_w4a8_2_4", {"y": "addend"}),
    *((f"matmul_w{bits}a8_neureka", {"y": "addend"}) for bits in (2, 4, 8)),
]


def _case(name: str, seed: int) -> Args:
    return CASES[name](np.random.default_rng([seed, zlib.crc32(name.encode())]))


def test_every_kernel_has_cases() -> None:
    """A new kernel needs random arguments here."""
    assert set(CASES) == {k.name for k in kernels()}


@pytest.mark.parametrize("block", range(BLOCKS))
@pytest.mark.parametrize("name", sorted(CASES))
def test_bits(library: ctypes.CDLL, name: str, block: int) -> None:
    """Same bytes in all arrays, unwritten places included."""
    for seed in range(block * BLOCK, (block + 1) * BLOCK):
        _compare(library, name, _case(name, seed))


def _compare(library: ctypes.CDLL, name: str, args: Args) -> None:
    want = twin(name, args)
    for n_cores in N_CORES:
        got = call(library, name, args, n_cores)
        if name in USED_UP:
            length, rows = positions(args), args["m"] * args["n_heads"]
            for found in (got, want):
                found["s"] = found["s"].copy()
                found["s"][: rows * args["lds"]].reshape(rows, -1)[:, :length] = 0
        assert_same(name, got, want)


@pytest.mark.parametrize("seed", range(20))
@pytest.mark.parametrize(("name", "same"), IN_PLACE)
def test_in_place(library: ctypes.CDLL, name: str, same: dict[str, str], seed: int) -> None:
    """The same bits where the output is an input's memory."""
    args = _case(name, seed)
    if args.get("ldx", 0) not in (0, args.get("k"), args.get("heads", 0) * args.get("head_dim", 0)):
        pytest.skip("rows of x are not next to each other")
    if "addend" in same.values():
        args["addend"] = np.linspace(-1, 1, args["m"] * args.get("ldy", args["n"]), dtype=np.float32)
        args["y"] = args["addend"].copy()  # what lies between the rows stays
    args.update({new: args[old] for new, old in same.items() if new != "y"})
    args["y"] = args["y"][: args[same["y"]].size]
    want = twin(name, args)
    for n_cores in N_CORES:
        got = call(library, name, args, n_cores, same)
        assert_same(name, {**want, "y": got["y"]}, want)


def test_softmax_uses_up_nothing_else(library: ctypes.CDLL) -> None:
    """A position that a row does not see, and its score, do not change the row."""
    args = _case("attention_softmax", 3)
    want = call(library, "attention_softmax", args, 1)
    rows = args["s"].reshape(args["m"], args["n_heads"], args["lds"])
    for row in range(args["m"]):
        rows[row, :, args["pos"] + row + 1 :] = 1e6
    got = call(library, "attention_softmax", args, 1)
    assert (got["p"] == want["p"]).all() and (got["p_scale"] == want["p_scale"]).all()
