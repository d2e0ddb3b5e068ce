"""Every kernel as the chip's cores run it gives its NumPy twin's bits: XpulpV2, integer-register floats, the engine."""

from __future__ import annotations

import zlib

import numpy as np
import pytest
from board_kernels import BoardKernels, programs
from kernel_cases import CASES, USED_UP
from kernel_library import assert_same, twin

CORES = (1, 2, 4, 8)
SHAPES = 200  # of each kernel; most of them on one number of cores in turn
ALL = 20  # of them on each number of cores
SHUFFLED = 25  # more of them on eight cores that take short turns


@pytest.fixture(scope="module")
def boards(tmp_path_factory: pytest.TempPathFactory) -> dict[int, BoardKernels]:
    return programs(tmp_path_factory.mktemp("board"), CORES)


@pytest.fixture(scope="module")
def shuffled(boards: dict[int, BoardKernels]) -> BoardKernels:
    """Cores whose turns are short, by chance: a core that writes what another one uses then meets it."""
    return BoardKernels(boards[8].elves, 8, shuffle=1)


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


@pytest.mark.parametrize("name", sorted(CASES))
def test_cores_keep_out_of_each_others_way(shuffled: BoardKernels, name: str) -> None:
    rng = np.random.default_rng(zlib.crc32(name[::-1].encode()))
    for _ in range(SHUFFLED):
        args = CASES[name](rng)
        want, got = twin(name, args), shuffled.call(name, args)
        if name in USED_UP:
            got["s"] = want["s"]
        assert_same(name, got, want)
