"""Verification and quality as lines of text."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

WORST = 3  # tensors named for their distance from the float model


def check_lines(verification: Mapping[str, Mapping[str, Any]], skipped: Mapping[str, str]) -> list[str]:
    """A line for each backend that was compared, and for each that was not, why."""
    lines = []
    for name, entry in verification.items():
        tensors, wrong = entry["tensors"], entry["mismatches"]
        if not wrong:
            lines.append(f"{name}: {tensors:,} tensors compared, no mismatch")
            continue
        first = entry["first_divergence"] or {}
        where = ", ".join(f"{key} {_short(value)}" for key, value in first.items())
        lines.append(f"{name}: {wrong:,} of {tensors:,} tensors differ, first: {where}")
    return lines + [f"{leg}: skipped, {reason}" for leg, reason in skipped.items()]


def quality_lines(quality: Sequence[Mapping[str, Any]]) -> list[str]:
    """Two lines for each text that the float model and the reference were compared on."""
    lines = []
    for entry in quality:
        plain = {k: v for k, v in entry.items() if not isinstance(v, (list, dict)) and k not in ("kind", "text")}
        facts = ", ".join(f"{key.replace('_', ' ')} {_short(value)}" for key, value in plain.items())
        lines.append(f"{entry.get('kind', 'quality').replace('_', ' ')} on {entry.get('text', 'a text')}: {facts}")
        if worst := entry.get("worst_tensors", [])[:WORST]:
            lines.append("furthest from float: " + ", ".join(f"{t['value']} (NMSE {_short(t['nmse'])})" for t in worst))
    return lines


def _short(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, float) else f"{value:,}" if isinstance(value, int) else str(value)
