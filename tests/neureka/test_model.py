"""The NumPy model against the definition of a convolution, on random jobs; the C model against the NumPy model."""

from __future__ import annotations

import ctypes
import time
from dataclasses import replace

import numpy as np
import pytest
from neureka_library import address, c_job, empty_y
from random_jobs import Case, expected, fill, random_case, stored

from edgec.neureka.encode import encode_folded
from edgec.neureka.engine import L1, NEURAL, weight_bytes
from edgec.neureka.job import Job, JobError, fold_job, gemv_job, rows_job
from edgec.neureka.model import execute

SEEDS = range(300)


def _run(case: Case) -> None:
    execute(case.job.registers(), case.memory.read, case.memory.write)


def test_model_against_the_definition() -> None:
    kinds = set()
    for seed in SEEDS:
        case = random_case(np.random.default_rng(seed))
        _run(case)
        assert (stored(case) == expected(case)).all(), case.job
        kinds.add((case.job.mode, case.job.bits, case.job.output))
    assert len(kinds) == 2 * 7 * 3  # every mode, width and output


def test_model_writes_outputs_only() -> None:
    case = random_case(np.random.default_rng(1), output="int8")
    _run(case)
    job = case.job
    bytes_written = {a for r in case.memory.writes for a in r}
    assert len(bytes_written) == job.height * job.width * job.cout


def test_model_refuses_what_the_engine_cannot() -> None:
    words = replace(gemv_job(L1.start, NEURAL.start, L1.start + 4096, 252, 32, 4), bits=1).registers()
    with pytest.raises(JobError, match="2 to 8 bits, not 1"):
        execute(words, lambda _a, size: bytes(size), lambda _a, _d: None)


def _run_c(library: ctypes.CDLL, case: Case) -> np.ndarray:
    """The C model's outputs, gaps included."""
    job, memory = case.job, case.memory
    x = np.frombuffer(memory.read(job.x, job.x_bytes), np.uint8).copy()
    w = np.frombuffer(memory.read(job.w, _w_bytes(job)), np.uint8).copy()
    y = empty_y(job)
    addresses = {"x": address(x), "w": address(w), "y": address(y)}
    if case.scale is not None:
        addresses |= {"scale": address(case.scale)}
    if case.bias is not None:
        addresses |= {"bias": address(case.bias)}
    library.edgec_neureka_run(ctypes.byref(c_job(job, **addresses)))
    return y


def _w_bytes(job: Job) -> int:
    return weight_bytes(job.mode, job.cin, job.cout, job.bits)


def test_c_model_against_numpy(neureka: ctypes.CDLL) -> None:
    for seed in SEEDS:
        case = random_case(np.random.default_rng(1000 + seed))
        _run(case)
        y = _run_c(neureka, case)
        want = np.frombuffer(case.memory.read(case.job.y, len(y)), np.uint8)
        assert (y == want).all(), case.job  # the gaps hold 0xA5 on both sides


@pytest.mark.parametrize("bits", range(2, 9))
def test_c_forms(neureka: ctypes.CDLL, bits: int) -> None:
    """A token as a 3x3 job and tokens as a 1x1 job, at a language model's sizes."""
    rng = np.random.default_rng(bits)
    x, w, y = L1.start, NEURAL.start, L1.start + 0x20000
    for job in (gemv_job(x, w, y, 504, 288, bits), rows_job(x, w, y, (5, 3), 288, 70, bits)):
        case = fill(job, rng)
        _run(case)
        y_c = _run_c(neureka, case)
        assert (y_c.view(np.int32) == expected(case).reshape(-1)).all()
        assert (stored(case) == expected(case)).all()


@pytest.mark.parametrize(("bits", "n", "k"), [(4, 288, 28), (2, 300, 36), (8, 7, 64), (3, 10, 84), (5, 9, 1)])
def test_folded_inputs(neureka: ctypes.CDLL, bits: int, n: int, k: int) -> None:
    """Nine channels share a filter, and the first n results are those of the matrix, in order."""
    rng = np.random.default_rng(n)
    job = fold_job(L1.start + 4, NEURAL.start, L1.start + 0x20000, k, n, bits)
    case = fill(job, rng)  # for memory: its image is of pixels that all lie in one place
    x, u = rng.integers(-128, 128, k).astype(np.int8), rng.integers(0, 1 << bits, (n, k)).astype(np.uint8)
    case.memory.put(job.x, x)
    case.memory.put(job.w, encode_folded(u, bits))
    _run(case)
    want = (u.astype(np.int64) - (1 << bits - 1)) @ x.astype(np.int64)
    assert (stored(case).reshape(-1)[:n] == want).all()
    assert (_run_c(neureka, case).view(np.int32)[:n] == want).all()


def test_c_accumulators_wrap(neureka: ctypes.CDLL) -> None:
    """Beyond what limits.py allows, C gives what 32-bit accumulators hold, with no undefined behaviour."""
    job = replace(gemv_job(L1.start, NEURAL.start, L1.start + 0x38000, 252 * 150, 1, 8), offset=0, x_signed=False)
    case = fill(job, np.random.default_rng(0))
    case.x[:] = 255
    case.u[:] = 255
    case.memory.pieces[L1.start][: job.x_bytes] = 255
    case.memory.pieces[NEURAL.start][: _w_bytes(job)] = 255
    total = 252 * 150 * 255 * 255
    assert _run_c(neureka, case).view(np.int32)[0] == (total + (1 << 31)) % (1 << 32) - (1 << 31)


def test_c_model_is_fast(neureka: ctypes.CDLL) -> None:
    """The host stands in for the engine in every test of a whole model."""
    case = fill(gemv_job(L1.start, NEURAL.start, L1.start + 0x8000, 504, 512, 4), np.random.default_rng(0))
    began, runs = time.perf_counter(), 20
    for _ in range(runs):
        _run_c(neureka, case)
    assert runs * 504 * 512 / (time.perf_counter() - began) > 50e6
