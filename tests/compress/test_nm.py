"""Packed N:M storage: the same floats, chosen only where it is smaller, and said why not otherwise."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from edgec.compress.masks import keep_highest
from edgec.compress.nm import least_bits, stored
from edgec.compress.rtn import quantize_matrix
from edgec.compress.sizes import packed_bytes
from edgec.packing_nm import PATTERNS


def pruned(pattern: tuple[int, int], bits: int = 4, size: int = 64, n: int = 12, k: int = 192):
    """A random matrix with the weakest of every window removed, on a grid."""
    w = np.random.default_rng([bits, *pattern]).normal(size=(n, k)).astype(np.float32)
    w *= keep_highest(np.abs(w), *pattern)
    return quantize_matrix(w, bits, size)[0]


@pytest.mark.parametrize("bits", range(2, 9))
@pytest.mark.parametrize("pattern", PATTERNS)
def test_packed_is_the_same_matrix_in_fewer_bytes(pattern: tuple[int, int], bits: int) -> None:
    dense = pruned(pattern, bits)
    packed, storage = stored(dense, pattern)
    want = 8 * packed_bytes(packed) / (12 * 192)
    if storage.packed:
        assert packed.dequantized().tobytes() == (dense.dequantized() + np.float32(0)).tobytes()
        assert packed_bytes(packed) == storage.bytes < packed_bytes(dense)
        assert storage.packed_bits == pytest.approx(want) == pytest.approx(least_bits(bits, 64, pattern))
    else:
        assert packed is dense
        assert least_bits(bits, 64, pattern) >= storage.dense_bits
    assert storage.packed == (least_bits(bits, 64, pattern) < bits + 0.25)


@pytest.mark.parametrize("pattern", [(1, 8), (1, 16)])
def test_no_saving_is_claimed_where_there_is_none(pattern: tuple[int, int]) -> None:
    dense = pruned(pattern)
    kept, storage = stored(dense, pattern)
    assert kept is dense and not storage.packed
    assert storage.packed_bits == {8: 4.75, 16: 5.0}[pattern[1]] > storage.dense_bits == 4.25
    assert storage.reason == "packed it would be no smaller"


def test_zeros_of_the_codes_may_be_more_than_the_pattern_asks() -> None:
    dense = pruned((2, 4), bits=3)  # rounding makes zeros of its own
    packed, storage = stored(dense, (2, 4))
    assert storage.packed
    np.testing.assert_array_equal(packed.dequantized(), dense.dequantized())


def test_zero_points_are_kept() -> None:
    dense = pruned((2, 4))
    zero = np.random.default_rng(0).integers(0, 16, dense.scale.shape).astype(np.uint8)
    codes = np.clip(np.random.default_rng(1).integers(0, 16, (12, 192)), 0, 15).astype(np.uint8)
    from edgec.packing import pack

    mask = keep_highest(np.random.default_rng(2).random((12, 192)), 2, 4)
    codes = np.where(mask, codes, np.repeat(zero, 64, axis=1)).astype(np.uint8)
    dense = replace(dense, packed=pack(codes, 4, 64), zero=zero)
    packed, storage = stored(dense, (2, 4))
    assert storage.packed
    np.testing.assert_array_equal(packed.dequantized(), dense.dequantized())


@pytest.mark.parametrize(
    ("change", "pattern", "reason"),
    [
        ({}, (4, 192), "unstructured"),
        ({}, (3, 8), "no kernel"),
        ({"minimum": np.zeros((12, 3), np.float16)}, (2, 4), "minimum"),
        ({}, (6, 8), "do not follow the pattern"),
    ],
)
def test_what_stays_dense_says_why(change: dict, pattern: tuple[int, int], reason: str) -> None:
    dense = replace(pruned((2, 4)), **change)
    kept, storage = stored(dense, pattern)
    assert kept is dense and not storage.packed and reason in storage.reason


def test_windows_over_groups_stay_dense() -> None:
    dense = pruned((2, 4), size=10, k=200)
    assert "do not divide" in stored(dense, (2, 4))[1].reason
