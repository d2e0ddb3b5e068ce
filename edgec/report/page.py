"""The report as one HTML page that works from a file with the network off: tables by Jinja, charts by plotly.js in it.

plotly.js comes from the plotly package; it is stored compressed and the browser unpacks it, so the page stays small.
"""

from __future__ import annotations

import base64
import gzip
import importlib.util
import json
from functools import cache
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from edgec.errors import ToolError
from edgec.report import charts
from edgec.report.checks import check_lines, quality_lines
from edgec.report.explain import effects_rows
from edgec.report.layer_table import layer_cells
from edgec.report.layers import error_lines, layer_errors
from edgec.report.report import FITS, NEEDS_L3, Report
from edgec.report.roofline import roofline, roofline_steps
from edgec.report.stages import stage_rows
from edgec.report.storage import storage_cells
from edgec.report.text import GAP, forms_differ, model_lines
from edgec.report.verdict import NO_REMEDY, STEMS, aim, factor, verdict
from edgec.resources import folder

MOODS = {FITS: "good", NEEDS_L3: "fair"}


def page(report: Report) -> str:
    """The whole page. Raises ToolError if the plotly package is missing or damaged."""
    figures = figures_of(report)
    errors = layer_errors(report.stages, report.quantization)
    template = environment().get_template("report.html.j2")
    return template.render(
        report=report,
        stem=STEMS[report.verdict],
        verdict=verdict(report),
        aim=aim(report),
        factor=factor,
        no_remedy=NO_REMEDY,
        mood=MOODS.get(report.verdict, "bad"),
        used=[m for m in report.memory if m.used],
        kinds=[k for k in next(iter(report.breakdown.values())) if any(part[k] for part in report.breakdown.values())],
        gap=GAP,
        model_lines=model_lines(report),
        storage=storage_cells(report.model["storage"]) if forms_differ(report) else [],
        effects=effects_rows(report.effects, report.memory[0].name) if report.effects else [],
        layers=layer_cells(report.layers, errors, next(iter(report.runs))),
        error_lines=error_lines(errors),
        stages=stage_rows(report.stages),
        checks=[*check_lines(report.verification, report.skipped), *quality_lines(report.quality)],
        figures=figures,
        # A "<" in a name could end the script element that holds the document.
        figures_json=json.dumps(figures, separators=(",", ":")).replace("<", "\\u003c"),
        plotly=plotly_script(),
    )


def figures_of(report: Report) -> dict[str, charts.Figure]:
    """Every chart of the page by its element's id."""
    resources = list(dict.fromkeys(name for steps in report.steps.values() for s in steps for name in s.busy))
    figures = {f"map-{m.name}": charts.memory_map(report, m) for m in report.memory if m.used}
    figures["ops"] = charts.op_times(report)
    for name in report.steps:
        figures[f"timeline-{name}"] = charts.timeline(report, name, resources)
        if roofline_steps(report.steps[name]):
            figures[f"roofline-{name}"] = roofline(report, name)
    errors = layer_errors(report.stages, report.quantization)
    if errors is not None:
        figures["errors"] = charts.error_map(errors)
    if (found := charts.size_quality(report.stages)) is not None:
        figures["quality"] = found
    return figures


def environment() -> Environment:
    """Where the pages' templates come from."""
    return Environment(
        loader=FileSystemLoader(folder("templates")),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )


@cache
def plotly_script() -> str:
    """plotly.js, gzipped and in base64. Not imported: only the file is wanted, and the import takes long."""
    spec = importlib.util.find_spec("plotly")
    places = list(spec.submodule_search_locations or []) if spec else []
    for place in places:
        file = Path(place) / "package_data" / "plotly.min.js"
        if file.is_file():
            return base64.b64encode(gzip.compress(file.read_bytes(), 6, mtime=0)).decode()
    raise ToolError("the HTML report needs the package plotly with its plotly.min.js; install it again.")
