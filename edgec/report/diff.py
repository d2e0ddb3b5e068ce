"""Two reports side by side: what changed in verdict, memory, speed and size, and where."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from edgec.report.report import Report
from edgec.report.stages import measured_by


@dataclass(frozen=True)
class Change:
    """One figure of both reports; numbers or words. section groups them; equal ones are told apart by `changed`."""

    section: str
    name: str
    before: Any
    after: Any

    @property
    def changed(self) -> bool:
        """Whether the two differ."""
        return bool(self.before != self.after)

    @property
    def difference(self) -> float | None:
        """after - before of two numbers, else None."""
        numbers = (int, float)
        if isinstance(self.before, numbers) and isinstance(self.after, numbers):
            return self.after - self.before
        return None


def changes(a: Report, b: Report) -> list[Change]:
    """Every figure that both or one of the reports has, in the order of the report."""
    first, second = dict(_figures(a)), dict(_figures(b))
    keys = [*first, *(key for key in second if key not in first)]
    return [Change(*key, first.get(key), second.get(key)) for key in keys]


def _figures(report: Report) -> Iterator[tuple[tuple[str, str], Any]]:
    yield ("build", "verdict"), report.verdict
    yield ("build", "target"), report.target
    yield ("build", "context"), report.context
    yield ("build", "longest context"), report.max_context
    yield ("build", "tokens of a run"), report.chunk
    for memory in report.memory:
        if memory.used:
            yield ("memory, B", memory.name), memory.used
    for memory in report.memory:
        for kind, size in report.breakdown[memory.name].items():
            if size:
                yield ("at the peak, B", f"{memory.name} {kind}"), size
    for name, speed in report.runs.items():
        yield ("speed", f"{name} cycles"), speed.cycles
        yield ("speed", f"{name} tokens/s"), speed.tokens_per_second
        for cost in sorted(speed.by_op, key=lambda c: c.op):
            yield ("cycles", f"{name} {cost.op}"), cost.cycles
        for link, size in sorted(speed.link_bytes.items()):
            yield ("traffic, B", f"{name} {link}"), size
    for text in report.texts:
        yield ("speed", f"text of {text.tokens} tokens, cycles"), text.cycles
    yield ("model", "parameters"), report.model["parameters"]
    yield ("model", "weights, B"), report.model["weight_bytes"]
    yield ("model", "bits per weight"), report.model["bits_per_weight"]
    yield ("model", "cache, B per token"), report.kv_bytes_per_token
    for key, size in (report.program or {}).items():
        if key.endswith("_bytes"):
            yield ("program, B", key.removesuffix("_bytes")), size
    for entry in report.quality:
        for key in ("perplexity_reference", "bits_per_byte_reference", "nmse_logits", "cosine_mean", "cosine_min"):
            if key in entry:
                yield ("quality", f"{entry.get('text', 'a text')}: {key.replace('_', ' ')}"), entry[key]
    metric = measured_by(report.stages)
    measured = [s for s in report.stages if (s.get("quality") or {}).get(metric)]
    if measured:
        yield ("quality", f"{metric.replace('_', ' ')} of the last stage"), measured[-1]["quality"][metric]


def diff_text(names: tuple[str, str], found: list[Change], everything: bool = False) -> str:
    """What changed as plain text; `everything` lists equal figures too."""
    from io import StringIO

    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    shown = [c for c in found if everything or c.changed]
    if not shown:
        return f"{names[0]} and {names[1]} report the same figures."
    table = Table(box=None, padding=(0, 2, 0, 0), pad_edge=False, header_style="bold")
    table.add_column("", no_wrap=True)
    for name in (*names, "difference", ""):
        table.add_column(name, justify="right", no_wrap=True)
    section = ""
    for change in shown:
        if change.section != section:
            section = change.section
            table.add_row(Text(section, "bold"))
        difference = change.difference
        share = ""
        if difference is not None and change.before:
            share = f"{100 * difference / change.before:+.1f} %"
        plus = "" if difference is None else _number(difference, "+")
        table.add_row(f"  {change.name}", _cell(change.before), _cell(change.after), plus, share)
    stream = StringIO()
    Console(file=stream, width=110, color_system=None).print(table)
    lines = [line.rstrip() for line in stream.getvalue().splitlines()]
    equal = len(found) - len(shown)
    return "\n".join([*lines, f"{equal} figures are equal." if equal else ""]).rstrip()


def _cell(value: Any) -> str:
    return "-" if value is None else value if isinstance(value, str) else _number(value)


def _number(value: float, sign: str = "") -> str:
    if isinstance(value, int) or float(value).is_integer():
        return f"{int(value):{sign},}"
    return f"{value:{sign},.4g}" if abs(value) < 100 else f"{value:{sign},.1f}"
