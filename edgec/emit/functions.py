"""Shares one C function between all steps of one shape, the layers' steps above all.

An integer that is the same in all of them is a literal. The others come from the step's row of a table: `p[j]`, or
`p[j] + c` where it keeps a constant distance to one that is there already.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from edgec.emit.code_text import CodeText


@dataclass
class Function:
    """One C function: its name, its body, and how many numbers a step gives it."""

    name: str
    body: str
    parameters: int


@dataclass
class Shared:
    """Functions in order of first use; for every step in order its function's name and its numbers."""

    functions: list[Function] = field(default_factory=list)
    calls: list[tuple[str, list[int]]] = field(default_factory=list)


def share(steps: list[tuple[str, CodeText]]) -> Shared:
    """Functions and calls for steps given as (op, code)."""
    groups: dict[tuple[str, str], list[int]] = {}
    for number, (op, code) in enumerate(steps):
        groups.setdefault((op, code.shape), []).append(number)
    result = Shared(calls=[("", [])] * len(steps))
    counts: dict[str, int] = {}
    for (op, _), members in groups.items():
        counts[op] = counts.get(op, 0) + 1
        name = f"step_{op}_{counts[op]}"
        codes = [steps[number][1] for number in members]
        expressions, columns = _parameters([code.integers for code in codes])
        result.functions.append(Function(name, codes[0].render(expressions), len(columns)))
        for row, number in enumerate(members):
            result.calls[number] = (name, [column[row] for column in columns])
    return result


def _parameters(rows: list[tuple[int, ...]]) -> tuple[list[str], list[tuple[int, ...]]]:
    """An expression for each integer position, and the columns of the table that the expressions use."""
    expressions: list[str] = []
    columns: list[tuple[int, ...]] = []
    known: dict[tuple[int, ...], int] = {}
    for column in zip(*rows, strict=True):
        pattern = tuple(value - column[0] for value in column)
        if not any(pattern):
            expressions.append(f"{column[0]}u")
            continue
        if pattern not in known:
            known[pattern] = len(columns)
            columns.append(column)
        index = known[pattern]
        distance = column[0] - columns[index][0]
        sign = "+" if distance > 0 else "-"
        expressions.append(f"(p[{index}] {sign} {abs(distance)}u)" if distance else f"p[{index}]")
    return expressions, columns
