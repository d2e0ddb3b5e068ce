"""Rolls phases that repeat into C loops.

Double buffering alternates between two slots, so phases repeat with period 1 or 2. A run of phases becomes a loop when
each has the shape of the one a period before and all its integers differ from that one's by the same constants as in
the period before. The loop computes exactly the integers of the plan: `base + i * stride`.
"""

from __future__ import annotations

from edgec.emit.code_text import HOLE, CodeText

SHORTEST = 3  # repetitions worth a loop


def roll(phases: list[CodeText]) -> CodeText:
    """C statements that carry out the phases in order; bases, strides and counts stay holes."""
    out = CodeText("", ())
    at = 0
    while at < len(phases):
        period, count = _longest_run(phases, at)
        if count >= SHORTEST:
            out += CodeText(f"for (uint32_t i = 0; i < {HOLE}; i++) {{\n", (count,))
            for offset in range(period):
                out += _affine(phases[at + offset], phases[at + offset + period])
            out += CodeText("}\n", ())
            at += period * count
        else:
            out += phases[at]
            at += 1
    return out


def _longest_run(phases: list[CodeText], at: int) -> tuple[int, int]:
    """(period, repetitions) of the loop from `at` that covers most phases."""
    best = (1, 1)
    for period in (1, 2):
        count = 1
        while _repeats(phases, at, period, count):
            count += 1
        if count > 1 and period * count > best[0] * best[1]:
            best = (period, count)
    return best


def _repeats(phases: list[CodeText], at: int, period: int, count: int) -> bool:
    """Whether repetition number `count` exists and continues the progression of those before it."""
    start = at + period * count
    if start + period > len(phases):
        return False
    for offset in range(period):
        first, second = phases[at + offset], phases[at + offset + period]
        this = phases[start + offset]
        if this.shape != first.shape or this.shape != second.shape:
            return False
        expected = (a + count * (b - a) for a, b in zip(first.integers, second.integers, strict=True))
        if tuple(expected) != this.integers:
            return False
    return True


def _affine(first: CodeText, second: CodeText) -> CodeText:
    """The first phase with `i` times the step to the second added to each integer that changes."""
    parts = first.shape.split(HOLE)
    shape, integers = [parts[0]], []
    for part, a, b in zip(parts[1:], first.integers, second.integers, strict=True):
        if a == b:
            shape.append(HOLE)
            integers.append(a)
        else:
            shape.append(f"({HOLE} {'+' if b > a else '-'} i * {HOLE})")
            integers += [a, abs(b - a)]
        shape.append(part)
    return CodeText("".join(shape), tuple(integers))
