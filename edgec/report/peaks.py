"""What engines can compute and links can carry at most: the roofline's ceilings, for the kernels that a plan calls."""

from __future__ import annotations

from collections.abc import Sequence
from math import inf
from typing import Any

from edgec.chip import Engine
from edgec.cost.neureka import grid_of, peak_macs
from edgec.memory.plan import Plan, evaluate
from edgec.memory.repeat import unnamed
from edgec.neureka.cycles import job_cycles
from edgec.neureka.engine import LINE
from edgec.neureka.job import gemv_job, rows_job
from edgec.neureka.matrix import BLOCK
from edgec.ops import kernel
from edgec.ops.matmul_w4a8 import bits_of
from edgec.ops.matmul_w4a8_neureka import mode_of

MACS_PER_INSTRUCTION = {"xpulpv2": 4}  # of one core: four int8 products of a word
LARGE = 4096  # channels and inputs of a matrix on which starting a job costs nothing any more


def peaks(plan: Plan) -> dict[str, dict[str, Any]]:
    """MAC per cycle of engines and what that rate is of, bytes per cycle of links, of L1's banks, and of the ports that
    accelerators in use read weights through."""
    target, called = plan.target, _multiplying(plan)
    found = {e.name: cores_peak(e, [k for k, _ in called.get(e.name, ())]) for e in target.engines}
    found |= {a.name: _accelerator_peak(called.get(a.name, [])) for a in target.accelerators}
    compute, accelerators = target.memory_by_name[target.compute], {a.name for a in target.accelerators}
    return {
        "engines": {name: round(rate, 6) for name, (rate, _) in found.items()},
        "basis": {name: basis for name, (_, basis) in found.items()},
        "links": {link.name: link.bytes_per_cycle for link in target.links},
        "ports": {name: LINE for name, kernels in called.items() if name in accelerators and kernels},
        "banks": {compute.banks: compute.bytes_per_cycle} if compute.bytes_per_cycle else {},
    }


def _multiplying(plan: Plan) -> dict[str, list[tuple[str, int]]]:
    """By engine the kernels that multiply, each with the most rows that a program gives it."""
    found: dict[str, dict[str, int]] = {}
    for program in plan.programs.values():
        rows = min(program.rows, plan.context)
        seen: set[str] = set()
        for call in (phase.call for step in program.steps for phase in unnamed(step.phases)):
            if call is None or call.kernel in seen:
                continue
            seen.add(call.kernel)
            numbers: dict[str, Any] = {n: evaluate(v, rows, plan.context - rows) for n, v in call.numbers.items()}
            if kernel(call.kernel).work(numbers).macs:
                kernels = found.setdefault(call.engine, {})
                kernels[call.kernel] = max(rows, kernels.get(call.kernel, 0))
    return {engine: list(kernels.items()) for engine, kernels in found.items()}


def cores_peak(engine: Engine, kernels: Sequence[str]) -> tuple[float, str]:
    """MAC per cycle of all cores in the fastest of these kernels, and where the number is from.

    A kernel whose measured figures put no price on a multiply-accumulate is held to what the instructions can do.
    """
    nominal = "cycles_per_mac", engine.cores / engine.cycles_per_mac
    rates: dict[str, float] = {}
    for name in kernels:
        cost = engine.cost_of(name)
        if cost is None:
            rates[nominal[0]] = nominal[1]
        else:
            rates[f"{name} as measured"] = engine.cores / cost.mac_cycles if cost.mac_cycles else inf
    limit = engine.cores * MACS_PER_INSTRUCTION.get(engine.isa, inf)
    basis, rate = max(rates.items(), key=lambda item: item[1], default=nominal)
    if rate > limit:
        return limit, f"{MACS_PER_INSTRUCTION[engine.isa]} MAC an instruction and core"
    if rate == inf:
        basis, rate = nominal
    return rate, basis


def _accelerator_peak(kernels: Sequence[tuple[str, int]]) -> tuple[float, str]:
    """MAC per cycle of N-EUREKA by itself in the fastest form that is called, on a large matrix."""
    found = [(peak_macs(), "3x3 jobs of 4 bits")] if not kernels else []
    for name, rows in kernels:
        if mode_of(name) == "3x3":
            inputs = LARGE // BLOCK * BLOCK
            cycles = job_cycles(gemv_job(0, 0, 0, inputs, LARGE, bits_of(name)))
            found.append((inputs * LARGE / cycles, f"3x3 jobs of {bits_of(name)} bits"))
        else:
            cycles = job_cycles(rows_job(0, 0, 0, grid_of(rows), LARGE, LARGE, 8))
            found.append((rows * LARGE * LARGE / cycles, f"1x1 jobs of {rows} rows"))
    return max(found)
