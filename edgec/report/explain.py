"""What each of the planner's decisions is worth: the same graphs planned without it, by the same cost model."""

from __future__ import annotations

import io
from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields, replace

from rich.console import Console

from edgec.cost.estimate import program_usage
from edgec.ir.graph import Graph
from edgec.memory.choices import Choices
from edgec.memory.plan import Plan
from edgec.memory.planner import plan
from edgec.report.blocks import plain_table, section

NAMES = {
    "residency": "weights near by saving",
    "in_place": "results in place",
    "tiling": "tiles by time",
    "early_loads": "loads a step earlier",
    "compaction": "buffers placed again",
}


@dataclass(frozen=True)
class Effect:
    """A decision: predicted cycles of a run at the end of the context and bytes of the compute memory, without it."""

    name: str
    decode_cycles: float
    prefill_cycles: float
    compute_bytes: int
    fits: bool


def effects(graphs: Mapping[str, Graph], made: Plan, say: Callable[[str], None] = lambda text: None) -> list[Effect]:
    """The plan as it is, then without each decision. What is left out takes what builds on it along."""
    found = [_measured("as planned", made)]
    for choice in fields(Choices):
        say(f"plan without {choice.name}")
        without = plan(graphs, made.target, made.context, replace(Choices(), **{choice.name: False}))
        found.append(_measured(choice.name, without))
    return found


def _measured(name: str, made: Plan) -> Effect:
    cycles = []
    for program in (made.programs["decode"], made.programs["prefill"]):
        rows = min(program.rows, made.context)
        cycles.append(program_usage(made, program, rows, made.context - rows).cycles)
    return Effect(name, cycles[0], cycles[1], made.arena_bytes(made.target.compute), not made.deficits())


def effects_text(found: list[Effect], compute: str) -> str:
    """A table: what more each run takes, and the compute memory, when a decision is left out."""
    table = plain_table("without", "decode cycles", "more", "prefill cycles", "more", f"{compute} B", "more")
    whole = found[0]
    for e in found:
        cells = [f"{e.decode_cycles:,.0f}", _more(e.decode_cycles, whole.decode_cycles)]
        cells += [f"{e.prefill_cycles:,.0f}", _more(e.prefill_cycles, whole.prefill_cycles)]
        cells += [f"{e.compute_bytes:,}", _more(e.compute_bytes, whole.compute_bytes) if e.fits else "no fit"]
        table.add_row("(nothing)" if e is whole else NAMES[e.name], *cells)
    stream = io.StringIO()
    console = Console(file=stream, width=100, color_system=None, legacy_windows=False)
    section(console, "What the planner's decisions are worth: the same model planned without each", table)
    return "\n".join(line.rstrip() for line in stream.getvalue().strip("\n").splitlines()) + "\n"


def _more(value: float, base: float) -> str:
    share = 100 * (value - base) / base if base else 0.0
    return "-" if abs(share) < 0.005 else f"{share:+.2f}%"
