"""Run time and quality against rank: q, k, v, o of encoders and of BART as products of two factors.

    python benchmarks/low_rank.py                                       the shape of BART-base, from its config alone
    python benchmarks/low_rank.py --model FOLDER --data PAIRS.jsonl     and ROUGE of a checkpoint that writes
    python benchmarks/low_rank.py --model FOLDER --data TEXT.txt        and cosines of an encoder's vectors

Times are the plan's prediction for a text of `--context` tokens and, where the model writes, for `--written` tokens at
the end of it. Quality is that of the float factors: ROUGE against the given summaries, and what is left of the dense
model's text and rows. With `--calibration` the factors of every data-aware basis are measured beside the plain ones:
ROUGE-1, or the mean cosine.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from edgec.compress.pipeline import compress
from edgec.compress.shapes import planned_model
from edgec.compress.stage import Calibration
from edgec.compress.svd import Svd
from edgec.cost.estimate import program_usage
from edgec.evaluate.float_twin import float_programs
from edgec.evaluate.summaries import evaluate_summaries
from edgec.frontend.checkpoint import Checkpoint
from edgec.frontend.encoder_config import encodes
from edgec.frontend.huggingface_config import architecture_of
from edgec.frontend.load import load_checkpoint
from edgec.frontend.model_config import ModelConfig
from edgec.lower.programs import ready
from edgec.planning import plan_model
from edgec.recipe import Build, Quantize, Recipe
from edgec.report.speed import encoding_cycles
from edgec.target import Target, load_target
from edgec.verify.embeddings import sentences
from edgec.verify.quality import closeness

SHAPE = Path(__file__).resolve().parents[1] / "examples" / "bart-base" / "config.json"
ROLES = ("q", "k", "v", "o")
SHARES = (1.0, 0.75, 0.5, 0.375, 0.25, 0.125)  # of the break-even rank, half of a square matrix's size; 1: dense


@dataclass(frozen=True)
class Row:
    """One rank (0: dense). bytes: of weights and scales as stored; milliseconds as predicted."""

    rank: int
    parameters: int
    bytes: int
    read_ms: float
    token_ms: float
    total_ms: float
    quality: Mapping[str, float] = field(default_factory=dict)


def stages(rank: int, basis: str = "plain", guided: bool = False) -> tuple[Svd, ...]:
    """The recipe's stages of a rank."""
    return (Svd(rank=rank, basis=basis, guided=guided, roles=ROLES),) if rank else ()


def planned(config: ModelConfig, chip: Target, bits: int, context: int, written: int, rank: int) -> Row:
    """Plan one rank from the shape alone."""
    recipe = Recipe(Quantize(bits=bits), Build(context=context), stages(rank))
    model = planned_model(config, (), recipe)
    made = plan_model(ready(model, chip, context), chip, context, recipe)[1]
    if made.deficits():
        raise SystemExit(f"rank {rank} does not fit {chip.name}: {made.deficits()}")
    per_ms = chip.clock_hz / 1000
    read, token = encoding_cycles(made, context) / per_ms, 0.0
    if "decode" in made.programs:
        token = program_usage(made, made.programs["decode"], 1, context - 1).cycles / per_ms
    parameters = sum(m.packed.shape[0] * m.k for m in model.matrices.values()) + sum(
        f.size for f in model.floats.values()
    )
    held = sum(b.size for b in made.buffers if b.kind in ("weight", "scale"))
    return Row(rank, parameters, held, read, token, read + written * token)


def quality(
    model: str, data: Path, limit: int, written: int, made: tuple[Svd, ...], calibration: Calibration
) -> dict[str, float]:
    """What the factors of a rank leave of a checkpoint: ROUGE and closeness, or cosines of vectors."""
    source = load_checkpoint(model)
    with tempfile.TemporaryDirectory(prefix="edgec-rank-") as folder:
        recipe = Recipe(stages=made, calibration=calibration)
        cut = compress(source, recipe, Path(folder) / "stages").folders[-1] if made else Path(model)
        if encodes(source.config):
            return _cosines(load_checkpoint(str(cut)), source, data, limit)
        options: dict[str, Any] = {"runner": "float", "tokenizer": None, "against": model}
        found = evaluate_summaries(str(cut), str(data), limit, written, say=lambda *_: None, **options)
        return dict(found[0].metrics)


def by_basis(model: str, data: Path, limit: int, written: int, rank: int, text: Calibration) -> dict[str, float]:
    """One figure of quality for every data-aware basis that a model of this kind has."""
    bases = {"asvd": ("asvd", False), "drone": ("drone", False), "whitened": ("whitened", False)}
    if not encodes(load_checkpoint(model).config):
        bases |= {"fisher": ("fisher", False), "whitened, guided": ("whitened", True)}
    found = {}
    for name, (basis, guided) in bases.items():
        figures = quality(model, data, limit, written, stages(rank, basis, guided), text)
        found[name] = figures["rouge1" if "rouge1" in figures else "cosine_mean"]
    return found


def _cosines(cut: Checkpoint, source: Checkpoint, data: Path, limit: int) -> dict[str, float]:
    tokenizer, context = source.tokenizer, min(source.config.max_seq_len, 128)
    assert tokenizer is not None
    runners = [float_programs(model, context) for model in (cut, source)]
    texts = [tokenizer.encode_within(text, context) for text in sentences(data.read_text(encoding="utf-8"), limit)]
    found = [closeness(*(runner.encode(ids) for runner in runners))[1] for ids in texts]
    return {"cosine_mean": sum(found) / len(found), "cosine_min": min(found)}


def main() -> None:
    """Print the table, or JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--config", type=Path, default=SHAPE, help="config.json of another shape")
    parser.add_argument("--model", help="a checkpoint folder, whose quality is measured too")
    parser.add_argument("--data", type=Path, help="sources and summaries (.jsonl) or a text, for --model")
    parser.add_argument("--calibration", type=Path, help="a text, or sources and summaries, for data-aware factors")
    parser.add_argument("--limit", type=int, default=50, help="sources, or sentences")
    parser.add_argument("--target", default="siracusa")
    parser.add_argument("--bits", type=int, default=4)
    parser.add_argument("--context", type=int, default=128)
    parser.add_argument("--written", type=int, default=32)
    parser.add_argument("--ranks", type=int, nargs="*", help="0: dense; default: shares of the break-even rank")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    if bool(options.model) != bool(options.data):
        parser.error("--model and --data go together")
    file = Path(options.model) / "config.json" if options.model else options.config
    config, chip = architecture_of(file).config, load_target(options.target)
    ranks = options.ranks or [0 if share == 1 else int(share * config.hidden_dim / 2) for share in SHARES]
    rows = []
    for rank in ranks:
        row = planned(config, chip, options.bits, min(options.context, config.max_seq_len), options.written, rank)
        found: dict[str, float] = {}
        if options.model:
            measured = (options.model, options.data, options.limit, options.written)
            found = quality(*measured, stages(rank), Calibration())
            if options.calibration and rank:
                text = Calibration(str(options.calibration), samples=64, length=options.context)
                found |= by_basis(*measured, rank, text)
        rows.append(Row(**(asdict(row) | {"quality": found})))
    if options.json:
        print(json.dumps([asdict(row) for row in rows], indent=1))
        return
    show(rows, options.written)


def show(rows: list[Row], written: int) -> None:
    """The table."""
    table = Table(box=None, padding=(0, 2, 0, 0), pad_edge=False)
    writes = any(row.token_ms for row in rows)
    for title in (
        "rank",
        "parameters",
        "MB",
        "read ms",
        *(("ms a token", f"with {written} written") if writes else ()),
    ):
        table.add_column(title, justify="right")
    names = list(dict.fromkeys(name for row in rows for name in row.quality))
    for name in names:
        table.add_column(name.replace("_", " "), justify="right")
    for row in rows:
        times = [row.read_ms, *([row.token_ms, row.total_ms] if writes else [])]
        figures = [f"{row.parameters:,}", f"{row.bytes / 1e6:.2f}", *(f"{time:,.1f}" for time in times)]
        table.add_row(
            str(row.rank or "dense"), *figures, *(f"{row.quality[n]:.3f}" if n in row.quality else "" for n in names)
        )
    Console(width=180).print(table)


if __name__ == "__main__":
    main()
