"""Packed weights: back and forth at every width, sizes as said, the layout of the docstring's example."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edgec.packing import PLANES, block_elements, group_bytes, n_groups, pack, row_bytes, unpack


@given(st.integers(2, 8), st.integers(1, 5), st.integers(1, 300), st.integers(1, 300), st.integers(0, 99))
@settings(derandomize=True, database=None, deadline=None, max_examples=150)
def test_round_trip(bits: int, n: int, k: int, group_size: int, seed: int) -> None:
    values = np.random.default_rng(seed).integers(0, 2**bits, size=(n, k)).astype(np.uint8)
    packed = pack(values, bits, group_size)
    assert packed.shape == (n, row_bytes(k, bits, group_size))
    assert packed.dtype == np.uint8
    assert (unpack(packed, k, bits, group_size) == values).all()


@pytest.mark.parametrize("bits", PLANES)
def test_blocks_are_whole_words(bits: int) -> None:
    assert sum(PLANES[bits]) == bits
    block = block_elements(bits)
    for plane in PLANES[bits]:
        assert block * plane % 32 == 0
    assert group_bytes(block, bits) == block * bits // 8
    assert group_bytes(block + 1, bits) == 2 * group_bytes(block, bits)
    assert row_bytes(10 * block, bits, 10 * block) == 10 * block * bits // 8  # nothing lost in full blocks


def test_four_bits_lie_as_described() -> None:
    packed = pack(np.arange(8, dtype=np.uint8)[None], 4, 8)
    assert packed.tolist() == [[0x40, 0x51, 0x62, 0x73]]


def test_seven_bits_are_planes_of_four_two_and_one() -> None:
    low = pack(np.full((1, 32), 0b0001111, np.uint8), 7, 32)
    middle = pack(np.full((1, 32), 0b0110000, np.uint8), 7, 32)
    top = pack(np.full((1, 32), 0b1000000, np.uint8), 7, 32)
    assert low[0].tolist() == [255] * 16 + [0] * 12
    assert middle[0].tolist() == [0] * 16 + [255] * 8 + [0] * 4
    assert top[0].tolist() == [0] * 24 + [255] * 4


def test_groups() -> None:
    assert [n_groups(k, 32) for k in (1, 32, 33)] == [1, 1, 2]
    values = np.arange(40, dtype=np.uint8)[None] % 16
    packed = pack(values, 4, 20)  # two groups of 20, padded to 24 each
    assert packed.shape == (1, 24)
    assert (packed[:, :12] == pack(values[:, :20], 4, 20)).all()
    assert (packed[:, 12:] == pack(values[:, 20:], 4, 20)).all()
