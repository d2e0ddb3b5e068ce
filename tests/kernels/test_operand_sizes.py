"""What check() says that a kernel touches is what its header says and what its twin needs, to the element."""

from __future__ import annotations

import re
import zlib

import numpy as np
import pytest
from case_values import Args
from kernel_cases import CASES
from kernel_library import ROOT, assert_same, twin

from edgec.ir.graph import DTYPES
from edgec.memory.operand_sizes import SHAPES, operand_bytes, shapes
from edgec.ops import kernel, kernel_module, kernels
from edgec.ops.matmul_w4a8_neureka import call_numbers

SEEDS = 24
NAMES = [k.name for k in kernels()]
# Operands that the twin does not follow: the accelerator's sums, and what comes of them where that is quantised.
UNFOLLOWED = {
    "acc": ("matmul_w4a8_neureka", "matmul_w4a8_silu_neureka", "matmul_w4a8_mlp_neureka"),
    "y": ("matmul_w4a8_silu_neureka",),
} | dict.fromkeys(("v", "q", "scale", "down_acc"), ("matmul_w4a8_mlp_neureka",))
UNFOLLOWED["fold_acc"] = UNFOLLOWED["acc"]
UNFOLLOWED |= dict.fromkeys(("lines", "sums"), ("attention_neureka",))


def exact(name: str, seed: int) -> Args:
    """Random arguments, every array as long as the kernel touches it."""
    args = CASES[name](np.random.default_rng([seed, zlib.crc32(name.encode())]))
    for operand, (size, _) in operand_bytes(name, args).items():
        if args.get(operand) is not None:
            args[operand] = args[operand][: size // args[operand].itemsize]
            assert args[operand].nbytes == size, (name, operand)
    return args


def header_shapes(name: str) -> dict[str, str]:
    """The comment beside every pointer of a kernel's arguments."""
    module = kernel_module(name)
    text = (ROOT / module / f"{module}.h").read_text()
    structs = {n: body for body, n in re.findall(r"typedef struct \{([^}]*)\} edgec_(\w+)_args;", text)}
    body = structs.get(name) or next(iter(structs.values()))
    return dict(re.findall(r"\*(\w+); +/\* (\[.*?) ?\*/", body))


def test_no_shape_without_a_kernel() -> None:
    assert set(SHAPES) <= {*NAMES, *map(kernel_module, NAMES)}


@pytest.mark.parametrize("name", NAMES)
def test_the_header_says_the_same(name: str) -> None:
    stated = header_shapes(name)
    assert set(shapes(name)) >= set(stated) == {p.name for p in kernel(name).params if p.is_pointer}
    for operand, comment in stated.items():
        shape = shapes(name)[operand]
        assert comment.startswith(shape.partition(" of which ")[0]), operand
        if " of which " in comment:
            assert comment.startswith(shape), operand


@pytest.mark.parametrize("name", NAMES)
def test_the_twin_needs_no_more_and_no_less(name: str) -> None:
    """Nothing behind an exact array changes a bit, and without an array's last element the twin fails."""
    needed = set()
    for seed in range(SEEDS):
        args = exact(name, seed)
        longer = {
            k: np.concatenate([v, np.ones(3, v.dtype)]) if isinstance(v, np.ndarray) else v for k, v in args.items()
        }
        want = twin(name, longer)
        assert_same(name, twin(name, args), {k: v[:-3] if isinstance(v, np.ndarray) else v for k, v in want.items()})
        for operand in (p.name for p in kernel(name).params if p.is_pointer and args.get(p.name) is not None):
            try:  # a row of two elements less one is one that NumPy repeats: not every case shows it
                twin(name, {**args, operand: args[operand][:-1]})
            except (ValueError, IndexError):
                needed.add(operand)
    operands = {p.name for p in kernel(name).params if p.is_pointer}
    operands -= {"w_tail", "w_fold"} if name.endswith("_1x1") else set()  # whose inputs are all the accelerator's
    assert needed == {o for o in operands if kernel_module(name) not in UNFOLLOWED.get(o, ())}


@pytest.mark.parametrize("tile", [31, 40, 95])
def test_tiles_are_whole_passes(tile: int) -> None:
    def acc(n: int, tile: int, first: int) -> tuple[int, int]:
        numbers = call_numbers("matmul_w4a8_neureka", n, 252, 252, tile, first)
        return operand_bytes("matmul_w4a8_neureka", {**numbers, "m": 1})["acc"]

    assert acc(128, 32, 32) == (3 * 32 * 4, 32 * 4)
    assert acc(96, 64, 64) == (2 * 64 * 4, 64 * 4)
    assert acc(tile, tile, tile) == (tile * 4, tile * 4)
    for wrong in ((96, tile, 32), (96, 64, min(tile, 63))):
        with pytest.raises(ValueError, match="whole passes"):
            acc(*wrong)
    with pytest.raises(ValueError, match="a first tile of 64 and others of 32"):
        acc(96, 32, 64)


def test_a_matmuls_numbers_belong_together() -> None:
    numbers = call_numbers("matmul_w4a8_neureka", 96, 504, 252, 64, 32) | {"m": 1}
    operand_bytes("matmul_w4a8_neureka", numbers)
    for key in ("groups", "line", "shape", "rest", "passes"):
        with pytest.raises(ValueError, match=f"{key} of {numbers[key] + 1}, where it is {numbers[key]}"):
            operand_bytes("matmul_w4a8_neureka", {**numbers, key: numbers[key] + 1})


def test_rows_hold_what_they_are_read_for() -> None:
    numbers = {"m": 2, "n_heads": 3, "n_kv_heads": 1, "pos": 5, "lds": 7}
    assert operand_bytes("attention_softmax", numbers)["s"] == (2 * 3 * 7 * DTYPES["f32"].itemsize, 3 * 7 * 4)
    with pytest.raises(ValueError, match="score rows of 6 for 7 positions"):
        operand_bytes("attention_softmax", {**numbers, "lds": 6})
    with pytest.raises(ValueError, match="rows of 8 of addend that are 7 apart"):
        operand_bytes("matmul_w4a8", {"m": 2, "n": 8, "k": 4, "group_size": 4, "ldy": 7})


@pytest.mark.parametrize(
    ("name", "numbers"),
    [
        ("embed", {"m": 1, "k": 8, "bits": 1, "group_size": 8}),
        ("quantize_dynamic", {"rows": 1, "k": 8, "group_size": 0}),
        ("kv_quantize", {"rows": 2, "heads": 0, "k": 8, "ldx": 16}),
    ],
)
def test_numbers_that_no_kernel_takes(name: str, numbers: dict[str, int]) -> None:
    with pytest.raises(ValueError, match="do not belong together"):
        operand_bytes(name, numbers)
