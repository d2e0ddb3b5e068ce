"""Which calls have their arguments in a table in the compute memory (edgec/emit/call_blocks.py), and its bytes.

A step with one call, whose arguments do not depend on how many rows a run has, is such; what depends on the position is
written into the table before the call.
"""

from __future__ import annotations

from edgec.memory.plan import Buffer, Call, Extent, Plan, Position, Step
from edgec.ops import kernel

WORD = 4  # bytes of a field on the chip
CALLS = "calls"  # the tables' buffer in a plan


def tabled_call(step: Step) -> Call | None:
    """The only call of a step, if a run's position is all that changes its arguments."""
    phases = [phase for phase in step.phases if phase.call is not None]
    if len(phases) != 1 or phases[0].when is not None:
        return None
    call = phases[0].call
    return None if call is None or any(isinstance(n, Extent) for n in call.numbers.values()) else call


def written(call: Call) -> tuple[str, ...]:
    """The arguments of such a call that depend on the position."""
    numbers = {name for name, n in call.numbers.items() if isinstance(n, Position)}
    addresses = {name for name, region in call.regions.items() if region is not None and region.row_bytes}
    return tuple(p.name for p in kernel(call.kernel).params if p.name in numbers | addresses)


def calls_bytes(plan: Plan) -> int:
    """Bytes that the tables take on a chip, at most: 0 where it has no program of its own."""
    if not plan.target.runtime.hal:
        return 0
    steps = (step for program in plan.programs.values() for step in program.steps)
    calls = [call for step in steps if (call := tabled_call(step)) is not None]
    return sum(WORD * len(kernel(call.kernel).params) for call in calls)


def calls_buffer(plan: Plan) -> Buffer | None:
    """Where the tables lie; None: the plan has no room for them."""
    return next((b for b in plan.buffers if b.name == CALLS), None)
