"""Advice: how far a plan is from fitting, as numbers that follow from its sizes. What would help is in remedies."""

from __future__ import annotations

from math import floor

from edgec.memory.plan import Plan
from edgec.report.memory_use import PADDING, Deficit

FEWEST_BITS = 2  # what a weight takes at least, before scales


def advice(plan: Plan, breakdown: dict[str, dict[str, int]], deficits: list[Deficit], parameters: int) -> list[str]:
    """Sentences; empty if everything lies on chip and fits."""
    off_chip = [m.name for m in plan.target.memories if not m.on_chip and plan.used_bytes(m.name)]
    short = {d.memory: d for d in deficits}
    if not short and not off_chip:
        return []
    result = []
    if _holds_weights(breakdown, [*short] if short else off_chip):
        on_chip = {m.name for m in plan.target.memories if m.on_chip}
        levels = [n for n in plan.target.placement.weights if short or n in on_chip]
        if levels:  # a target may keep all weights off chip
            result.append(_weights(plan, breakdown, levels, parameters, "fit" if short else "stay on chip"))
    if short:
        sizes = [
            f"{m.name} holds {m.capacity_bytes + short[m.name].bytes:,} B"
            for m in plan.target.memories
            if m.name in short
        ]
        result.append(f"This plan fits a target whose {_listed(sizes)}.")
    return result


def _holds_weights(breakdown: dict[str, dict[str, int]], levels: list[str]) -> bool:
    return any(breakdown[n]["weights"] + breakdown[n]["scales"] for n in levels)


def _weights(plan: Plan, breakdown: dict[str, dict[str, int]], levels: list[str], parameters: int, aim: str) -> str:
    """How small weights must be. A bound: what else lies in those memories stays, and gaps are not counted."""
    others = ("weights", "scales", PADDING)
    room = sum(
        plan.target.memory_by_name[n].capacity_bytes - sum(v for k, v in breakdown[n].items() if k not in others)
        for n in levels
    )
    stored = sum(b.size for b in plan.buffers if b.kind in ("weight", "scale"))
    now, most = 8 * stored / parameters, max(0.0, floor(800 * room / parameters) / 100)
    text = (
        f"To {aim}, weights with their scales must average at most {most:.2f} bits (now {now:.2f}): "
        f"{_listed(levels)} {'has' if len(levels) == 1 else 'have'} {max(0, room):,} B for {parameters:,} weights."
    )
    if most < FEWEST_BITS:
        return f"{text} Weights take {FEWEST_BITS} bits at least, so this needs a smaller model."
    return text


def _listed(items: list[str]) -> str:
    return items[0] if len(items) == 1 else f"{', '.join(items[:-1])} and {items[-1]}"
