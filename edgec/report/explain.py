"""What each of the decisions of lowering and planner is worth: the same model without it, by the same cost model."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import fields
from typing import Any

from rich.table import Table

from edgec.compress.quantized import QuantizedModel
from edgec.cost.estimate import program_usage
from edgec.memory.choices import Choices
from edgec.memory.plan import Plan
from edgec.planning import without
from edgec.report.blocks import plain_table

NAMES = {
    "join": "q,k,v; gate,up joined",
    "norm_quantize": "norm+quantise in one",
    "silu_quantize": "SiLU+quantise in one",
    "gate_up_silu": "gate,up with SiLU",
    "rope_append": "RoPE+cache in one",
    "residual": "residual in the matmul",
    "mlp": "gate,up,down in one",
    "attention": "attention in one call",
    "accelerator": "matmuls on N-EUREKA",
    "residency": "weights near by saving",
    "near": "constants kept in L1",
    "near_cache": "cache kept in L1",
    "in_place": "results in place",
    "tiling": "tiles by time",
    "early_loads": "loads a step earlier",
    "kept_rows": "angles loaded once",
    "early_cache": "cache loaded early",
    "compaction": "buffers placed again",
}
TITLE = "What the planner's decisions are worth: cycles of the same model without each"
Effect = Mapping[str, Any]


def effects(model: QuantizedModel, made: Plan, say: Callable[[str], None] = lambda text: None) -> list[Effect]:
    """The plan of a model as quantised, then its plans without each decision.

    Each with: without (the decision, "" of the plan as it is), decode_cycles and prefill_cycles of a run at the end of
    the context, compute_bytes of the compute memory, fits. What is left out takes what builds on it along.
    """
    found = [_measured("", made)]
    for choice in fields(Choices):
        say(f"plan without {choice.name}")
        found.append(_measured(choice.name, without(choice.name, model, made)))
    return found


def _measured(name: str, made: Plan) -> Effect:
    cycles = {}
    for program in ("decode", "prefill"):
        rows = min(made.programs[program].rows, made.context)
        usage = program_usage(made, made.programs[program], rows, made.context - rows)
        cycles[f"{program}_cycles"] = round(usage.cycles)
    size = made.arena_bytes(made.target.compute)
    return {"without": name, **cycles, "compute_bytes": size, "fits": not made.deficits()}


def effects_rows(found: Sequence[Effect], compute: str) -> list[tuple[str, ...]]:
    """For a person, the heading first: what more each run takes, and the compute memory, without a decision."""
    columns = ("decode_cycles", "prefill_cycles", "compute_bytes")
    rows: list[tuple[str, ...]] = [("without", "decode", "more", "prefill", "more", f"{compute} B", "more")]
    for e in found:
        cells = [part for key in columns for part in (f"{e[key]:,}", _more(e[key], found[0][key]))]
        if not e["fits"]:
            cells[-1] = "no fit"
        rows.append((NAMES[e["without"]] if e["without"] else "(nothing)", *cells))
    return rows


def effects_table(found: Sequence[Effect], compute: str) -> Table:
    """The rows for a terminal."""
    heading, *rows = effects_rows(found, compute)
    table = plain_table(*heading)
    for row in rows:
        table.add_row(*row)
    return table


def _more(value: float, base: float) -> str:
    share = 100 * (value - base) / base if base else 0.0
    return "-" if abs(share) < 0.005 else f"{share:+.2f}%"
