"""How long planning takes: CPU seconds of `plan_model`, its memory, and the size of the plan it makes.

Prefill and decode of all blocks are lowered and planned from the model's shape alone, as `edgec plan --config` does.
Every row runs in a process of its own, so that memory and the first import of a package are counted where they belong.
CPU seconds of a busy machine are longer than those of an idle one: processes share caches and clock.
"""

from __future__ import annotations

import argparse
import json
import resource
import time
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass
from multiprocessing import get_context
from pathlib import Path

from bench_models import MODELS, Model, shape
from rich.console import Console
from rich.table import Table

from edgec.compress.shapes import planned_model
from edgec.lower.programs import ready
from edgec.planning import plan_model
from edgec.recipe import Recipe, with_flags
from edgec.target import load_target

LONG_CONTEXTS = {"smollm2": (512, 2048, 8192)}


@dataclass(frozen=True)
class Row:
    """One plan. seconds: of CPU, planning alone; grown_mb: what the process's peak memory grew by, in 10^6 bytes."""

    model: str
    target: str
    bits: int
    context: int
    seconds: float
    grown_mb: float
    phases: int
    fits: bool


def measure(model: Model, target: str, bits: int, context: int) -> Row:
    """Plan once."""
    config, extras = shape(model)
    recipe = with_flags(Recipe(), bits, model.group_size, context, None)
    chip = load_target(target)
    lowered = ready(planned_model(config, extras, recipe), chip, context)
    before, start = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, time.process_time()
    made = plan_model(lowered, chip, context, recipe)[1]
    seconds = time.process_time() - start
    grown = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) * 1024 / 1e6
    phases = sum(len(step.phases) for program in made.programs.values() for step in program.steps)
    return Row(model.name, target, bits, context, round(seconds, 2), round(grown), phases, not made.deficits())


def contexts(model: Model) -> tuple[int, ...]:
    """Positions to plan for, at most what the model was made for."""
    longest = shape(model)[0].max_seq_len
    return tuple(context for context in LONG_CONTEXTS.get(model.name, (512,)) if context <= longest) or (longest,)


def table(rows: list[Row]) -> Table:
    """The rows for a person."""
    result = Table(box=None, padding=(0, 2, 0, 0), pad_edge=False)
    for title in ("model", "target"):
        result.add_column(title)
    for title in ("bits", "context", "CPU s", "MB", "phases"):
        result.add_column(title, justify="right")
    result.add_column("fits")
    for row in rows:
        figures = (f"{row.seconds:.2f}", f"{row.grown_mb:,.0f}", f"{row.phases:,}")
        fits = "yes" if row.fits else "no"
        result.add_row(row.model, row.target, str(row.bits), f"{row.context:,}", *figures, fits)
    return result


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--targets", nargs="+", default=["siracusa"], help="chips to plan for")
    parser.add_argument("--bits", type=int, nargs="+", default=[4], help="weight widths")
    parser.add_argument("--models", nargs="+", default=[m.name for m in MODELS], help="names of benchmarks' models")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the measurements to FILE")
    options = parser.parse_args()
    console, rows = Console(), list[Row]()
    for model in (m for m in MODELS if m.name in options.models):
        if reason := model.missing():
            console.print(f"{model.name}: {reason}")
            continue
        for target, bits, context in (
            (t, b, c) for t in options.targets for b in options.bits for c in contexts(model)
        ):
            with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as alone:
                rows.append(alone.submit(measure, model, target, bits, context).result())
    console.print(table(rows))
    if options.json:
        options.json.parent.mkdir(parents=True, exist_ok=True)
        options.json.write_text(json.dumps([asdict(row) for row in rows], indent=1) + "\n")


if __name__ == "__main__":
    main()
