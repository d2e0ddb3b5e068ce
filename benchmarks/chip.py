"""Predicts what models take on Siracusa: `make bench`, behind benchmarks/run.py.

    python benchmarks/chip.py --json out/chip.json --plot out/chip.png --models stories,llama6m

Each model is planned once, with every matrix rounded to --bits, for the longest of the contexts; a context beyond what
it was made for becomes its longest. For every context: the token that fills it, a prompt that fills it, and the floor
of a token (benchmarks/chip_speeds.py has the formula). For every kernel with multiply-accumulates: the largest call
(benchmarks/chip_kernels.py).

All numbers are predictions of the cost model that plans are made with, fitted to steps measured on the public GVSoC
model of the chip. Nothing here was measured on silicon, and nothing is asserted.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from bench_models import MODELS, Model, planned, shape
from chip_kernels import Rate, rates
from chip_plot import speed_plot
from chip_speeds import STREAM_BYTES, Speed, contexts_within, speeds
from rich.console import Console
from rich.table import Table

from edgec.memory.plan import Plan
from edgec.target import Target, load_target

PREDICTED = "predicted by the cost model fitted to the public GVSoC model; nothing was measured on silicon"


def main(arguments: Sequence[str] | None = None) -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", default=",".join(m.name for m in MODELS), help="names, with commas (%(default)s)")
    parser.add_argument("--bits", type=int, default=4, help="width of all matrices (%(default)s)")
    parser.add_argument("--contexts", type=int, nargs="+", default=[16, 64, 256], help="(%(default)s)")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write all numbers to FILE")
    parser.add_argument("--plot", type=Path, metavar="FILE", help="draw tokens per second to a PNG file")
    options = parser.parse_args(arguments)
    target = load_target("siracusa")
    wanted = options.models.split(",")
    if unknown := set(wanted) - {m.name for m in MODELS}:
        parser.error(f"there is no model {min(unknown)}; known: {', '.join(m.name for m in MODELS)}")
    rows, plans, skipped = measure([m for m in MODELS if m.name in wanted], target, options.bits, options.contexts)
    kernels = rates(plans)
    show(rows, kernels, skipped, target)
    if options.json:
        found = {"speeds": [asdict(r) for r in rows], "kernels": [asdict(r) for r in kernels], "skipped": skipped}
        facts = {"note": PREDICTED, "target": target.name, "clock_hz": target.clock_hz}
        options.json.parent.mkdir(parents=True, exist_ok=True)
        options.json.write_text(json.dumps(facts | {"stream_bytes_per_cycle": STREAM_BYTES} | found, indent=1) + "\n")
        print(f"wrote {options.json}")
    if options.plot and rows:
        title = f"{target.name} at {target.clock_hz / 1e6:g} MHz, {options.bits}-bit weights: predicted, not measured"
        try:
            speed_plot(rows, target.clock_hz, title, options.plot)
            print(f"wrote {options.plot}")
        except ImportError:
            print('no plot: matplotlib is not installed (pip install "edgec[evaluate]")', file=sys.stderr)


def measure(
    models: Sequence[Model], target: Target, bits: int, contexts: Sequence[int]
) -> tuple[list[Speed], dict[str, Plan], dict[str, str]]:
    """Rows and plans of the models that are there and fit, and why others are not among them."""
    rows: list[Speed] = []
    plans: dict[str, Plan] = {}
    skipped: dict[str, str] = {}
    for model in models:
        if why := model.missing():
            skipped[model.name] = why
            continue
        print(f"plan {model.name}", file=sys.stderr)
        config, extras = shape(model)
        fitting = contexts_within(contexts, config.max_seq_len)
        plan = planned(config, extras, target, bits, model.group_size, fitting[-1])
        if short := plan.deficits():
            skipped[model.name] = f"{target.name} lacks " + ", ".join(f"{n:,} B of {name}" for name, n in short.items())
            continue
        plans[model.name] = plan
        rows += speeds(model.name, plan, bits, model.group_size, fitting)
    return rows, plans, skipped


def show(rows: Sequence[Speed], kernels: Sequence[Rate], skipped: dict[str, str], target: Target) -> None:
    """All for a person, on stdout."""
    console = Console(width=None if sys.stdout.isatty() else 140)
    console.print(f"{target.name} at {target.clock_hz / 1e6:g} MHz, {PREDICTED}\n")
    console.print(speed_table(rows))
    console.print()
    console.print(kernel_table(kernels))
    for name, why in skipped.items():
        console.print(f"skipped {name}: {why}")


def speed_table(rows: Sequence[Speed]) -> Table:
    """A line for each model and context."""
    table = _table("model", "bits", "group", "context", "decode cycles", "tok/s", "prefill cycles", "prefill tok/s")
    for name in ("floor cycles", "floor / decode"):
        table.add_column(name, justify="right")
    for r in rows:
        sizes = (r.model, str(r.bits), str(r.group_size), str(r.context))
        decode = f"{r.decode_cycles:,.0f}", f"{r.tokens_per_second:,.1f}"
        prefill = f"{r.prefill_cycles:,.0f}", f"{r.prefill_tokens_per_second:,.1f}"
        table.add_row(*sizes, *decode, *prefill, f"{r.floor_cycles:,.0f}", f"{r.floor_ratio:.3f}")
    return table


def kernel_table(kernels: Sequence[Rate]) -> Table:
    """A line for each kernel and program."""
    table = _table("kernel", "MAC/cycle", "bound", "ratio", "cycles", "program", "call", "of", "figures")
    for r in kernels:
        numbers = f"{r.macs_per_cycle:.2f}", f"{r.bound:.1f}", f"{r.ratio:.2f}", f"{r.cycles:,.0f}"
        table.add_row(r.kernel, *numbers, r.program, r.shape, r.model, r.figures)
    return table


def _table(first: str, *others: str) -> Table:
    result = Table(box=None, padding=(0, 2, 0, 0), pad_edge=False)
    result.add_column(first)
    words = ("program", "call", "of", "figures")
    for name in others:
        result.add_column(name, justify="left" if name in words else "right")
    return result


if __name__ == "__main__":
    main()
