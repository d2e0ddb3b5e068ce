"""The memory demand of a build: what the exit code of `edgec build` says."""

from __future__ import annotations

from edgec.report.report import DOES_NOT_FIT, NEEDS_L3, Report


def demand(report: Report, on_chip: bool) -> str:
    """Empty if the model fits (on chip, if that is asked for), else the sentence that says why not."""
    if report.verdict == DOES_NOT_FIT:
        short = ", ".join(f"{d.bytes:,} B of {d.memory}" for d in report.deficits)
        return f"the model does not fit {report.target}: it lacks {short}."
    if on_chip and report.verdict == NEEDS_L3:
        used = ", ".join(f"{m.used:,} B lie in {m.name}" for m in report.memory if m.used and not m.on_chip)
        return f"--require on-chip is not met: {used}."
    return ""
