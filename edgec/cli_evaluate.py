"""`edgec evaluate` and `edgec compare`: measured numbers for models, stages' checkpoints and built projects."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import click

from edgec.console import bars, print_json

TEXT_TASKS = ("perplexity", "bits-per-byte")
MOST_ANSWERED = 50  # tokens
TASKS = (
    *TEXT_TASKS,
    *("embeddings", "summaries"),
    *("triviaqa-closed", "triviaqa-open", "hellaswag", "truthfulqa_mc1", "truthfulqa_mc2", "gsm8k"),
)


@click.command(short_help="Measure a model on a text.")
@click.argument("model")
@click.option("--task", type=click.Choice(TASKS), default="perplexity", show_default=True)
@click.option("--data", metavar="FILE", help='A text (.txt, or one {"text"} a line in .jsonl), or a task\'s questions.')
@click.option("--window", type=click.IntRange(min=2), default=512, show_default=True, help="Tokens of a window.")
@click.option("--windows", type=click.IntRange(min=1), help="Only so many, from the start.")
@click.option("--limit", type=click.IntRange(min=1), help="Only so many questions, or sentences, from the start.")
@click.option(
    "--max-new-tokens", type=click.IntRange(1, 512), default=50, show_default=True, help="Of an answer, of a summary."
)
@click.option("--against", metavar="MODEL", help="Checkpoint to compare vectors and summaries with; default its own.")
@click.option("--chars", type=click.IntRange(min=1), help="Only so many characters of the text.")
@click.option(
    "--runner",
    type=click.Choice(["float", "reference"]),
    default="float",
    show_default=True,
    help="Float weights, or the quantised reference; a built project always runs its own reference.",
)
@click.option("--tokenizer", metavar="FILE", help="A tokenizer in place of the checkpoint's own.")
@click.option("-o", "--out", type=click.Path(path_type=Path), help="A JSON file for the result as well.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document on stdout and nothing else.")
def evaluate(
    model: str,
    task: str,
    data: str,
    window: int,
    windows: int | None,
    limit: int | None,
    max_new_tokens: int,
    against: str | None,
    chars: int | None,
    runner: str,
    tokenizer: str | None,
    out: Path | None,
    as_json: bool,
) -> None:
    """Measure MODEL: a checkpoint, a stage's folder, or a folder that edgec build made.

    perplexity takes whole windows, bits-per-byte all of the text. TriviaQA is asked greedily and matched in three
    tiers; HellaSwag, TruthfulQA and GSM8K are lm-eval's, on a local file or, without --data, on the hub's data.
    embeddings compares an encoder's vectors with its float model's, sentence by sentence; summaries takes ROUGE of what
    a model writes about sources, one {"source", "summary"} a line, and compares it with its float model. The protocol
    is stored beside the number, in the folder's evaluations.json where MODEL is a folder of edgec.
    """
    import json
    import os

    os.environ.setdefault("TQDM_DISABLE", "1")  # lm-eval's own bars: there is one here
    from edgec.evaluate.result import store
    from edgec.evaluate.tasks import evaluate_embeddings, evaluate_questions, evaluate_text
    from edgec.output import write_file

    if data is None and task in (*TEXT_TASKS, "embeddings", "summaries"):
        raise click.UsageError(f"--task {task} needs --data, {'sources' if task == 'summaries' else 'a text'}.")
    if against and task not in ("embeddings", "summaries"):
        raise click.UsageError("--against is for embeddings and summaries.")
    if max_new_tokens > MOST_ANSWERED and task != "summaries":
        raise click.UsageError(f"an answer has at most {MOST_ANSWERED} tokens; only summaries may have more.")
    with bars() as say:
        began = time.monotonic()
        if data is not None and task == "embeddings":
            found, folder = evaluate_embeddings(model, data, chars, limit, tokenizer, against)
        elif data is not None and task == "summaries":
            from edgec.evaluate.summaries import evaluate_summaries

            found, folder = evaluate_summaries(model, data, limit, max_new_tokens, runner, tokenizer, against, say)
        elif data is not None and task in TEXT_TASKS:
            found, folder = evaluate_text(model, task, data, window, windows, chars, runner, tokenizer, say)
        else:
            found, folder = evaluate_questions(model, task, data, limit, max_new_tokens, runner, tokenizer, say)
        seconds = time.monotonic() - began
    found = found.timed(seconds)
    if folder is not None:
        store(folder, found)
    if out is not None:
        write_file(out, json.dumps(found.to_dict(), indent=1, sort_keys=True) + "\n")
    if as_json:
        print_json(found.to_dict())
    else:
        click.echo(_text(found.to_dict()))


def _text(found: dict[str, Any]) -> str:
    metrics = ", ".join(f"{name.replace('_', ' ')} {value:.5g}" for name, value in found["metrics"].items())
    protocol = ", ".join(f"{key} {value}" for key, value in found["protocol"].items() if key != "sha256")
    return f"{found['model']['name']}: {metrics}\n{protocol}\n{found['seconds']:.0f} s"


@click.command(short_help="Evaluations side by side, and a size-quality plot.")
@click.argument("models", nargs=-1, required=True, type=click.Path(path_type=Path))
@click.option("--task", type=click.Choice(TASKS), help="Only this task's numbers.")
@click.option("-o", "--out", type=click.Path(path_type=Path), help="The plot, .png or .svg.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document on stdout and nothing else.")
def compare(models: tuple[Path, ...], task: str | None, out: Path | None, as_json: bool) -> None:
    """Compare MODELS: folders that were evaluated, or JSON files of edgec evaluate -o. Differences are to the first."""
    from dataclasses import asdict

    from edgec.evaluate.compare import compare as run
    from edgec.evaluate.compare import table
    from edgec.report.quality_plot import Point, quality_plot

    found = run(models, task)
    if out is not None:
        points = [Point(row.name, row.bytes, row.value, row.arithmetic) for row in found.rows]
        quality_plot(points, found.metric, out, f"{found.task} on {found.protocol.get('text', '')}")
    if as_json:
        print_json(asdict(found))
    else:
        click.echo(table(found))
        if out is not None:
            click.echo(f"\nwrote {out}")
