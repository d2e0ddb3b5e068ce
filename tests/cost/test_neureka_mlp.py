"""The prediction for a gated MLP in one call: near what was measured, never below the engine's jobs."""

from __future__ import annotations

import pytest

from edgec.cost.engine import call_cycles
from edgec.neureka.cycles import job_cycles
from edgec.neureka.job import gemv_job
from edgec.ops.matmul_w4a8_mlp_neureka import down_call, down_numbers, gated_numbers, kernel_name, parts_of
from edgec.ops.matmul_w4a8_neureka import call_numbers
from edgec.target import Target, load_target

# tile, first, down's first, cycles: of 252 in 2 x 756 and 756 in 252, weights of 4 bits, groups of 252; the step in
# whole tokens, the mean of all layers
MEASURED = [(256, 256, 252, 12_211), (256, 256, 192, 12_111), (256, 256, 224, 12_273), (192, 64, 192, 12_294)]


@pytest.fixture(scope="module")
def target() -> Target:
    return load_target("siracusa")


def numbers(width: int, n: int, group: int, tile: int, first: int, down_first: int) -> dict[str, int]:
    name = kernel_name(4)
    made = call_numbers(name, 2 * width, 252, 252, tile, first) | {"m": 1, "out_group": group}
    return made | down_numbers(name, width, n, group, down_first)


@pytest.mark.parametrize("case", MEASURED)
def test_near_what_was_measured(target: Target, case: tuple[int, ...]) -> None:
    *sizes, measured = case
    assert call_cycles(target, kernel_name(4), numbers(756, 252, 252, *sizes)) == pytest.approx(measured, rel=0.03)


@pytest.mark.parametrize(("width", "n"), [(504, 252), (756, 252), (756, 504), (1008, 252)])
def test_more_than_the_engine_s_jobs_and_less_than_two_calls(target: Target, width: int, n: int) -> None:
    name, made = kernel_name(4), numbers(width, n, 252, 256, 256, n)
    groups = width // 252
    jobs = 2 * job_cycles(gemv_job(0, 0, 0, 252, width, 4)) + groups * job_cycles(gemv_job(0, 0, 0, 252, n, 4))
    gated, down = parts_of(name)
    calls = call_cycles(target, gated, gated_numbers(made)) + call_cycles(target, down, down_call(name, made))
    assert jobs < call_cycles(target, name, made) < calls


def test_one_group_is_two_calls(target: Target) -> None:
    name, made = kernel_name(4), numbers(504, 252, 504, 256, 256, 252)
    gated, down = parts_of(name)
    calls = call_cycles(target, gated, gated_numbers(made)) + call_cycles(target, down, down_call(name, made))
    assert call_cycles(target, name, made) > calls
