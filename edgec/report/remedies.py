"""Remedies: what would make a model fit, each with the number that the plan's sizes give and none that they do not."""

from __future__ import annotations

from math import floor

from edgec.memory.plan import Plan
from edgec.report.memory_use import PADDING, Deficit

FEWEST_BITS = 2  # what a weight takes at least, before scales


def remedies(
    plan: Plan, breakdown: dict[str, dict[str, int]], deficits: list[Deficit], parameters: int, max_context: int
) -> list[str]:
    """Sentences, the most useful first; empty if everything lies on chip and fits."""
    off_chip = [m.name for m in plan.target.memories if not m.on_chip and plan.used_bytes(m.name)]
    short = {d.memory: d for d in deficits}
    if not short and not off_chip:
        return []
    result = []
    if short and 0 < max_context < plan.context:
        result.append(f"Shorten the context from {plan.context}: the longest that fits is --context {max_context}.")
    for d in deficits:
        if d.memory == plan.target.compute:
            result += _compute(plan, d, breakdown[d.memory])
        if cached := breakdown[d.memory]["kv"]:
            result.append(_context(plan, d, cached))
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
        result.append(f"Choose another target: this plan fits one whose {_listed(sizes)}.")
    return result


def _holds_weights(breakdown: dict[str, dict[str, int]], levels: list[str]) -> bool:
    return any(breakdown[n]["weights"] + breakdown[n]["scales"] for n in levels)


def _compute(plan: Plan, deficit: Deficit, parts: dict[str, int]) -> list[str]:
    rows, result = plan.programs["prefill"].rows, []
    held = parts["activations"] + parts["scratch"]
    if rows > 1 and held:
        result.append(
            f"Choose a --chunk below {rows}: activations and scratch, which grow with it, take {held:,} B of "
            f"{deficit.memory}."
        )
    if deficit.op.startswith("attention") and parts["scratch"]:
        result.append(
            f"Shorten the context from {plan.context}: attention keeps a row of scores as long as it; its scratch "
            f"takes {parts['scratch']:,} B of {deficit.memory}."
        )
    return result


def _context(plan: Plan, deficit: Deficit, cached: int) -> str:
    return (
        f"Shorten the context from {plan.context}: each token less frees {cached // plan.context:,} B of "
        f"{deficit.memory}, {cached:,} B at most."
    )


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
    return f"{text} Use fewer --bits or a larger --group-size." if most < now else text


def _listed(items: list[str]) -> str:
    return items[0] if len(items) == 1 else f"{', '.join(items[:-1])} and {items[-1]}"
