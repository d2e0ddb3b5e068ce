"""The report as text for a terminal or a file: the verdict first, then memory, speed, model, checks, provenance."""

from __future__ import annotations

import io
from collections.abc import Mapping
from textwrap import fill
from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from edgec.report.checks import check_lines, quality_lines
from edgec.report.layers import error_lines, layer_errors
from edgec.report.memory_use import MemoryUse
from edgec.report.report import DOES_NOT_FIT, FITS, NEEDS_L3, Report
from edgec.report.sparsity import sparsity_lines
from edgec.report.speed import Speed
from edgec.report.stages import rich_table
from edgec.report.storage import storage_cells

WIDTH = 80
BAR = 10  # characters
STYLES = {FITS: "bold green", NEEDS_L3: "bold yellow", DOES_NOT_FIT: "bold red"}
STEMS = {FITS: "Fits on chip", NEEDS_L3: "Needs off-chip memory", DOES_NOT_FIT: "Does not fit"}


def plain_text(report: Report) -> str:
    """The report at 80 columns without colour."""
    stream = io.StringIO()
    render(report, Console(file=stream, width=WIDTH, color_system=None, force_terminal=False, legacy_windows=False))
    return "\n".join(line.rstrip() for line in stream.getvalue().splitlines()) + "\n"


def render(report: Report, console: Console) -> None:
    """Print the report."""
    _line(console, Text(report.title, "bold"))
    _line(console, Text(f"{STEMS[report.verdict]}: ", STYLES[report.verdict]).append(verdict(report), "default"))
    if report.deficits:
        _deficits(report, console)
    for remedy in report.remedies:
        _line(console, fill(remedy, console.width, initial_indent="- ", subsequent_indent="  "))
    _memory(report, console)
    _breakdown(report, console)
    _speed(report, console)
    _ops(report, console)
    _model(report, console)
    _stages(report, console)
    _checks(report, console)
    _provenance(report, console)


def verdict(report: Report) -> str:
    """What the verdict means here, in one sentence with its numbers."""
    if report.verdict == DOES_NOT_FIT:
        uses = {m.name: m for m in report.memory}
        parts = [
            f"{d.memory} of {report.target} holds {uses[d.memory].capacity:,} B, this plan needs "
            f"{uses[d.memory].used:,} B: {d.bytes:,} B too many"
            for d in report.deficits
        ]
        return "; ".join(parts) + "."
    pace = f"{report.decode.tokens_per_second:,.1f} tokens/s at position {report.decode.position}"
    if report.verdict == NEEDS_L3:
        off = [m for m in report.memory if m.used and not m.on_chip]
        names = {m.name for m in off}
        moved = sum(n for link, n in report.decode.link_bytes.items() if names & set(link.split(">")))
        held = " and ".join(f"{m.used:,} B lie in {m.name}" for m in off)
        return (
            f"{held}, {moved:,} B of traffic with it per token; predicted {pace}, bound by {report.decode.bottleneck}."
        )
    used = [m for m in report.memory if m.used]
    tightest = min(used, key=lambda m: m.headroom / m.capacity)
    return f"{tightest.name} is tightest with {tightest.headroom:,} B to spare; predicted {pace}."


def _line(console: Console, text: Text | str) -> None:
    console.print(text, highlight=False, markup=False, soft_wrap=False)


def _table(*columns: str, left: int = 1) -> Table:
    """A borderless table whose first `left` columns are text, the others numbers."""
    table = Table(box=None, padding=(0, 2, 0, 0), pad_edge=False, header_style="dim")
    for number, name in enumerate(columns):
        justify: Any = "left" if number < left else "right"
        table.add_column(name, justify=justify, no_wrap=True, overflow="ellipsis")
    return table


def _section(console: Console, title: str, body: Table | None = None) -> None:
    console.print()
    _line(console, Text(title, "bold"))
    if body is not None:
        _show(console, body)


def _show(console: Console, table: Table) -> None:
    """Print a table, its columns closer together if it would lose digits otherwise."""
    if console.measure(table).maximum > console.width:
        table.padding = (0, 1, 0, 0)
    console.print(table, highlight=False)


def _deficits(report: Report, console: Console) -> None:
    for deficit in report.deficits:
        peak = next(m.peak for m in report.memory if m.name == deficit.memory)
        at = f" at step {peak.step} of {peak.program} ({peak.op}, {peak.source})" if peak else ""
        table = _table("name", "kind", "bytes", left=2)
        for user in deficit.largest:
            table.add_row(Text(user.name), user.kind, f"{user.bytes:,}")
        least = f"; no plan can lack less than {deficit.at_least:,} B" if deficit.at_least else ""
        _section(console, f"{deficit.memory} lacks {deficit.bytes:,} B{at}{least}. Its biggest users:", table)
    console.print()


def _memory(report: Report, console: Console) -> None:
    table = _table("memory", "use", "used B", "capacity B", "headroom B", "bound B", left=2)
    for m in report.memory:
        style = "red" if m.headroom < 0 else ""
        table.add_row(
            m.name,
            _bar(m, console.encoding),
            f"{m.used:,}",
            f"{m.capacity:,}",
            Text(f"{m.headroom:+,}", style),
            f"{m.lower_bound:,}",
        )
    _section(console, "Memory", table)


def _bar(m: MemoryUse, encoding: str) -> Text:
    full, empty = ("█", "░") if encoding.lower().startswith("utf") else ("#", ".")
    share = m.used / m.capacity
    filled = min(BAR, -(-m.used * BAR // m.capacity))  # any use shows
    style = "red" if share > 1 else "green" if m.on_chip else "yellow"
    percent = f"{100 * m.used // m.capacity:4d}%" if not m.used or share >= 0.01 else "  <1%"
    return Text(full * filled, style).append(empty * (BAR - filled), "dim").append(percent, "default")


def _breakdown(report: Report, console: Console) -> None:
    """Kinds down, memories across; columns add up to the use. Memories and kinds without a byte are left out."""
    used = [m.name for m in report.memory if m.used]
    kinds = [k for k in _kinds(report.breakdown) if any(report.breakdown[n][k] for n in used)]
    table = _table("bytes at the peak", *used)
    for kind in kinds:
        table.add_row(kind, *(f"{report.breakdown[n][kind]:,}" if report.breakdown[n][kind] else "-" for n in used))
    table.add_row("used", *(f"{sum(report.breakdown[n].values()):,}" for n in used), style="bold")
    _section(console, "Breakdown", table)


def _kinds(breakdown: Mapping[str, Mapping[str, int]]) -> list[str]:
    return list(dict.fromkeys(kind for parts in breakdown.values() for kind in parts))


def _speed(report: Report, console: Console) -> None:
    table = _table("run", "rows", "position", "tokens/s", "cycles", "waits for")
    for name, s in (("decode", report.decode), ("prefill", report.prefill)):
        table.add_row(name, str(s.rows), str(s.position), f"{s.tokens_per_second:,.1f}", f"{s.cycles:,}", _waits(s))
    _section(
        console, f"Predicted speed at {report.clock_hz / 1e6:,.0f} MHz, at the end of the context (the slowest)", table
    )
    traffic = _table("link", "decode B/token", "busy", "prefill B/run", "busy")
    for link in sorted({*report.decode.link_bytes, *report.prefill.link_bytes}):
        cells = []
        for s in (report.decode, report.prefill):
            cells += [f"{s.link_bytes.get(link, 0):,}", _percent(s.link_cycles.get(link, 0), s.cycles)]
        traffic.add_row(link, *cells)
    if traffic.row_count:
        console.print()
        _show(console, traffic)


def _waits(s: Speed) -> str:
    ranked = sorted(s.bound_by.items(), key=lambda item: -item[1])[:2]
    return ", ".join(f"{name} {_percent(cycles, s.cycles)}" for name, cycles in ranked if 100 * cycles >= s.cycles)


def _percent(part: int, whole: int) -> str:
    return f"{100 * part / whole:.0f}%" if whole else "-"


def _ops(report: Report, console: Console) -> None:
    table = _table("decode step", "steps", "cycles", "share", "busiest")
    for cost in report.decode.by_op:
        table.add_row(cost.op, str(cost.steps), f"{cost.cycles:,}", f"{100 * cost.share:.1f}%", cost.bottleneck)
    _section(console, "Where a token's time goes", table)


def model_lines(report: Report) -> list[str]:
    """The model, what it weighs and how far its context reaches, a fact a line."""
    m = report.model
    tied = ", tied embeddings" if m.get("tied_embeddings") else ""
    lines = [
        f"{m['family']}: {m['n_layers']} layers, hidden {m['hidden_dim']}, feed-forward {m['ffn_dim']}, "
        f"{m['n_heads']} heads ({m['n_kv_heads']} key/value) of {m['head_dim']}, vocabulary {m['vocab_size']:,}{tied}",
    ]
    widths = ", ".join(f"{count:,} of {bits} bits" for bits, count in sorted(m["weights_by_bits"].items()))
    lines.append(
        f"{m['parameters']:,} parameters in {m['weight_bytes']:,} B, {m['bits_per_weight']:.2f} bits each with scales "
        f"({widths})"
    )
    if kept := m["matrices_kept"]:
        lines.append(f"{kept} matrices keep the codes and scales that they came with, without a second rounding")
    lines += sparsity_lines(m["sparsity"])
    if branches := m["branches"]:
        ranks = " to ".join(dict.fromkeys((str(branches["rank_min"]), str(branches["rank_max"]))))
        bits = " and ".join(map(str, branches["bits"]))
        lines.append(
            f"low-rank branches beside {branches['count']} matrices: rank {ranks}, {bits} bits, "
            f"{branches['bytes']:,} B of these"
        )
    lines.append(
        f"context {report.context}, prefill in chunks of {report.chunk}; "
        f"cache {report.recipe.get('build', {}).get('kv', 'int8')}, {report.kv_bytes_per_token:,} B per token; "
        + (f"longest context that fits: {report.max_context}" if report.max_context else "no context fits")
    )
    if report.program:
        p = report.program
        lines.append(
            f"program: {p['code_bytes']:,} B code, {p['data_bytes']:,} B data, {p['stack_bytes']:,} B stack reserved"
        )
    return lines


def any_pruned(report: Report) -> bool:
    """Whether matrices are pruned, or packed: then what each role takes is worth a table."""
    return bool(report.model["sparsity"]) or any(row["pattern"] for row in report.model["storage"])


def _model(report: Report, console: Console) -> None:
    _section(console, "Model")
    for line in model_lines(report):
        _line(console, line)
    if any_pruned(report):
        heading, *rows = storage_cells(report.model["storage"])
        table = _table(*heading, left=2)
        for row in rows:
            table.add_row(*row)
        console.print()
        _show(console, table)
        console.print()
    for line in error_lines(layer_errors(report.stages, report.quantization), console.encoding):
        _line(console, line)


def _stages(report: Report, console: Console) -> None:
    if report.stages:
        _section(console, "Compression", rich_table(report.stages, console.encoding))


def _checks(report: Report, console: Console) -> None:
    _section(console, "Verification")
    if not report.verification and not report.skipped:
        built = report.program is not None and report.verdict != DOES_NOT_FIT
        _line(console, "not verified yet: run edgec verify OUT" if built else "nothing to verify: there is no program")
    for line in check_lines(report.verification, report.skipped):
        _line(console, line)
    for line in quality_lines(report.quality):
        _line(console, line)


def _provenance(report: Report, console: Console) -> None:
    p = report.provenance
    files = " ".join(f"{name}:{digest[:12]}" for name, digest in p.get("files", {}).items())
    sums = " ".join(
        f"{key.removesuffix('_sha256')}:{p[key][:12]}" for key in ("plan_sha256", "project_sha256") if key in p
    )
    versions = " ".join(f"{name} {version}" for name, version in p.get("versions", {}).items())
    console.print()
    parts = [f"edgec {report.edgec}", versions, f"from {p.get('source', '?')} ({p.get('format', '?')})", files, sums]
    _line(console, Text(" | ".join(part for part in parts if part), "dim"))
    for note in p.get("notes", []):
        _line(console, Text(f"note: {note}", "dim"))
