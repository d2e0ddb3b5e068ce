"""Arguments of kernel calls that no run changes: constants in the compute memory instead of code that writes them.

To write a dozen words onto the stack takes code, and code that runs once a token comes from slow memory: on Siracusa
60 to 110 cycles a call. So a step with one call, whose numbers and addresses depend on neither the rows nor the
position of a run, has its arguments in a table, one for each kernel. The table lies in the compute memory behind the
plan's data (`add_calls` of edgec/memory/planner.py), for all cores read it. Where there is no room, or the chip has no
program of its own, there is none.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from edgec.memory.plan import Buffer, Call, Plan, Step
from edgec.ops import kernel

WORD = 4  # bytes of a field on the chip
CALLS = "calls"  # the tables' buffer in a plan
NEAR = ".near"  # ... and their section in the chip's program


@dataclass
class CallBlocks:
    """Initialisers of argument structs by kernel, each once, in order of first use."""

    tables: dict[str, dict[str, int]] = field(default_factory=dict)

    def row(self, name: str, initialiser: str) -> int:
        """The row of a kernel's table that holds these arguments."""
        rows = self.tables.setdefault(name, {})
        return rows.setdefault(initialiser, len(rows))


def constant_call(step: Step) -> Call | None:
    """The only call of a step, if no run changes its arguments."""
    phases = [phase for phase in step.phases if phase.call is not None]
    if len(phases) != 1 or phases[0].when is not None:
        return None
    call = phases[0].call
    if call is None or not all(isinstance(n, int | float) for n in call.numbers.values()):
        return None
    return None if any(r is not None and r.row_bytes for r in call.regions.values()) else call


def calls_bytes(plan: Plan) -> int:
    """Bytes that the tables take on a chip, at most: 0 where it has no program of its own."""
    if not plan.target.runtime.hal:
        return 0
    steps = (step for program in plan.programs.values() for step in program.steps)
    calls = [call for step in steps if (call := constant_call(step)) is not None]
    return sum(WORD * len(kernel(call.kernel).params) for call in calls)


def calls_buffer(plan: Plan) -> Buffer | None:
    """Where the tables lie; None: the plan has no room for them."""
    return next((b for b in plan.buffers if b.name == CALLS), None)
