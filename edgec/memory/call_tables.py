"""Which calls have their arguments in a table in the compute memory (edgec/emit/call_blocks.py), and its bytes.

A token's step with one call is such. What depends on the position is written into the table before the call.
"""

from __future__ import annotations

from collections.abc import Mapping

from edgec.ir.graph import Graph
from edgec.memory.plan import Buffer, Call, Extent, Plan, Position, Program, Step
from edgec.ops import find, kernel
from edgec.target import Target

WORD = 4  # bytes of a field on the chip
ENTRY = 3 * WORD  # of a step in the program's list, which lies there too
CALLS = "calls"  # the tables' buffer in a plan
SHARE = 16  # the tables take at most 1/SHARE of the compute memory, or there are none


def tabled_call(program: Program, step: Step) -> Call | None:
    """The only call of a token's step, if a run's position is all that changes its arguments."""
    phases = [phase for phase in step.phases if phase.call is not None]
    if program.name != "decode" or len(phases) != 1 or phases[0].when is not None:
        return None
    call = phases[0].call
    return None if call is None or any(isinstance(n, Extent) for n in call.numbers.values()) else call


def written(call: Call) -> tuple[str, ...]:
    """The arguments of such a call that depend on the position."""
    numbers = {name for name, n in call.numbers.items() if isinstance(n, Position)}
    addresses = {name for name, region in call.regions.items() if region is not None and region.row_bytes}
    return tuple(p.name for p in kernel(call.kernel).params if p.name in numbers | addresses)


def calls_bytes(graphs: Mapping[str, Graph], target: Target) -> int:
    """Bytes that the tables take on a chip, at most, whatever kernels the steps will call.

    0 where the chip has no program of its own, and where they would take too much.
    """
    if not target.runtime.hal or "decode" not in graphs:
        return 0
    fields = (max(len(k.params) for k in find(node.op).kernels) for node in graphs["decode"].nodes)
    size = sum(ENTRY + WORD * count for count in fields)
    return size if SHARE * size <= target.memory_by_name[target.compute].capacity_bytes else 0


def calls_buffer(plan: Plan) -> Buffer | None:
    """Where the tables lie; None: the plan has no room for them."""
    return next((b for b in plan.buffers if b.name == CALLS), None)
