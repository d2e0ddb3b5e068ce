"""Packed N:M: round trips in every width and pattern, hand-computed bytes, sizes as the table says."""

from __future__ import annotations

import numpy as np
import pytest

from edgec.ops.matmul_w4a8_nm import random_mask
from edgec.packing_nm import (
    PATTERNS,
    bits_per_weight,
    indexed,
    kept,
    pack_codes,
    pack_places,
    place_bytes,
    spread,
    units,
    unpack_codes,
    unpack_places,
)


@pytest.mark.parametrize("pattern", PATTERNS)
@pytest.mark.parametrize("bits", range(2, 9))
def test_round_trip(bits: int, pattern: tuple[int, int]) -> None:
    rng = np.random.default_rng([bits, *pattern])
    for _ in range(20):
        n, k = int(rng.integers(1, 6)), pattern[1] * int(rng.integers(1, 30))
        size = pattern[1] * int(rng.integers(1, 12))
        codes = rng.integers(0, 2**bits, size=(n, kept(k, pattern))).astype(np.uint8)
        packed = pack_codes(codes, bits, size, pattern)
        assert packed.shape == (n, units(k, size, pattern) * bits)
        np.testing.assert_array_equal(unpack_codes(packed, k, bits, size, pattern), codes)
        mask = random_mask(rng, n, k, pattern)
        places = pack_places(mask, size, pattern)
        assert places.shape == (n, units(k, size, pattern) * place_bytes(pattern))
        values = (1 + np.arange(codes.size, dtype=np.float32)).reshape(codes.shape)
        dense = spread(values, unpack_places(places, k, size, pattern), pattern[1])
        np.testing.assert_array_equal(dense != 0, mask)
        np.testing.assert_array_equal(dense[mask], values.reshape(-1))


def test_bytes_by_hand() -> None:
    """2:4, inputs 0 and 3, 1 and 2, ...: indices from the lowest bits; 4-bit codes in pairs four apart."""
    keep = np.array([[1, 0, 0, 1, 0, 1, 1, 0, 1, 1, 0, 0, 0, 0, 1, 1]], bool)
    assert pack_places(keep, 16, (2, 4)).tolist() == [[0 | 3 << 2 | 1 << 4 | 2 << 6, 0 | 1 << 2 | 2 << 4 | 3 << 6]]
    codes = np.arange(1, 9, dtype=np.uint8)[None]
    assert pack_codes(codes, 4, 16, (2, 4)).tolist() == [[0x51, 0x62, 0x73, 0x84]]
    mask = np.zeros((1, 8), bool)
    mask[0, [0, 2, 5, 7]] = True
    assert pack_places(mask, 8, (4, 8)).tolist() == [[0b10100101, 0]]  # the second window's half of the unit is padding


def test_a_mask_of_another_pattern_is_refused() -> None:
    with pytest.raises(ValueError, match="does not keep 2 of 4"):
        pack_places(np.ones((2, 8), bool), 8, (2, 4))


@pytest.mark.parametrize(
    ("pattern", "want"),
    [((1, 2), 2.5), ((2, 4), 3.0), ((3, 4), 1.5), ((4, 8), 3.0), ((6, 8), 1.75), ((8, 16), 3.0), ((12, 16), 2.0)],
)
def test_bits_per_weight(pattern: tuple[int, int], want: float) -> None:
    """The table of the module, plus 16 bits of scale for a group."""
    assert bits_per_weight(4, 64, pattern) == want + 0.25
    assert bits_per_weight(4, 64) == 4.25
    assert indexed(pattern) == (pattern not in ((4, 8), (8, 16)))
