"""`edgec analyze`: what of a model is redundant, as CSV, JSON, PNG and a page."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

from edgec.console import bars, print_json

PARTS = ("block", "attention", "mlp", "q", "k", "v", "o", "gate", "up", "down")
ROLES = PARTS[3:]
TASKS = (
    "perplexity",
    *("triviaqa-closed", "triviaqa-open", "hellaswag", "truthfulqa_mc1", "truthfulqa_mc2", "gsm8k"),
)
WIDTH = 100
OUT = click.option("-o", "--out", type=click.Path(path_type=Path), help="Folder; default out/MODEL-analysis.")
TOKENIZER = click.option("--tokenizer", metavar="FILE", help="A tokenizer in place of the checkpoint's own.")
JSON = click.option("--json", "as_json", is_flag=True, help="Print one JSON document on stdout and nothing else.")
DATA = click.option("--data", metavar="FILE", required=True, help="The text (.txt, .jsonl), or a task's questions.")
WINDOW = click.option(
    "--window", type=click.IntRange(min=2), default=256, show_default=True, help="Tokens of a window."
)
WINDOWS = click.option("--windows", type=click.IntRange(min=1), default=4, show_default=True, help="From the start.")


@click.group(short_help="Find what of a model is redundant.")
def analyze() -> None:
    """Find what of a model is redundant. Each analysis leaves a table, a picture and a page."""


@analyze.command(short_help="Explained variance and approximate ranks.")
@click.argument("model")
@click.option("--roles", multiple=True, type=click.Choice(ROLES), help="Only these; repeatable.")
@TOKENIZER
@OUT
@JSON
def rank(model: str, roles: tuple[str, ...], tokenizer: str | None, out: Path | None, as_json: bool) -> None:
    """Explained variance of MODEL's matrices, alone and joined by role, and their approximate ranks."""
    from edgec.analyze.runs import rank_analysis
    from edgec.frontend.load import load_checkpoint

    folder = _folder(out, model)
    with bars() as say:
        found = rank_analysis(model, load_checkpoint(model, tokenizer), roles or ROLES, say)
    _finish(found, folder, as_json)


def _exchange_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """What `replace` and `ablate` take alike."""
    parts = click.option(
        "--part", "parts", multiple=True, type=click.Choice(PARTS), help="What of a block; repeatable; default block."
    )
    task = click.option("--task", type=click.Choice(TASKS), default="perplexity", show_default=True)
    limit = click.option("--limit", type=click.IntRange(min=1), help="Only so many questions, from the start.")
    model = click.argument("model")
    for option in (JSON, OUT, TOKENIZER, limit, WINDOWS, WINDOW, DATA, task, parts, model):
        command = option(command)
    return command


@analyze.command(short_help="Each block in the place of each other.")
@_exchange_options
def replace(model: str, **options: Any) -> None:
    """Put a part of each block of MODEL in the place of each other's: heat maps of the loss, and of its difference to
    having no part there. Stopped and given again, it goes on."""
    _exchange("replace", model, **options)


@analyze.command(short_help="The model without each block.")
@_exchange_options
def ablate(model: str, **options: Any) -> None:
    """Leave a part of each block of MODEL out, one at a time."""
    _exchange("ablate", model, **options)


def _exchange(kind: str, model: str, out: Path | None, as_json: bool, tokenizer: str | None, **options: Any) -> None:
    from edgec.analyze.runs import exchange_analysis
    from edgec.frontend.load import load_checkpoint

    folder = _folder(out, model)
    options["parts"] = options["parts"] or ("block",)
    with bars() as say:
        found = exchange_analysis(kind, model, load_checkpoint(model, tokenizer), folder, say, **options)
    _finish(found, folder, as_json)


@analyze.command(short_help="Each matrix with each method, alone.")
@click.argument("model")
@DATA
@WINDOW
@WINDOWS
@click.option("--roles", multiple=True, type=click.Choice(ROLES), help="Only these; repeatable.")
@click.option("--bits", multiple=True, type=int, help="Widths; repeatable; default 4, 3, 2.")
@click.option("--ranks", multiple=True, type=float, help="Shares of a matrix's parameters; default 0.8, 0.5, 0.25.")
@click.option("--patterns", multiple=True, help='"N:M", remove N of M; default 2:4 and 8:16.')
@TOKENIZER
@OUT
@JSON
def sensitivity(
    model: str,
    data: str,
    window: int,
    windows: int,
    roles: tuple[str, ...],
    bits: tuple[int, ...],
    ranks: tuple[float, ...],
    patterns: tuple[str, ...],
    tokenizer: str | None,
    out: Path | None,
    as_json: bool,
) -> None:
    """The loss of MODEL with one matrix rounded, made a product, or pruned, for every layer and role."""
    from edgec.analyze.runs import sensitivity_analysis
    from edgec.analyze.sensitivity import changes
    from edgec.frontend.load import load_checkpoint

    given = bits or ranks or patterns
    tried = changes(bits, ranks, patterns) if given else changes((4, 3, 2), (0.8, 0.5, 0.25), ("2:4", "8:16"))
    folder = _folder(out, model)
    with bars() as say:
        loaded = load_checkpoint(model, tokenizer)
        found = sensitivity_analysis(model, loaded, folder, say, data, window, windows, roles or ROLES, tried)
    _finish(found, folder, as_json)


def _folder(out: Path | None, model: str) -> Path:
    """Where the files will go. Raises OutputError if nothing can be written there."""
    from edgec.cli import model_name
    from edgec.output import expect_folder

    folder = out or Path("out") / f"{model_name(model)}-analysis"
    expect_folder(folder)
    return folder


def _finish(found: Any, folder: Path, as_json: bool) -> None:
    from rich.console import Console

    from edgec.report.blocks import plain_table, show

    files = found.write(folder)
    if as_json:
        print_json({"files": [str(file) for file in files], "lines": list(found.lines), "rows": list(found.rows)})
        return
    click.echo(found.title)
    for line in found.lines:
        click.echo(line)
    click.echo()
    heading, *body = found.summary
    table = plain_table(*heading)
    for row in body:
        table.add_row(*row)
    show(Console(width=WIDTH, color_system=None), table)
    click.echo("\nwrote " + ", ".join(str(file) for file in files))
