"""The report as text for a terminal or a file: the verdict first, then memory, speed, model, checks, provenance."""

from __future__ import annotations

import io
from collections.abc import Mapping
from typing import Any

from rich.console import Console
from rich.text import Text

from edgec.report.blocks import line, plain_table, section, show
from edgec.report.checks import check_lines, quality_lines
from edgec.report.encoding import encoding_line
from edgec.report.explain import TITLE, effects_table
from edgec.report.layer_table import layer_cells
from edgec.report.layers import error_lines, layer_errors
from edgec.report.memory_use import MemoryUse
from edgec.report.placements import placement_words
from edgec.report.report import DOES_NOT_FIT, Report
from edgec.report.sparsity import sparsity_lines
from edgec.report.speed import Speed
from edgec.report.stages import rich_table
from edgec.report.storage import storage_cells
from edgec.report.verdict import show_verdict

WIDTH = 80
BAR = 10  # characters
GAP = "gap: data above the least that any placement of them can take; 0% is proven best"


def plain_text(report: Report) -> str:
    """The report at 80 columns without colour."""
    stream = io.StringIO()
    render(report, Console(file=stream, width=WIDTH, color_system=None, force_terminal=False, legacy_windows=False))
    return "\n".join(line.rstrip() for line in stream.getvalue().splitlines()) + "\n"


def render(report: Report, console: Console) -> None:
    """Print the report."""
    show_verdict(report, console)
    _memory(report, console)
    _breakdown(report, console)
    _speed(report, console)
    _ops(report, console)
    _layers(report, console)
    _effects(report, console)
    _model(report, console)
    _stages(report, console)
    _checks(report, console)
    _provenance(report, console)


def _memory(report: Report, console: Console) -> None:
    table = plain_table("memory", "use", "used B", "capacity B", "headroom B", "bound B", "gap", left=2)
    for m in report.memory:
        style = "red" if m.headroom < 0 else ""
        table.add_row(
            m.name,
            _bar(m, console.encoding),
            f"{m.used:,}",
            f"{m.capacity:,}",
            Text(f"{m.headroom:+,}", style),
            f"{m.lower_bound:,}",
            f"{m.gap_percent:.1f}%" if m.used else "-",
        )
    section(console, "Memory", table)
    line(console, Text(GAP, "dim"))
    if report.placements:
        line(console, Text(f"placed: {placement_words(report.placements)}", "dim"))


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
    table = plain_table("bytes at the peak", *used)
    for kind in kinds:
        table.add_row(kind, *(f"{report.breakdown[n][kind]:,}" if report.breakdown[n][kind] else "-" for n in used))
    table.add_row("used", *(f"{sum(report.breakdown[n].values()):,}" for n in used), style="bold")
    section(console, "Breakdown", table)


def _kinds(breakdown: Mapping[str, Mapping[str, int]]) -> list[str]:
    return list(dict.fromkeys(kind for parts in breakdown.values() for kind in parts))


def _speed(report: Report, console: Console) -> None:
    table = plain_table("run", "rows", "position", "tokens/s", "cycles", "waits for")
    for name, s in report.runs.items():
        table.add_row(name, str(s.rows), str(s.position), f"{s.tokens_per_second:,.1f}", f"{s.cycles:,}", _waits(s))
    section(
        console, f"Predicted speed at {report.clock_hz / 1e6:,.0f} MHz, at the end of the context (the slowest)", table
    )
    if report.texts:
        console.print()
        times = plain_table("text of", "cycles", "milliseconds")
        for text in report.texts:
            times.add_row(f"{text.tokens} tokens", f"{text.cycles:,}", f"{text.milliseconds:,.1f}")
        show(console, times)
    heads = [(f"{name} B/{'token' if s.rows == 1 else 'run'}", "busy") for name, s in report.runs.items()]
    traffic = plain_table("link", *(cell for head in heads for cell in head))
    for link in sorted({link for s in report.runs.values() for link in s.link_bytes}):
        cells = []
        for s in report.runs.values():
            cells += [f"{s.link_bytes.get(link, 0):,}", _percent(s.link_cycles.get(link, 0), s.cycles)]
        traffic.add_row(link, *cells)
    if traffic.row_count:
        console.print()
        show(console, traffic)


def _waits(s: Speed) -> str:
    ranked = sorted(s.bound_by.items(), key=lambda item: -item[1])[:2]
    return ", ".join(f"{name} {_percent(cycles, s.cycles)}" for name, cycles in ranked if 100 * cycles >= s.cycles)


def _percent(part: int, whole: int) -> str:
    return f"{100 * part / whole:.0f}%" if whole else "-"


def _ops(report: Report, console: Console) -> None:
    name = next(iter(report.runs))
    table = plain_table(f"{name} step", "steps", "cycles", "share", "busiest")
    for cost in report.main.by_op:
        table.add_row(cost.op, str(cost.steps), f"{cost.cycles:,}", f"{100 * cost.share:.1f}%", cost.bottleneck)
    section(console, f"Where {'a token' if report.decode else 'a run'}'s time goes", table)


def _layers(report: Report, console: Console) -> None:
    errors = layer_errors(report.stages, report.quantization)
    heading, *rows = layer_cells(report.layers, errors, next(iter(report.runs)))
    table = plain_table(*heading)
    for row in rows:
        table.add_row(*row)
    section(console, "Layer by layer", table)


def model_lines(report: Report) -> list[str]:
    """The model, what it weighs and how far its context reaches, a fact a line."""
    m = report.model
    tied = ", tied embeddings" if m.get("tied_embeddings") else ""
    if bare := m.get("without_attention"):
        tied += f", no attention in {'layers' if len(bare) > 1 else 'layer'} {', '.join(map(str, bare))}"
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
    if m["encoding"]:
        lines.append(encoding_line(m["encoding"]))
    lines += sparsity_lines(m["sparsity"])
    if branches := m["branches"]:
        ranks = " to ".join(dict.fromkeys((str(branches["rank_min"]), str(branches["rank_max"]))))
        bits = " and ".join(map(str, branches["bits"]))
        lines.append(
            f"low-rank branches beside {branches['count']} matrices: rank {ranks}, {bits} bits, "
            f"{branches['bytes']:,} B of these"
        )
    if report.encode and report.decode:
        lines[0] += (
            f"; in front an encoder of {m['encoder_layers']} layers, feed-forward {m['encoder_ffn_dim']}, "
            f"{m['encoder_heads']} heads"
        )
    elif report.encode:
        lines.append(f"a vector of {m['hidden_dim']} numbers for a text: {_vector(m)}")
    lines.append(
        f"context {report.context}, {'encoded' if report.encode else 'prefill'} in chunks of {report.chunk}; "
        f"cache {report.recipe.get('build', {}).get('kv', 'int8')}, {report.kv_bytes_per_token:,} B per token; "
        + (f"longest context that fits: {report.max_context}" if report.max_context else "no context fits")
    )
    if report.program:
        p = report.program
        parts = (("code", "code"), ("data", "data"), ("stack", "stacks"))
        lines.append("program: " + ", ".join(f"{p[f'{k}_bytes']:,} B {name} in {p[f'{k}_level']}" for k, name in parts))
    return lines


def _vector(m: Mapping[str, Any]) -> str:
    """How an encoder's rows become one."""
    pooled = {"mean": "the mean of its rows", "first": "its first row"}[str(m["pooling"])]
    return f"{pooled}{', of length 1' if m['normalize'] else ''}"


def _effects(report: Report, console: Console) -> None:
    if report.effects:
        compute = report.memory[0].name
        section(console, TITLE, effects_table(report.effects, compute))


def forms_differ(report: Report) -> bool:
    """Whether matrices are pruned, packed or encoded: then what each role takes is worth a table."""
    return bool(report.model["sparsity"]) or any(row["pattern"] or row["form"] for row in report.model["storage"])


def _model(report: Report, console: Console) -> None:
    section(console, "Model")
    for sentence in model_lines(report):
        line(console, sentence)
    if forms_differ(report):
        heading, *rows = storage_cells(report.model["storage"])
        table = plain_table(*heading, left=2)
        for row in rows:
            table.add_row(*row)
        console.print()
        show(console, table)
        console.print()
    for sentence in error_lines(layer_errors(report.stages, report.quantization), console.encoding):
        line(console, sentence)


def _stages(report: Report, console: Console) -> None:
    if report.stages:
        section(console, "Compression", rich_table(report.stages, console.encoding))


def _checks(report: Report, console: Console) -> None:
    section(console, "Verification")
    if not report.verification and not report.skipped:
        built = report.program is not None and report.verdict != DOES_NOT_FIT
        line(console, "not verified yet: run edgec verify OUT" if built else "nothing to verify: there is no program")
    for sentence in check_lines(report.verification, report.skipped):
        line(console, sentence)
    for sentence in quality_lines(report.quality):
        line(console, sentence)


def _provenance(report: Report, console: Console) -> None:
    p = report.provenance
    files = " ".join(f"{name}:{digest[:12]}" for name, digest in p.get("files", {}).items())
    sums = " ".join(
        f"{key.removesuffix('_sha256')}:{p[key][:12]}" for key in ("plan_sha256", "project_sha256") if key in p
    )
    versions = " ".join(f"{name} {version}" for name, version in p.get("versions", {}).items())
    console.print()
    parts = [f"edgec {report.edgec}", versions, f"from {p.get('source', '?')} ({p.get('format', '?')})", files, sums]
    line(console, Text(" | ".join(part for part in parts if part), "dim"))
    for note in p.get("notes", []):
        line(console, Text(f"note: {note}", "dim"))
