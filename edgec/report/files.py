"""Writes the report's files into an output folder."""

from __future__ import annotations

from pathlib import Path

from edgec.output import write_file
from edgec.report.page import page
from edgec.report.report import Report
from edgec.report.text import plain_text


def write_report(folder: Path, report: Report) -> None:
    """report.json, report.txt and report.html, each replaced as a whole."""
    write_file(folder / "report.json", report.to_json())
    write_file(folder / "report.txt", plain_text(report))
    write_file(folder / "report.html", page(report))
