"""What an analysis leaves: NAME.csv, NAME.json, NAME.html (works from a file, offline) and NAME.png."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from edgec.analyze.cells import Cells
from edgec.analyze.pictures import picture
from edgec.output import write_files
from edgec.report.charts import Figure
from edgec.report.page import environment, plotly_script

DIGITS = 6


@dataclass(frozen=True)
class Analysis:
    """Rows for the table, charts by title, sentences that sum it up, and the protocol."""

    name: str
    title: str
    rows: Sequence[Mapping[str, Any]]
    charts: Sequence[tuple[str, Figure]]
    lines: Sequence[str]
    summary: Sequence[Sequence[str]]  # a short table for the page and the terminal, its heading first
    facts: Mapping[str, Any]
    cells: Cells | None = None  # numbers that it was made from: forgotten when it is written

    def write(self, folder: Path) -> list[Path]:
        """The files' names. Raises OutputError if the disk refuses, ToolError without matplotlib or plotly.

        All are written or none; what was measured is kept until then.
        """
        files: dict[str, str | bytes] = {
            f"{self.name}.csv": self._csv(),
            f"{self.name}.json": json.dumps(
                {"title": self.title, "protocol": self.facts, "lines": list(self.lines), "rows": self._rounded()},
                indent=1,
            )
            + "\n",
            f"{self.name}.html": self._html(),
        }
        files[f"{self.name}.png"] = picture(self.charts)
        paths = {folder / name: content for name, content in files.items()}
        write_files(paths)
        if self.cells:
            self.cells.forget()
        return list(paths)

    def _rounded(self) -> list[dict[str, Any]]:
        return [
            {k: float(f"{v:.{DIGITS}g}") if isinstance(v, float) else v for k, v in row.items()} for row in self.rows
        ]

    def _csv(self) -> str:
        stream = io.StringIO()
        writer = csv.DictWriter(stream, list(self.rows[0]), lineterminator="\n")
        writer.writeheader()
        writer.writerows(self._rounded())
        return stream.getvalue()

    def _html(self) -> str:
        ids = [f"chart{number}" for number in range(len(self.charts))]
        figures = {key: figure for key, (_, figure) in zip(ids, self.charts, strict=True)}
        template = environment().get_template("analysis.html.j2")
        return template.render(
            title=self.title,
            lines=self.lines,
            charts=[(title, key) for key, (title, _) in zip(ids, self.charts, strict=True)],
            figures_json=json.dumps(figures, separators=(",", ":")).replace("<", "\\u003c"),
            plotly=plotly_script(),
            table_heading="In short",
            table=self.summary,
            facts=self.facts.items(),
        )
