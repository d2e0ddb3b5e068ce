"""Encoded weights: back and forth, bit by bit as the docstring says, sizes, padding, refusals."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edgec.neureka.encode import (
    decode_1x1,
    decode_3x3,
    decode_folded,
    encode_1x1,
    encode_3x3,
    encode_folded,
    job_inputs,
    job_offset,
    matrix_bytes,
)
from edgec.neureka.job import JobError
from edgec.neureka.model import gemv_3x3

COMMON = settings(derandomize=True, database=None, deadline=None, max_examples=100)


def _weights(bits: int, n: int, k: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 2**bits, size=(n, k)).astype(np.uint8)


@given(st.integers(2, 8), st.integers(1, 5), st.integers(1, 800), st.sampled_from([None, 252, 504]), st.integers(0, 99))
@COMMON
def test_3x3_round_trip(bits: int, n: int, k: int, k_per_job: int | None, seed: int) -> None:
    u = _weights(bits, n, k, seed)
    encoded = encode_3x3(u, bits, k_per_job)
    assert encoded.dtype == np.uint8
    assert encoded.shape == (matrix_bytes(n, k, bits, k_per_job),)
    assert (decode_3x3(encoded, bits, n, k, k_per_job) == u).all()


@given(st.integers(2, 8), st.integers(1, 5), st.integers(1, 300), st.sampled_from([None, 32, 128]), st.integers(0, 99))
@COMMON
def test_1x1_round_trip(bits: int, n: int, k: int, k_per_job: int | None, seed: int) -> None:
    u = _weights(bits, n, k, seed)
    encoded = encode_1x1(u, bits, k_per_job)
    assert encoded.shape == (matrix_bytes(n, k, bits, k_per_job, "1x1"),)
    assert (decode_1x1(encoded, bits, n, k, k_per_job) == u).all()


@given(st.integers(2, 8), st.integers(1, 40), st.integers(1, 160), st.integers(0, 99))
@COMMON
def test_folded_round_trip(bits: int, n: int, k: int, seed: int) -> None:
    u = _weights(bits, n, k, seed)
    encoded = encode_folded(u, bits)
    assert encoded.shape == (-(-n // 9) * -(-k // 28) * bits * 32,)
    assert (decode_folded(encoded, bits, n, k) == u).all()


def test_folded_channels_lie_as_described() -> None:
    """Channel p * rows + v is position 8 - p of filter v; of those behind the last all bits are 0."""
    bits, n, k = 3, 20, 30  # 3 filters, 7 places too many; blocks of 28 and 2 inputs
    u = _weights(bits, n, k)
    encoded = encode_folded(u, bits).reshape(3, 2, bits, 32)
    for channel in range(27):
        p, v = divmod(channel, 3)
        for c in range(k):
            at = 28 * (8 - p) + c % 28
            found = encoded[v, c // 28, :, at // 8] >> at % 8 & 1
            assert (found == [(u[channel, c] >> b & 1 if channel < n else 0) for b in range(bits)]).all()


def test_3x3_bits_lie_as_described() -> None:
    bits, n, k = 3, 2, 300  # 34 channels: blocks of 28 and 6; 6 inputs too many
    u = _weights(bits, n, k)
    encoded = encode_3x3(u, bits).reshape(n, 2, bits, 32)
    for i in range(k):
        position, c = divmod(i, 34)
        at = 28 * position + c % 28
        for b in range(bits):
            assert (encoded[:, c // 28, b, at // 8] >> at % 8 & 1 == u[:, i] >> b & 1).all()


def test_1x1_bits_lie_as_described() -> None:
    bits, n, k = 5, 2, 70
    u = _weights(bits, n, k)
    encoded = encode_1x1(u, bits).reshape(n, 3, 32)
    for i in range(k):
        c = i % 32
        for b in range(bits):
            at = 32 * (c // 4) + 4 * b + c % 4
            assert (encoded[:, i // 32, at // 8] >> at % 8 & 1 == u[:, i] >> b & 1).all()


def test_jobs_are_cut_at_k_per_job_and_channels_are_contiguous() -> None:
    u = _weights(4, 6, 300)
    whole = encode_3x3(u, 4, 252)
    first = job_offset(1, 6, 300, 4, 252)
    assert [len(p) for p in job_inputs(300, 252)] == [252, 48]
    assert first == 6 * 4 * 32
    assert (whole[:first] == encode_3x3(u[:, :252], 4)).all()
    assert (whole[first:] == encode_3x3(u[:, 252:], 4)).all()
    channel = 4 * 32
    assert (whole[2 * channel : 5 * channel] == encode_3x3(u[2:5, :252], 4)).all()


def test_sizes() -> None:
    assert matrix_bytes(1, 252, 4) == 128  # 4.06 bits a weight
    assert matrix_bytes(1, 288, 4) == 256  # 32 channels take two blocks
    assert matrix_bytes(512, 504, 4, mode="1x1") == 512 * 512


@pytest.mark.parametrize("offset", [None, 0, -3])
def test_inputs_too_many_count_for_nothing(offset: int | None) -> None:
    """The padding's weights have the value 0 under the offset."""
    bits, zero = 4, None if offset is None else -offset
    u = _weights(bits, 3, 40)  # 5 channels: 5 inputs too many
    image = decode_3x3(encode_3x3(u, bits, zero=zero), bits, 3, 45)
    assert (image[:, 40:] == (8 if zero is None else zero)).all()


@pytest.mark.parametrize("kind", [np.int8, np.uint8])
@pytest.mark.parametrize(("k", "k_per_job"), [(252, None), (504, 252), (1000, 252), (77, 504)])
def test_gemv(kind: type, k: int, k_per_job: int | None) -> None:
    rng, bits, n = np.random.default_rng(k), 6, 33
    u = _weights(bits, n, k)
    x = rng.integers(np.iinfo(kind).min, np.iinfo(kind).max, k, dtype=kind, endpoint=True)
    y = gemv_3x3(encode_3x3(u, bits, k_per_job), x, bits, n, k, k_per_job)
    assert y.dtype == np.int32
    for part, sums in zip(job_inputs(k, k_per_job), y, strict=True):
        inputs = slice(part.start, part.stop)
        assert (sums == (u[:, inputs].astype(np.int64) - 32) @ x[inputs].astype(np.int64)).all()


def test_refusals() -> None:
    with pytest.raises(JobError, match="2 to 8 bits, not 9"):
        encode_3x3(_weights(8, 2, 9), 9)
    with pytest.raises(JobError, match="below 16, not"):
        encode_1x1(np.full((1, 32), 16, np.uint8), 4)
    with pytest.raises(JobError, match="multiple of 252 inputs, or all 600; not 250"):
        encode_3x3(_weights(4, 2, 600), 4, 250)
    with pytest.raises(JobError, match="multiple of 32 inputs"):
        encode_1x1(_weights(4, 2, 600), 4, 40)
