"""How the offsets in each memory were found, and whether any placement of its buffers would take less.

A search places what lives for some steps, beside what lives for good. `edgec/memory/offsets.py` describes the methods.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from edgec.memory.offsets import METHODS
from edgec.memory.plan import Plan

FIRST_FIT = "first fit"
WORDS = {"greedy": "greedy orders", "mended": "mended orders", "cp-sat": "CP-SAT"}
SOLVER = {"optimal": "proves its groups", "limit": "stopped at its limit"}


def placements(plan: Plan) -> list[dict[str, Any]]:
    """By memory that holds something: method, peak, bound, gap in bytes, proven, the solver's word and its seconds.

    Of a plan as it was made: one that was read from a file does not know any more.
    """
    found = []
    for memory in plan.target.memories:
        peak = plan.arena_bytes(memory.name)
        if not peak:
            continue
        parts = [p.how[memory.name] for p in plan.programs.values() if memory.name in p.how]
        bound = max([part.bound for part in parts] or [min(peak, plan.lower_bound(memory.name))])
        words = {part.solver for part in parts}
        found.append(
            {
                "memory": memory.name,
                "method": max((part.method for part in parts), key=METHODS.index, default=FIRST_FIT),
                "bound": min(peak, bound),
                "gap": max(0, peak - bound),
                "proven": peak <= bound,
                "solver": next((word for word in ("limit", "optimal") if word in words), ""),
                "solver_seconds": round(sum(part.solver_seconds for part in parts), 3),
            }
        )
    return found


def placement_words(found: Sequence[Mapping[str, Any]]) -> str:
    """One sentence for a person; memories that were placed alike together."""
    alike: dict[str, list[str]] = {}
    for p in found:
        how = WORDS.get(p["method"], p["method"])
        if p["solver"]:
            how += f" ({SOLVER[p['solver']]}, {p['solver_seconds']:g} s)"
        how += ", proven best" if p["proven"] else f", {p['gap']:,} B above the bound"
        alike.setdefault(how, []).append(p["memory"])
    return "; ".join(f"{', '.join(names)} by {how}" for how, names in alike.items())
