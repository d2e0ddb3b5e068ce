"""Kernels for XpulpV2 give their NumPy twins' bits in what they fall back to on a host, and compile for the chip."""

from __future__ import annotations

import ctypes
import re
import subprocess
import zlib
from collections.abc import Callable
from functools import cache
from pathlib import Path

import numpy as np
import pytest
from attention_cases import attention_of
from case_values import Args, positions
from kernel_cases import CASES, USED_UP, _weights, matmul
from kernel_library import ROOT, STRICT, ZIG, assert_same, call, compile_library, compilers, sources, twin

from edgec.ops import kernel
from edgec.ops.matmul_w4a8 import sum_groups
from edgec.packing import n_groups

ISA = "xpulpv2"
N_CORES = (1, 2, 3, 4, 8)
SPECIAL = [path for path in sources(ISA) if path.stem.endswith(f"_{ISA}")]
BLOCKS, BLOCK = 8, 25  # tests a kernel, and cases a test
CHIP = (
    *("-target", "riscv32-freestanding-none", "-ffreestanding", "-fomit-frame-pointer", "-DEDGEC_XPULPV2"),
    *(f"-I{folder}" for folder in sorted(ROOT.iterdir()) if folder.is_dir()),
)
FLOATS = {
    "zfinx": ("-mcpu=generic_rv32+m+c+zicsr+zfinx", "-mabi=ilp32"),
    "f": ("-mcpu=generic_rv32+m+f+c+zicsr", "-mabi=ilp32f"),
}

Library = Callable[[str], ctypes.CDLL]


def _defined(name: str, text: str) -> bool:
    width = re.fullmatch(r"matmul_w(\d)a8(?:_(\d+)_(\d+))?", name)
    if width is None:
        return f"void edgec_{name}(" in text
    macro = "EDGEC_NM_PATTERNS" if width[2] else "EDGEC_MATMUL(_WHOLE)?"
    return re.search(rf"^{macro}\({width[1]}\b", text, re.MULTILINE) is not None


# Kernels that a file for XpulpV2 defines, and their folders.
FOLDERS = {name: path.parent for path in SPECIAL for name in CASES if _defined(name, path.read_text())}


@pytest.fixture(scope="session", params=sorted(compilers()))
def library(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Library:
    """The library with a kernel, by its name: a folder with its kernels for XpulpV2, compiled by a host's compiler."""

    @cache
    def of_folder(folder: Path) -> ctypes.CDLL:
        to = tmp_path_factory.mktemp(f"{folder.name}_{request.param}")
        return compile_library(compilers()[request.param], to, [p for p in sources(ISA) if p.parent == folder])

    return lambda name: of_folder(FOLDERS[name])


def _compare(library: Library, name: str, args: Args, same: dict[str, str] | None = None) -> None:
    want = twin(name, args)
    for n_cores in N_CORES:
        got = call(library(name), name, args, n_cores, same)
        if same:
            got = {**want, "y": got["y"]}
        if name in USED_UP:
            length, rows = positions(args), args["m"] * args["n_heads"]
            for found in (got, want):
                found["s"] = found["s"].copy()
                found["s"][: rows * args["lds"]].reshape(rows, -1)[:, :length] = 0
        assert_same(name, got, want)


@pytest.mark.parametrize("block", range(BLOCKS))
@pytest.mark.parametrize("name", sorted(name for name in FOLDERS if not re.search(r"a8_\d", name)))
def test_bits(library: Library, name: str, block: int) -> None:
    """Same bytes in all arrays, unwritten places included."""
    for seed in range(block * BLOCK, (block + 1) * BLOCK):
        _compare(library, name, CASES[name](np.random.default_rng([seed, zlib.crc32(name.encode()), 2])))


@pytest.mark.parametrize("name", sorted(name for name in FOLDERS if re.search(r"a8_\d", name)))
def test_bits_of_packed_weights(library: Library, name: str) -> None:
    """The same for weights with zeros, 7 patterns in 7 widths."""
    for seed in range(BLOCK):
        _compare(library, name, CASES[name](np.random.default_rng([seed, zlib.crc32(name.encode()), 2])))


@pytest.mark.parametrize("name", ["quantize_dynamic", "rmsnorm_quantize", "silu_mul_quantize"])
@pytest.mark.parametrize("group_size", [2, 4, 8, 16, 32, 64, 100, 252])
def test_a_row_in_parts(library: Library, name: str, group_size: int) -> None:
    """One row in one to five groups, the last one short or not: by parts, or by groups where those are odd or many."""
    rng = np.random.default_rng([group_size, zlib.crc32(name.encode())])
    for groups in (1, 2, 3, 4, 5):
        for k in (groups * group_size, groups * group_size - 2, groups * group_size - int(rng.integers(group_size))):
            if k < 1:
                continue
            x, up = (rng.normal(size=(2, k)) * 10.0 ** rng.uniform(-3, 3)).astype(np.float32)
            x[: int(rng.choice([0, 0, k // groups]))] = 0  # now and then the first group
            q, scale, sums = np.full(k, 7, np.int8), np.full(groups, 7, np.float32), np.full(groups, 7, np.int32)
            args = {"x": x, "gain": up, "gate": x, "up": up, "q": q, "scale": scale, "sums": sums}
            args |= {"rows": 1, "k": k, "ldx": k, "group_size": group_size}
            args |= {"inv_k": np.float32(1.0 / k), "eps": np.float32(1e-5)}
            _compare(library, name, {p.name: args[p.name] for p in kernel(name).params})


@pytest.mark.parametrize("bits", range(2, 9))
def test_matmul_in_place(library: Library, bits: int) -> None:
    """The same bits where y is the addend's memory, over several groups."""
    for seed in range(20):
        args = matmul(bits)(np.random.default_rng([seed, bits]))
        args["addend"] = np.linspace(-1, 1, args["m"] * args["ldy"], dtype=np.float32)
        args["y"] = args["addend"].copy()
        _compare(library, f"matmul_w{bits}a8", args, {"y": "addend"})


@pytest.mark.parametrize("bits", range(2, 9))
@pytest.mark.parametrize(("n", "k", "group_size"), [(517, 64, 64), (300, 252, 252), (130, 504, 252), (70, 256, 32)])
def test_matmul_shapes_of_models(library: Library, bits: int, n: int, k: int, group_size: int) -> None:
    """More channels than a strip or a buffer holds, and groups as models have them."""
    rng = np.random.default_rng([bits, n, k])
    for m in (1, 2, 3, 5):
        x = rng.integers(-127, 128, size=(m, k)).astype(np.int8)
        args = {
            "x": x.reshape(-1),
            "x_scale": rng.random(m * n_groups(k, group_size)).astype(np.float32),
            "x_sums": sum_groups(x, group_size).reshape(-1),
            **_weights(rng, n, k, bits, group_size),
            "bias": None,
            "addend": None if m == 1 else rng.normal(size=m * n).astype(np.float32),
            "y": np.ones(m * n, np.float32),
            **{"m": m, "n": n, "k": k, "group_size": group_size, "ldy": n},
        }
        _compare(library, f"matmul_w{bits}a8", args)


@pytest.mark.parametrize("pos", [0, 5, 16, 33])
@pytest.mark.parametrize(("heads", "kv", "head_dim"), [(8, 8, 4), (6, 2, 4), (9, 9, 12), (4, 4, 8)])
def test_attention_of_a_prompt(library: Library, heads: int, kv: int, head_dim: int, pos: int) -> None:
    """Scores so near each other that every position counts, one that a row must not see too."""
    for m in (3, 4, 7, 16):
        rng = np.random.default_rng([heads, head_dim, pos, m])
        h = {"m": m, "n_heads": heads, "n_kv_heads": kv, "head_dim": head_dim}
        for lanes in (1, 4 if head_dim == 4 else 3):
            args = attention_of(rng, h, pos, False)
            args["q_scale"] = (rng.random(args["q_scale"].size) * 0.001).astype(np.float32)
            if rng.random() < 0.5:  # no score is positive
                args["q"], args["k"] = np.abs(args["q"]), -np.abs(args["k"])
            args |= {"lanes": lanes, "rooms": args["cores"] * lanes}
            rooms = args["rooms"] * args["lds"]
            args |= {"s": np.ones(rooms, np.float32), "p": np.ones(rooms, np.uint8)}
            args |= {"r": np.ones(args["cores"] * args["lds"], np.float16)}
            _compare(library, "attention", args)


@pytest.mark.parametrize("floats", sorted(FLOATS))
@pytest.mark.parametrize("path", SPECIAL, ids=lambda path: path.stem)
def test_compiles_for_the_chip(path: Path, floats: str, tmp_path: Path) -> None:
    """No warnings; the assembler accepts the instructions and counts those of hardware loops."""
    (tmp_path / "string.h").write_text(
        "#include <stddef.h>\nvoid *memcpy(void *, const void *, size_t);\nvoid *memset(void *, int, size_t);\n"
    )
    command = [*ZIG, *STRICT, *CHIP, *FLOATS[floats], f"-I{tmp_path}", "-c", "-o", str(tmp_path / "out.o"), str(path)]
    done = subprocess.run(command, check=False, capture_output=True, text=True)
    assert not done.returncode and not done.stderr, done.stderr


@pytest.mark.parametrize("op", ["matmul_w4a8", "matmul_w4a8_nm"])
def test_frames_are_small(op: str, tmp_path: Path) -> None:
    """A worker core's stack is small: a hint that a buffer on it has grown."""
    command = [*ZIG, *STRICT, *CHIP, *FLOATS["zfinx"], "-Wframe-larger-than=400", "-c", "-o", str(tmp_path / "out.o")]
    command += [str(ROOT / op / f"{op}_{ISA}.c")]
    done = subprocess.run(command, check=False, capture_output=True, text=True)
    assert not done.returncode, done.stderr
