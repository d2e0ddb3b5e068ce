"""Writes the report's two files into an output folder."""

from __future__ import annotations

from pathlib import Path

from edgec.output import write_file
from edgec.report.report import Report
from edgec.report.text import plain_text


def write_report(folder: Path, report: Report) -> None:
    """report.json and report.txt, each replaced as a whole."""
    write_file(folder / "report.json", report.to_json())
    write_file(folder / "report.txt", plain_text(report))
