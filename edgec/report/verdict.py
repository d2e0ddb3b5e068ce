"""The verdict in a terminal: whether the model fits, what is missing, and what would help."""

from __future__ import annotations

from math import exp
from textwrap import fill

from rich.console import Console
from rich.text import Text

from edgec.report.blocks import line, plain_table, section
from edgec.report.report import DOES_NOT_FIT, FITS, NEEDS_L3, Report

STYLES = {FITS: "bold green", NEEDS_L3: "bold yellow", DOES_NOT_FIT: "bold red"}
STEMS = {FITS: "Fits on chip", NEEDS_L3: "Needs off-chip memory", DOES_NOT_FIT: "Does not fit"}
NO_REMEDY = "No change of the recipe that edgec tries is enough."


def show_verdict(report: Report, console: Console) -> None:
    """Title, verdict, deficits, advice and remedies."""
    line(console, Text(report.title, "bold"))
    line(console, Text(f"{STEMS[report.verdict]}: ", STYLES[report.verdict]).append(verdict(report), "default"))
    if report.deficits:
        _deficits(report, console)
    for sentence in report.advice:
        line(console, fill(sentence, console.width, initial_indent="- ", subsequent_indent="  "))
    if report.verdict != FITS:
        _remedies(report, console)


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
    pace = f"{report.main.tokens_per_second:,.1f} tokens/s at position {report.main.position}"
    if report.texts and not report.decode:
        longest = report.texts[-1]
        pace = f"{longest.milliseconds:,.1f} ms for a text of {longest.tokens} tokens"
    if report.verdict == NEEDS_L3:
        off = [m for m in report.memory if m.used and not m.on_chip]
        names = {m.name for m in off}
        moved = sum(n for link, n in report.main.link_bytes.items() if names & set(link.split(">")))
        run = "token" if report.decode else "run"
        held = " and ".join(f"{m.used:,} B lie in {m.name}" for m in off)
        return f"{held}, {moved:,} B of traffic with it per {run}; predicted {pace}, bound by {report.main.bottleneck}."
    used = [m for m in report.memory if m.used]
    tightest = min(used, key=lambda m: m.headroom / m.capacity)
    return f"{tightest.name} is tightest with {tightest.headroom:,} B to spare; predicted {pace}."


def aim(report: Report) -> str:
    """What remedies are for."""
    return "fit" if report.verdict == DOES_NOT_FIT else "stay on chip"


def factor(loss: float | None) -> str:
    """An expected loss as what perplexity is multiplied with."""
    return "not measured" if loss is None else "as before" if loss == 0 else f"x {exp(loss):.2f}"


def _remedies(report: Report, console: Console) -> None:
    if not report.remedies:
        line(console, fill(NO_REMEDY, console.width, initial_indent="- ", subsequent_indent="  "))
        return
    table = plain_table("change", "B less", "tokens/s", "perplexity")
    for r in report.remedies:
        pace = f"{r['tokens_per_second']:,.1f}"
        table.add_row(Text(r["change"], overflow="fold"), f"{r['saved_bytes']:,}", pace, factor(r["loss"]))
    table.columns[0].no_wrap = False
    one = "one of these changes is" if len(report.remedies) > 1 else "this change is"
    section(console, f"To {aim(report)}: {one} enough; each was planned anew", table)
    line(console, Text("perplexity: measured on another model, to rank by (docs/compression.md)", "dim"))
    section(console, "In the recipe")
    for r in report.remedies:
        line(console, Text(f"# {r['change']}", "dim"))
        line(console, r["recipe"])


def _deficits(report: Report, console: Console) -> None:
    for deficit in report.deficits:
        peak = next(m.peak for m in report.memory if m.name == deficit.memory)
        at = f" at step {peak.step} of {peak.program} ({peak.op}, {peak.source})" if peak else ""
        table = plain_table("name", "kind", "bytes", left=2)
        for user in deficit.largest:
            table.add_row(Text(user.name), user.kind, f"{user.bytes:,}")
        least = f"; no plan can lack less than {deficit.at_least:,} B" if deficit.at_least else ""
        section(console, f"{deficit.memory} lacks {deficit.bytes:,} B{at}{least}. Its biggest users:", table)
    console.print()
