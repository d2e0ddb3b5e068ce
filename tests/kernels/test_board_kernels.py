"""Every kernel as the chip's cores run it gives its NumPy twin's bits: XpulpV2, integer-register floats, the engine."""

from __future__ import annotations

import zlib

import numpy as np
import pytest
from board_kernels import BoardKernels, programs
from kernel_cases import CASES, USED_UP
from kernel_library import assert_same, twin

from edgec.ops import kernel

CORES = (1, 2, 4, 8)
SHAPES = 200  # of each kernel; most of them on one number of cores in turn
ALL = 20  # of them on each number of cores
SHUFFLED = 25  # more of them on eight cores that take short turns
AT_ONCE = 100  # more of those with jobs of the accelerator, which then reads what is there when they start


@pytest.fixture(scope="module")
def boards(tmp_path_factory: pytest.TempPathFactory) -> dict[int, BoardKernels]:
    return programs(tmp_path_factory.mktemp("board"), CORES)


@pytest.fixture(scope="module")
def shuffled(boards: dict[int, BoardKernels]) -> BoardKernels:
    """Cores whose turns are short, by chance: a core that writes what another one uses then meets it."""
    return BoardKernels(boards[8].elves, 8, shuffle=1)


@pytest.fixture(scope="module")
def at_once(boards: dict[int, BoardKernels]) -> BoardKernels:
    """An accelerator that reads a job's operands when it is started: they have to be there by then."""
    return BoardKernels(boards[8].elves, 8, shuffle=1, late=False)


@pytest.mark.parametrize("name", sorted(CASES))
def test_bits(boards: dict[int, BoardKernels], name: str) -> None:
    rng = np.random.default_rng(zlib.crc32(name.encode()))
    for i in range(SHAPES):
        args = CASES[name](rng)
        want = twin(name, args)
        for cores in CORES if i < ALL else [CORES[i % len(CORES)]]:
            got = boards[cores].call(name, args)
            if name in USED_UP:
                got["s"] = want["s"]
            assert_same(name, got, want)


@pytest.mark.parametrize("name", [name for name in sorted(CASES) if kernel(name).engine or kernel(name).uses])
def test_jobs_start_when_their_operands_are_there(at_once: BoardKernels, name: str) -> None:
    rng = np.random.default_rng(zlib.crc32(name[::-1].encode()))
    for _ in range(AT_ONCE):
        args = CASES[name](rng)
        assert_same(name, at_once.call(name, args), twin(name, args))


@pytest.mark.parametrize("name", sorted(CASES))
def test_cores_keep_out_of_each_others_way(shuffled: BoardKernels, name: str) -> None:
    rng = np.random.default_rng(zlib.crc32(name[::-1].encode()))
    for _ in range(SHUFFLED):
        args = CASES[name](rng)
        want, got = twin(name, args), shuffled.call(name, args)
        if name in USED_UP:
            got["s"] = want["s"]
        assert_same(name, got, want)
