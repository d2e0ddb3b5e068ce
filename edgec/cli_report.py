"""`edgec report` and `edgec plan`: what a built folder needs, what changed between two, what a build would need."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import click

from edgec.cli_options import recipe_of, size_options
from edgec.console import print_json, print_report, progress

FORMS = ("text", "json", "csv", "html", "trace")
JSON = click.option("--json", "as_json", is_flag=True, help="Print one JSON document on stdout and nothing else.")


class _ShowByDefault(click.Group):
    """`edgec report OUT` is `edgec report show OUT`."""

    default = "show"

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        if args and args[0] not in {*self.commands, "-h", "--help"}:
            args = [self.default, *args]
        return super().parse_args(ctx, args)


@click.group(
    cls=_ShowByDefault, short_help="Show memory, speed and what was verified.", subcommand_metavar="OUT | diff A B"
)
def report() -> None:
    """Show the report of a built folder, or what changed between two.

    edgec report OUT is short for edgec report show OUT.
    """


@report.command("diff", short_help="What changed between two built folders.")
@click.argument("before", type=click.Path(path_type=Path))
@click.argument("after", type=click.Path(path_type=Path))
@click.option("--all", "everything", is_flag=True, help="List equal figures too.")
@JSON
def report_diff(before: Path, after: Path, everything: bool, as_json: bool) -> None:
    """Show what changed from BEFORE to AFTER: memory, traffic, cycles, size, quality."""
    from edgec.artifact import Artifact
    from edgec.report.diff import changes, diff_text
    from edgec.report.report import report_of

    found = changes(*(report_of(Artifact.load(folder)) for folder in (before, after)))
    if as_json:
        rows = [{"section": c.section, "name": c.name, "before": c.before, "after": c.after} for c in found]
        print_json(rows if everything else [r for r, c in zip(rows, found, strict=True) if c.changed])
        return
    click.echo(diff_text((before.name, after.name), found, everything))


@report.command("show", short_help="Show memory, speed and what was verified.")
@click.argument("out", type=click.Path(path_type=Path))
@click.option("--format", "form", type=click.Choice(FORMS), default="text", show_default=True)
def report_show(out: Path, form: str) -> None:
    """Show what a built folder needs, how fast it will be and what was verified.

    csv has a row for every step of a decoded token and of a prefill run, trace is their predicted timeline for
    Perfetto; html is a page with charts that needs no network. The folder itself holds report.txt, report.json and
    report.html.
    """
    from edgec.artifact import Artifact
    from edgec.report.report import report_of

    _show(report_of(Artifact.load(out)), form)


@click.command(short_help="Plan a model from its configuration, without weights.")
@click.option("--config", metavar="FILE", required=True, help="The config.json of a checkpoint.")
@size_options
@click.option("--explain", is_flag=True, help="Say what each of the planner's decisions is worth.")
@click.option("--format", "form", type=click.Choice(FORMS), default="text", show_default=True)
def plan(
    config: str,
    target: str,
    explain: bool,
    form: str,
    **sizes: Any,
) -> None:
    """Show what edgec build would report for a model of this configuration: memory and speed before a download.

    Stages of the recipe count with the shapes that they leave. Exit code 3 if the model does not fit.
    """
    from edgec.compiler import plan_config
    from edgec.errors import DoesNotFit
    from edgec.report.demand import demand
    from edgec.report.report import make_report

    recipe = recipe_of(**sizes)
    with progress() as say:
        meta, graphs, made = plan_config(Path(config), target, recipe, say, explain)
        found = make_report(meta, made, graphs, {})
    _show(found, form)
    if unmet := demand(found, on_chip=False):
        click.echo(f"error: {unmet}", err=True)
        sys.exit(DoesNotFit.exit_code)


def _show(found: Any, form: str) -> None:
    """A report on stdout in one of FORMS."""
    if form == "csv":
        from edgec.report.steps import steps_csv

        click.echo(steps_csv(found.steps), nl=False)
    elif form == "trace":
        from edgec.report.steps import chrome_trace

        click.echo(chrome_trace(found.steps, found.clock_hz), nl=False)
    elif form == "html":
        from edgec.report.page import page

        click.echo(page(found), nl=False)
    else:
        print_report(found, form == "json")
