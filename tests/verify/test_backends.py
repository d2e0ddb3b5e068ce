"""Host and emulator run the same program to the same bits, and neither lets it touch what it does not own."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from fake_project import CONTEXT, MODEL_C, WEIGHTS, logits, write_project

from edgec.errors import MismatchError, VerifyError
from edgec.verify.driver import Backend
from edgec.verify.host import HostBackend
from edgec.verify.rv32 import Rv32Backend
from edgec.verify.toolchain import zig

BACKENDS: dict[str, Callable[[Path, Path], Backend]] = {
    "host": HostBackend,
    "host_zig": lambda project, build: HostBackend(project, build, compiler=zig()),
    "host_late_dma_3_cores": lambda project, build: HostBackend(project, build, cores=3, late_dma=True),
    "rv32": Rv32Backend,
}


@pytest.mark.parametrize("name", BACKENDS)
def test_tokens_logits_and_trace(project: Path, build_dir: Path, name: str) -> None:
    with BACKENDS[name](project, build_dir) as backend:
        trace: list[tuple[int, bytes]] = []
        backend.trace = lambda value, data: trace.append((value, data))
        backend.reset()
        assert backend.prefill([1, 2]) == int(logits([1, 2]).argmax())
        assert [value for value, _ in trace] == [7, 8, 7, 8]
        assert trace[2][1] == WEIGHTS.tobytes()
        assert trace[1][1] == logits([1]).tobytes()
        assert trace[3][1] == logits([1, 2]).tobytes()
        assert backend.decode(4) == int(logits([1, 2, 4]).argmax())
        np.testing.assert_array_equal(backend.logits(), logits([1, 2, 4]))
        backend.reset()
        backend.prefill([5])
        np.testing.assert_array_equal(backend.logits(), logits([5]))
        backend.sampling(0.5, 40, 0.9, 3 << 32)
        assert backend.logits()[:4].tolist() == [0.5, 40.0, np.float32(0.9), 3.0]


@pytest.mark.parametrize("name", ["host", "rv32"])
def test_a_full_context_answers_negative(project: Path, build_dir: Path, name: str) -> None:
    with BACKENDS[name](project, build_dir) as backend:
        backend.reset()
        assert backend.prefill([1] * (CONTEXT + 1)) == -1
        assert backend.decode(1) == -1
        with pytest.raises(VerifyError, match="exit code 1: more tokens than the context holds"):
            backend.prefill([1] * (CONTEXT + 2))
        with pytest.raises(VerifyError, match="was closed"):
            backend.reset()


MISDEEDS = {  # token: what the host says, what the emulator says
    -1: ("access after the end of L1", r"read after the end of L1 \(address 0x40001000\) in model_decode"),
    -2: ("access after the end of L1", "wrote after the end of L1"),
    -3: ("access before the start of L1", "read before the start of L1"),
    -4: ("access before the start of L1", "wrote before the start of L1"),
    -5: ("write before the start of L1", "wrote before the start of L1"),
    -6: ("write into read-only MRAM", "wrote into read-only MRAM"),
    -7: ("access after the end of MRAM", "read after the end of MRAM"),
    -8: ("access before the start of MRAM", "read before the start of MRAM"),
    -9: ("access to no arena", "wrote before the start of the stack .* in deep"),
    -10: ("gave no answer for 0.5 s", "gave no answer for 0.5 s, it is in model_decode"),
    -11: ("was ended by SIG(ILL|TRAP)", "hit an illegal instruction in model_decode"),
    -12: ("access to no arena, at", "read outside all memories"),
    -13: ("a DMA transfer writes after the end of L1", "wrote after the end of L1 .* in hal_dma_start"),
    -14: ("exit code 9: no more", "exit code 9: no more"),
    -15: ("exit code 77", "exit code 77"),  # the program's own test of memcpy and its kin passed
    -16: ("access after the end of L1", "read after the end of L1 .* in hal_trace"),
    -17: ("jump into L1", "jumped into L1"),
}


HANGS = -10


@pytest.mark.parametrize("token", MISDEEDS)
@pytest.mark.parametrize("name", ["host", "rv32"])
def test_misdeeds_are_named(project: Path, build_dir: Path, name: str, token: int) -> None:
    host = name == "host"
    backend: Backend
    seconds = 0.5 if token == HANGS else 30.0  # only the one that hangs is waited for, however busy the machine is
    if host:  # zig, because it links the same thing only once
        backend = HostBackend(project, build_dir, compiler=zig(), traced=False, seconds=seconds)
    else:
        backend = Rv32Backend(project, build_dir, traced=False, seconds=seconds)
    with backend, pytest.raises(VerifyError, match=MISDEEDS[token][0 if host else 1]):
        backend.decode(token)


@pytest.mark.parametrize(
    ("token", "said"),
    [
        (-18, "a fork inside a fork"),
        (-19, "a barrier between cores that run one after the other"),
        (-20, "more than 1024 transfers outstanding"),
    ],
)
def test_misuse_of_the_hal_is_named(project: Path, build_dir: Path, token: int, said: str) -> None:
    with HostBackend(project, build_dir, cores=2, late_dma=True, compiler=zig()) as backend:
        backend.reset()
        with pytest.raises(VerifyError, match=said):
            backend.decode(token)


def test_a_barrier_of_one_core_passes(project: Path, build_dir: Path) -> None:
    for make in (HostBackend, Rv32Backend):
        with make(project, build_dir) as backend:
            backend.reset()
            backend.decode(-19)


def test_a_number_of_cores_must_make_sense(project: Path, build_dir: Path) -> None:
    with HostBackend(project, build_dir, cores=0) as backend, pytest.raises(VerifyError, match="1 to 1024, it is 0"):
        backend.reset()


def test_late_transfers_expose_early_reads(project: Path, build_dir: Path) -> None:
    """Token 15 reads what it has not waited for."""
    found = []
    for late in (False, True):
        with HostBackend(project, build_dir, late_dma=late) as backend:
            backend.reset()
            backend.decode(1)
            backend.decode(15)
            found.append(backend.logits()[0])
    assert found[0] == 0
    assert found[1] == 0xA5A5


def test_an_error_of_the_trace_callback_arrives(project: Path, build_dir: Path) -> None:
    def complain(value: int, data: bytes) -> None:
        raise MismatchError(f"value {value}")

    for make in (HostBackend, Rv32Backend):
        with make(project, build_dir) as backend:
            backend.reset()
            backend.trace = complain
            with pytest.raises(MismatchError, match="value 7"):
                backend.decode(1)


def test_stack_high_water(project: Path, build_dir: Path) -> None:
    with Rv32Backend(project, build_dir) as backend:
        backend.reset()
        quiet = backend.stack_high_water()
        backend.decode(1)
        assert 16 < quiet <= backend.stack_high_water() < 512


LOOP = """
#define UNUSED __attribute__((unused))
/* 2 instructions, 3 in each round of the loop, 2 more; tokens[0] is the number of rounds */
__attribute__((naked)) int32_t model_prefill(UNUSED const int32_t *tokens, UNUSED uint32_t count) {
    __asm__("lw a1, 0(a0)\\n li a0, 0\\n 1: addi a0, a0, 3\\n addi a1, a1, -1\\n bnez a1, 1b\\n addi a0, a0, 1\\n ret");
}
"""


@pytest.mark.parametrize("rounds", [1, 100_000])
def test_instructions_are_exact(tmp_path_factory: pytest.TempPathFactory, rounds: int) -> None:
    folder = tmp_path_factory.getbasetemp() / "counted"
    if not folder.exists():
        start, end = MODEL_C.index("int32_t model_prefill"), MODEL_C.index("int32_t model_decode")
        write_project(folder, MODEL_C[:start] + LOOP + MODEL_C[end:])
    with Rv32Backend(folder, folder / "build", count=True, traced=False) as backend:
        backend.reset()
        assert backend.instructions() == 0
        assert backend.prefill([rounds]) == 3 * rounds + 1
        assert backend.instructions() == 3 * rounds + 4
        backend.prefill([rounds])
        backend.logits()
        assert backend.instructions() == 2 * (3 * rounds + 4)


def test_counting_must_be_asked_for(project: Path, build_dir: Path) -> None:
    with Rv32Backend(project, build_dir) as backend, pytest.raises(ValueError, match="count=True"):
        backend.instructions()
