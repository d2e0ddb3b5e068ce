"""The command line: click commands without logic. Everything heavy is imported inside the command that needs it."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import click

from edgec import __version__
from edgec.cli_analyze import analyze
from edgec.cli_compress import compress
from edgec.cli_evaluate import compare, evaluate
from edgec.cli_options import recipe_of, size_options
from edgec.cli_report import plan, report
from edgec.console import Commands, bars, print_json, print_report, progress

EPILOG = "Exit codes: 0 done, 2 bad usage or input, 3 does not fit, 4 mismatch, 70 a bug of edgec."
JSON = click.option("--json", "as_json", is_flag=True, help="Print one JSON document on stdout and nothing else.")
WINDOWS = 20  # of 512 tokens, for the perplexity of stages
OUT = click.argument("out", type=click.Path(path_type=Path))


@click.group(cls=Commands, epilog=EPILOG, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="edgec")
def cli() -> None:
    """Put small language models on microcontrollers: plan every byte, emit C, prove it exact."""


@cli.command(short_help="Compile a model into a C project.")
@click.argument("model", default="stories")
@size_options
@click.option("--tokenizer", metavar="FILE", help="A tokenizer in place of the checkpoint's own.")
@click.option("-o", "--out", type=click.Path(path_type=Path), help="Folder to make; default out/MODEL-TARGET.")
@click.option("--calibration", metavar="FILE", help="Text that the recipe's stages measure and train on.")
@click.option("--evaluate", "text", metavar="FILE", help="Text on which every stage's perplexity is measured.")
@click.option("--minutes", type=click.FloatRange(min=0, min_open=True), help="Longest time of each training stage.")
@click.option("--require", type=click.Choice(["on-chip"]), help="Fail with exit code 3 if off-chip memory is used.")
@click.option("--verify", "verify_it", is_flag=True, help="Verify the result with every backend.")
@click.option("--explain", is_flag=True, help="Say in the report what each of the planner's decisions is worth.")
@JSON
def build(
    model: str,
    target: str,
    tokenizer: str | None,
    out: Path | None,
    calibration: str | None,
    text: str | None,
    minutes: float | None,
    require: str | None,
    verify_it: bool,
    explain: bool,
    as_json: bool,
    **sizes: Any,
) -> None:
    """Compile MODEL (a checkpoint folder or file, a hub id, or the embedded "stories") into a C project."""
    recipe = recipe_of(**sizes)
    from edgec.recipe import with_calibration
    from edgec.target import load_target

    load_target(target)  # a mistyped target must not wait for the model to load
    recipe = with_calibration(recipe, calibration)
    out = out or default_out(model, target)
    import edgec.compiler as compiler

    if recipe.stages:
        from edgec.report.stages import measure_on

        measure = None if text is None else measure_on(text, WINDOWS)
        with bars() as bar:
            artifact = compiler.build(
                model,
                target=target,
                recipe=recipe,
                out=out,
                tokenizer=tokenizer,
                progress=lambda step: bar(step, 0, 0),
                stages_progress=bar,
                measure=measure,
                minutes=minutes,
                explain=explain,
            )
    else:
        if text or minutes or calibration:
            raise click.UsageError("--calibration, --evaluate and --minutes are for recipes with stages.")
        with progress() as say:
            artifact = compiler.build(
                model, target=target, recipe=recipe, out=out, tokenizer=tokenizer, progress=say, explain=explain
            )
    from edgec.errors import DoesNotFit
    from edgec.report.demand import demand
    from edgec.report.report import DOES_NOT_FIT, report_of

    if verify_it and report_of(artifact).verdict != DOES_NOT_FIT:
        _verify(artifact, ("all",), None)
    report = report_of(artifact)
    print_report(report, as_json)
    if not as_json:
        click.echo(f"\nwrote {out}")
    if unmet := demand(report, on_chip=require == "on-chip"):
        click.echo(f"error: {unmet}", err=True)
        sys.exit(DoesNotFit.exit_code)  # not raised: the report on stdout stays the one output


def model_name(model: str) -> str:
    """The model's name without folders and without the suffix of a file format."""
    name = Path(model).name or Path(model).resolve().name
    for suffix in (".gguf", ".bin"):
        name = name.removesuffix(suffix)
    return name


def default_out(model: str, target: str) -> Path:
    """out/<model>-<target>."""
    return Path("out") / f"{model_name(model)}-{Path(target).name.removesuffix('.toml')}"


cli.add_command(analyze)
cli.add_command(compress)
cli.add_command(evaluate)
cli.add_command(compare)
cli.add_command(plan)
cli.add_command(report)


@cli.command(short_help="Generate text, or a text's vector, without hardware.")
@OUT
@click.option("--prompt", required=True, help="Text to continue, to turn into a vector, or to write about.")
@click.option("--tokens", type=click.IntRange(min=1), help="Tokens to generate at most; none of an encoder.")
@click.option("--seed", type=click.IntRange(min=0), default=0, show_default=True, help="Of the random generator.")
@click.option("--temperature", type=click.FloatRange(min=0), default=0.0, show_default=True, help="0 is greedy.")
@click.option("--top-k", type=click.IntRange(min=0), default=0, show_default=True, help="0 keeps all tokens.")
@click.option(
    "--top-p", type=click.FloatRange(0, 1, min_open=True), default=1.0, show_default=True, help="1 keeps all tokens."
)
@click.option(
    "--plan/--reference", "by_plan", default=True, help="Carry out the plan byte by byte, or the graph (faster)."
)
@click.option("--timeline", metavar="FILE", help="Write what moved and ran when: .json for Perfetto, or .csv.")
@JSON
def simulate(
    out: Path,
    prompt: str,
    tokens: int | None,
    seed: int,
    temperature: float,
    top_k: int,
    top_p: float,
    by_plan: bool,
    timeline: str | None,
    as_json: bool,
) -> None:
    """Generate text, or a text's vector, from a built folder without hardware, and predict the chip's speed."""
    from edgec.artifact import Artifact
    from edgec.ops.sample import Sampling
    from edgec.simulate.embed import embed
    from edgec.simulate.generate import generate, runner_of
    from edgec.simulate.rewrite import rewrite
    from edgec.simulate.timeline import recorded, write_timeline

    if timeline and (not by_plan or not timeline.endswith((".json", ".csv"))):
        raise click.UsageError("--timeline wants a file named .json or .csv, and the plan, not --reference.")
    artifact = Artifact.load(out)
    if artifact.encodes:
        if timeline:
            raise click.UsageError("--timeline shows models that continue text; this is an encoder.")
        vector = embed(artifact, prompt, by_plan)
        if as_json:
            print_json(vector.to_dict())
        else:
            click.echo(vector.summary(artifact.plan.target.name))
        return
    if tokens is None:
        raise click.UsageError("a model that writes text needs --tokens, how many at most.")
    settings = Sampling(temperature, top_k, top_p, seed)

    def show(piece: str) -> None:
        if not as_json:
            click.echo(piece, nl=False)
            sys.stdout.flush()

    if artifact.seq2seq:
        if timeline:
            raise click.UsageError("--timeline shows models that continue text; this one reads a text first.")
        written = rewrite(artifact, prompt, tokens, settings, by_plan, show)
        if as_json:
            print_json(written.to_dict())
        else:
            click.echo(f"\n\n{written.summary(artifact.plan.target.name)}")
        return
    runner = runner_of(artifact, by_plan)
    record = recorded(runner) if timeline else None
    show(prompt)
    result = generate(runner, artifact.plan, artifact.tokenizer, prompt, tokens, settings, show)
    if timeline and record:
        write_timeline(Path(timeline), record)
    if as_json:
        print_json(result.to_dict())
        return
    click.echo("\n")
    click.echo(result.summary(artifact.plan.target.name))


@cli.command(short_help="Compare all backends bit by bit.")
@OUT
@click.option(
    "--backend",
    "backends",
    type=click.Choice(["host", "rv32", "siracusa", "simulator", "float", "all"]),
    multiple=True,
    default=("all",),
    show_default=True,
    help="What to compare; may be repeated.",
)
@click.option("--text", type=click.Path(path_type=Path), help="A text for the comparison with the float model.")
@JSON
def verify(out: Path, backends: tuple[str, ...], text: Path | None, as_json: bool) -> None:
    """Compare reference, simulator, host C and RISC-V programs bit by bit, and the float model by its numbers."""
    from edgec.artifact import Artifact

    result = _verify(Artifact.load(out), backends, text)
    if as_json:
        print_json(result)
        return
    from edgec.report.checks import check_lines, quality_lines

    for line in [*check_lines(result["backends"], result["skipped"]), *quality_lines(result["quality"])]:
        click.echo(line)


def _verify(artifact: Any, backends: tuple[str, ...], text: Path | None) -> dict[str, Any]:
    from edgec.verify import chain

    legs = list(chain.LEGS) if "all" in backends else [leg for leg in chain.LEGS if leg in backends]
    with progress() as say:
        return chain.verify(artifact, legs, text=text, progress=say)


@cli.group()
def target() -> None:
    """Chips that edgec knows."""


@target.command("list")
def target_list() -> None:
    """List the targets that ship with edgec."""
    from edgec.report.cards import target_lines

    click.echo("\n".join(target_lines()))


@target.command("show")
@click.argument("name")
def target_show(name: str) -> None:
    """Show a target's memories, links and engines."""
    from edgec.report.cards import target_card

    click.echo(target_card(name))


@cli.group()
def op() -> None:
    """Operations that graphs consist of."""


@op.command("list")
def op_list() -> None:
    """List the ops."""
    from edgec.report.cards import op_lines

    click.echo("\n".join(op_lines()))


@op.command("show")
@click.argument("name")
def op_show(name: str) -> None:
    """Show what an op is, where its files are and what its kernels take."""
    from edgec.report.cards import op_card

    click.echo(op_card(name))


def main() -> None:
    """The console script."""
    sys.stdout.reconfigure(errors="replace")  # type: ignore[union-attr]  # a terminal without UTF-8 is no reason to stop
    if sys.argv[1:2] == ["plan"]:
        from edgec.frontend.quiet import without_torch

        without_torch()
    cli()
