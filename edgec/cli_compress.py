"""`edgec compress`: the stages of a recipe, or what they would leave, as folders and a table."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import click

from edgec.console import bars, print_json

if TYPE_CHECKING:
    from edgec.recipe import Recipe


@click.command(short_help="Prune, train and quantise a model.")
@click.argument("model", required=False)
@click.option("--recipe", "recipe_file", metavar="FILE", required=True, help="The stages, in TOML.")
@click.option("-o", "--out", type=click.Path(path_type=Path), help="Folder of the stages; default out/MODEL-RECIPE.")
@click.option("--calibration", metavar="FILE", help="Text (.txt, .jsonl) that stages measure and train on.")
@click.option("--evaluate", "text", metavar="FILE", help="Text on which every stage's perplexity is measured.")
@click.option(
    "--windows", type=click.IntRange(min=1), default=20, show_default=True, help="Of 512 tokens, of that text."
)
@click.option("--minutes", type=click.FloatRange(min=0, min_open=True), help="Longest time of each training stage.")
@click.option("--tokenizer", metavar="FILE", help="A tokenizer in place of the checkpoint's own.")
@click.option("--dry-run", is_flag=True, help="Only count: what each stage would leave. Needs no weights.")
@click.option("--config", metavar="FILE", help="A config.json for --dry-run, in place of MODEL.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document on stdout and nothing else.")
def compress(
    model: str | None,
    recipe_file: str,
    out: Path | None,
    calibration: str | None,
    text: str | None,
    windows: int,
    minutes: float | None,
    tokenizer: str | None,
    dry_run: bool,
    config: str | None,
    as_json: bool,
) -> None:
    """Run the stages of a recipe on MODEL; each leaves a checkpoint that other tools load too.

    A run that was stopped goes on where it was when it is given again.
    """
    from edgec.recipe import load_recipe, with_calibration

    recipe = with_calibration(load_recipe(recipe_file), calibration)
    if dry_run:
        _dry_run(model, config, recipe, as_json)
        return
    if config:
        raise click.UsageError("--config is for --dry-run; without it give the MODEL itself.")
    if model is None:
        raise click.UsageError("give a MODEL, or --dry-run with --config.")
    if not recipe.stages:
        raise click.UsageError(f"{recipe_file} has no [[stage]]; there is nothing to compress with.")
    from edgec.cli import model_name
    from edgec.compress.pipeline import compress as run
    from edgec.frontend.load import load_checkpoint
    from edgec.report.stages import measure_on, stage_table

    out = out or Path("out") / f"{model_name(model)}-{Path(recipe_file).stem}"
    measure = None if text is None else measure_on(text, windows)
    with bars() as say:
        made = run(load_checkpoint(model, tokenizer), recipe, out, say=say, measure=measure, minutes=minutes)
    if as_json:
        print_json({"stages": list(made.table), "folders": [str(folder) for folder in made.folders]})
    else:
        click.echo(stage_table(made.table))
        click.echo(f"\nwrote {made.folders[-1]}")


def _dry_run(model: str | None, config: str | None, recipe: Recipe, as_json: bool) -> None:
    from edgec.compress.counts import dry_run, size_table
    from edgec.compress.vocab import settled
    from edgec.frontend.huggingface_config import config_of

    if (model is None) == (config is None):
        raise click.UsageError("--dry-run counts one model: give MODEL or --config.")
    if config is not None:
        shape = config_of(Path(config))
    else:
        from edgec.frontend.load import load_checkpoint

        loaded = load_checkpoint(str(model))
        shape, recipe = loaded.config, replace(recipe, stages=settled(recipe.stages, loaded, recipe.calibration))
    sizes = dry_run(shape, recipe)
    if as_json:
        from dataclasses import asdict

        print_json([asdict(size) for size in sizes])
    else:
        click.echo(size_table(sizes))
