"""Predicted speed of a planned model over contexts, and the floor that reading its weights sets.

The floor is what a token takes if nothing but reading its weights took time:

    floor = max(B / 32, B_L3 / r)    cycles

B     bytes of all matrices that a decoded token is multiplied with, at the width they were rounded to and without
      padding, and their scales as stored. A table that only one row is looked up in does not count.
32    bytes a cycle: N-EUREKA's port to MRAM and tile SRAM, 256 bit; as much as eight cores can ask of L1.
B_L3  those of them that lie off the chip.
r     bytes a cycle of the slowest link from there to L1, setup not counted.

Reading L3 and multiplying what is on the chip can overlap, so the slower of the two is the floor.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from edgec.cost.estimate import program_usage
from edgec.memory.plan import Plan, evaluate
from edgec.ops import kernel

STREAM_BYTES = 32
SCALES = ("w_scale", "down_scale", "w_zero", "w_min")


@dataclass(frozen=True)
class Speed:
    """The token behind `context` - 1 others, a prompt of `context` tokens, and the floor of a token, in cycles."""

    model: str
    bits: int
    group_size: int
    chunk: int
    context: int
    decode_cycles: float
    tokens_per_second: float
    prefill_cycles: float
    prefill_tokens_per_second: float
    floor_cycles: float
    floor_ratio: float  # of the token's cycles: 1 would be a token that does nothing but read its weights
    weight_bytes: dict[str, int]  # by memory


def contexts_within(contexts: Iterable[int], longest: int) -> list[int]:
    """The contexts that a model was made for; its longest stands for those beyond."""
    return sorted({min(context, longest) for context in contexts})


def speeds(name: str, plan: Plan, bits: int, group_size: int, contexts: Sequence[int]) -> list[Speed]:
    """A row for every context, all of one plan."""
    clock, chunk = plan.target.clock_hz, plan.programs["prefill"].rows
    read = weight_bytes(plan, bits)
    floor = floor_cycles(plan, read)
    rows = []
    for context in contexts:
        decode = program_usage(plan, plan.programs["decode"], 1, context - 1).cycles
        prefill = prefill_cycles(plan, context)
        rates = (clock / decode, prefill, context * clock / prefill, floor, floor / decode)
        rows.append(Speed(name, bits, group_size, chunk, context, decode, *rates, read))
    return rows


def prefill_cycles(plan: Plan, tokens: int) -> float:
    """Cycles of a prompt of so many tokens, run by run."""
    program = plan.programs["prefill"]
    starts = range(0, tokens, program.rows)
    return sum(program_usage(plan, program, min(program.rows, tokens - start), start).cycles for start in starts)


def weight_bytes(plan: Plan, bits: int) -> dict[str, int]:
    """Bytes of matrices and scales that a decoded token reads, by the memory that they lie in."""
    homes = {buffer.name: buffer for buffer in plan.buffers}
    weights: dict[str, int] = defaultdict(int)
    scales: set[str] = set()
    for step in plan.programs["decode"].steps:
        for call in (phase.call for phase in step.phases):
            matrix = call.regions.get("w") if call else None
            if call is None or matrix is None:
                continue
            numbers = {key: evaluate(value, 1, 0) for key, value in call.numbers.items()}
            if macs := kernel(call.kernel).work(numbers).macs:  # none: rows are looked up
                weights[homes[matrix.value].level] += macs * bits // 8
                scales |= {region.value for role in SCALES if (region := call.regions.get(role))}
    for name in scales:
        weights[homes[name].level] += homes[name].size
    return dict(weights)


def floor_cycles(plan: Plan, read: dict[str, int]) -> float:
    """The floor of bytes by memory: see above."""
    target = plan.target
    times = [sum(read.values()) / STREAM_BYTES]
    for level, size in read.items():
        if not target.memory_by_name[level].on_chip:
            times.append(size / min(link.bytes_per_cycle for link in target.route(level, target.compute)))
    return max(times)
