"""Rolls phases that repeat into C loops.

Double buffering alternates between two slots, so phases repeat with period 1 or 2. A run of phases becomes a loop when
each has the shape of the one a period before and all its integers differ from that one's by the same constants as in
the period before. The loop computes exactly the integers of the plan: `base + i * stride`.
"""

from __future__ import annotations

from edgec.emit.phase_text import PhaseText

SHORTEST = 3  # repetitions worth a loop


def roll(phases: list[PhaseText]) -> str:
    """C statements that carry out the phases in order."""
    out: list[str] = []
    at = 0
    while at < len(phases):
        period, count = _longest_run(phases, at)
        if count >= SHORTEST:
            out.append(f"for (uint32_t i = 0; i < {count}u; i++) {{\n")
            for offset in range(period):
                first, second = phases[at + offset], phases[at + offset + period]
                out.append(
                    first.render([_affine(a, b - a) for a, b in zip(first.integers, second.integers, strict=True)])
                )
            out.append("}\n")
            at += period * count
        else:
            out.append(phases[at].render([f"{v}u" for v in phases[at].integers]))
            at += 1
    return "".join(out)


def _longest_run(phases: list[PhaseText], at: int) -> tuple[int, int]:
    """(period, repetitions) of the loop from `at` that covers most phases."""
    best = (1, 1)
    for period in (1, 2):
        count = 1
        while _repeats(phases, at, period, count):
            count += 1
        if count > 1 and period * count > best[0] * best[1]:
            best = (period, count)
    return best


def _repeats(phases: list[PhaseText], at: int, period: int, count: int) -> bool:
    """Whether repetition number `count` exists and continues the progression of those before it."""
    start = at + period * count
    if start + period > len(phases):
        return False
    for offset in range(period):
        first, second = phases[at + offset], phases[at + offset + period]
        this = phases[start + offset]
        if this.shape != first.shape:
            return False
        expected = (a + count * (b - a) for a, b in zip(first.integers, second.integers, strict=True))
        if this.shape != second.shape or tuple(expected) != this.integers:
            return False
    return True


def _affine(base: int, stride: int) -> str:
    if not stride:
        return f"{base}u"
    if stride < 0:
        return f"({base}u - i * {-stride}u)"
    return f"({base}u + i * {stride}u)" if base else f"i * {stride}u"
