"""Every compression stage at the same sizes: perplexity of a model at about 90, 80 and 60 % of its parameters, as the
stage leaves it and after an equal recovery.

    python benchmarks/stages.py MODEL CALIBRATION TEXT -o FOLDER [--only svd] [--json FILE]

What counts are stored parameters that are not zero. Recovery is the `distill` stage with equal options and an equal
number of updates for all, towards the original model. A stage that trains by itself (`abaco`, `distill`) has these
updates as its own. Every cell is a folder of FOLDER: a run that was stopped goes on where it was, and several may share
the work. With `--json` the finished cells are written in one file, and printed as docs/compression.md shows them.
"""

from __future__ import annotations

import argparse
import fcntl
import json
import math
import shutil
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from rich.box import MARKDOWN
from rich.console import Console
from rich.table import Table

from edgec.compress.pipeline import compress
from edgec.errors import EdgecError
from edgec.frontend.checkpoint import Checkpoint
from edgec.frontend.load import load_checkpoint
from edgec.output import write_file
from edgec.recipe import load_recipe
from edgec.report.stages import measure_on

BUDGETS = (0.9, 0.8, 0.6)
COMPARED = ("plain", "asvd", "fisher", "drone", "whitened")  # at one ratio
BARE = COMPARED[1:]  # compared before recovery only
TRAINING = ("abaco", "distill")  # stages that are a training themselves


@dataclass(frozen=True)
class Size:
    """What a budget means for this model: counts of the model, and the share of them that goes."""

    total: int
    blocks: int  # parameters of all matrices of blocks
    layers: int
    vocabulary: int
    hidden: int
    ffn_share: float  # of the blocks' matrices
    budget: float

    @property
    def removed(self) -> float:
        """Parameters that go."""
        return (1 - self.budget) * self.total

    @property
    def ratio(self) -> float:
        """Share of the blocks' matrices that stays."""
        return 1 - self.removed / self.blocks

    @property
    def removed_blocks(self) -> int:
        """The nearest number of whole blocks."""
        return round(self.removed / self.blocks * self.layers)


def stages(size: Size) -> dict[str, dict[str, Any]]:
    """By the name of a row: the options of its stage at this size; rows that cannot be so small are left out."""
    ratio, pairs = round(size.ratio, 4), size.removed_blocks
    pattern = {0.9: "2:16", 0.8: "4:16", 0.6: "8:16"}[size.budget]
    neurons = round((1 - ratio) / size.ffn_share, 4)
    first = (size.layers - 2 * pairs) // 2 if pairs * 2 < size.layers else 0
    middle = (f"{first}:{first + 2 * pairs}",)
    tokens = round(size.vocabulary - size.removed / size.hidden)
    order = [b if not first <= b < first + 2 * pairs else first + (b - first) // 2 * 2 for b in range(size.layers)]
    rows: dict[str, dict[str, Any]] = {
        "depth": {"method": "depth", "blocks": pairs, "metric": "perplexity"},
        "skip": {"method": "skip", "order": order},
        "neurons": {"method": "neurons", "ffn": neurons, "samples": 16},
        "width": {"method": "width", "pattern": pattern, "samples": 32},
        "sparsegpt": {"method": "sparsegpt", "pattern": pattern, "samples": 32},
        **{f"svd {basis}": {"method": "svd", "basis": basis, "ratio": ratio, "samples": 32} for basis in COMPARED},
        "svd budget": {"method": "svd", "basis": "whitened", "budget": ratio, "samples": 32},
        "global_fact": {"method": "global_fact", "ratio": ratio, "size": 2},
        "mass": {"method": "mass", "blocks": middle, "size": 2, "by": "weighted"},
        "abaco": {"method": "abaco", "roles": ["all"], "ratio": ratio, "rate": 1e-3},
        "distill": {"method": "distill", "neurons": neurons},
    }
    if tokens >= 1024:
        rows["vocab"] = {"method": "vocab", "size": tokens}
    return rows


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", help="a checkpoint")
    parser.add_argument("calibration", help="the text that stages measure and train on")
    parser.add_argument("text", help="the text of the perplexity")
    parser.add_argument("-o", "--out", type=Path, required=True, help="folder of the cells")
    parser.add_argument("--only", default="", help="rows whose name begins so")
    parser.add_argument("--updates", type=int, default=16, help="of the recovery, 4 x 256 tokens each")
    parser.add_argument("--rate", type=float, default=3e-4, help="of the recovery")
    parser.add_argument("--budget", type=float, action="append", choices=BUDGETS, help="only this one (repeatable)")
    parser.add_argument("--windows", type=int, default=8, help="of 512 tokens, of the text")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write what is finished to FILE; measures nothing")
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    if options.json:
        found = collected(options.out)
        options.json.write_text(json.dumps(found, indent=1, sort_keys=True) + "\n")
        show(found)
        return
    model = replace(load_checkpoint(options.model), packed={})
    for name, budget, row in cells(model, options.only, options.budget or BUDGETS):
        folder = options.out / f"{name.replace(' ', '-')}-{round(100 * budget)}"
        folder.mkdir(exist_ok=True)
        cell = folder / "cell.json"
        with (folder / "lock").open("w") as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)  # gone with the process, however that ends
            except BlockingIOError:
                continue
            if cell.exists():
                continue
            try:
                measured = run(model, name, row, options, folder)
            except EdgecError as error:  # the other cells do not wait for it
                print(f"\n{folder.name}: {error}", flush=True)
                continue
            write_file(cell, json.dumps({"name": name, "budget": budget, **measured}, indent=1) + "\n")
            print(record(json.loads(cell.read_text())), flush=True)


def cells(model: Checkpoint, only: str, budgets: Sequence[float]) -> list[tuple[str, float, dict[str, Any]]]:
    """(row, budget, options) of all that is to be measured, the dense model first."""
    tensors = {name: model.tensor(name).size for name in model.stored_tensors()}
    blocks = {name: size for name, size in tensors.items() if name in set(model.stored_matrices())}
    ffn = sum(size for name, size in blocks.items() if ".mlp." in name)
    config = model.config
    made: list[tuple[str, float, dict[str, Any]]] = [("dense", 1.0, {})]
    for budget in budgets:
        total, inside = sum(tensors.values()), sum(blocks.values())
        share = ffn / inside
        size = Size(total, inside, config.n_layers, config.vocab_size, config.hidden_dim, share, budget)
        made += [(name, budget, row) for name, row in stages(size).items()]
    return [cell for cell in made if cell[0].startswith(only)]


def run(model: Checkpoint, name: str, row: dict[str, Any], options: argparse.Namespace, folder: Path) -> dict[str, Any]:
    """One cell: the stage and its recovery as `edgec compress` runs them, each with its size and perplexity."""
    training = {"batch": 4, "accumulate": 1, "steps": options.updates, "warmup": 0.25, "save_every": 1 << 30}
    recovery = {"method": "distill", "rate": options.rate, "hidden_loss": 0.0, **training}
    method = row.get("method")
    if method == "abaco":
        chain = [{**training, **row}]
    elif method in TRAINING:
        chain = [{**recovery, **row}]
    else:
        chain = [row] if row else []
        chain += [] if name.removeprefix("svd ") in BARE else [recovery]
    file = folder / "recipe.toml"
    text = "".join(f"[[stage]]\n{toml(each)}\n" for each in chain)
    write_file(file, f"{text}[calibration]\n{toml({'file': options.calibration, 'samples': 1024, 'length': 256})}")
    dense = options.out / "0-dense.json"
    if dense.exists():
        shutil.copy(dense, folder)
    made = compress(
        model,
        load_recipe(file),
        folder,
        measure=measure_on(options.text, options.windows),
        say=lambda text, done, total: print(f"\r{folder.name}: {text} {done}/{total}   ", end="", flush=True),
    )
    if not dense.exists():
        shutil.copy(folder / dense.name, dense)
    for each in made.folders:
        shutil.rmtree(each)
    return {"stages": list(made.table)}


def toml(table: dict[str, Any]) -> str:
    """Key = value lines: JSON's strings, numbers and lists are TOML's too."""
    return "".join(f"{key} = {json.dumps(value)}\n" for key, value in table.items())


def collected(folder: Path) -> list[dict[str, Any]]:
    """One record a finished cell: its row, size and perplexities."""
    return [record(json.loads(file.read_text())) for file in sorted(folder.glob("*/cell.json"))]


def record(cell: dict[str, Any]) -> dict[str, Any]:
    """What the table shows of a cell. Perplexities are per token of the original tokenizer, from bits per byte."""
    dense, *rows = cell["stages"]
    quality = dense["quality"]
    per_token = math.log2(quality["perplexity"]) / quality["bits_per_byte"]  # bytes of a token

    def perplexity(row: dict[str, Any]) -> float:
        return round(float(2 ** (row["quality"]["bits_per_byte"] * per_token)), 2)

    trains = cell["name"] in TRAINING
    last = rows[-1]
    found = {
        "row": cell["name"],
        "budget": cell["budget"],
        "nonzero": last["nonzero"],
        "share": round(last["nonzero"] / dense["nonzero"], 4),
        "seconds": [row["seconds"] for row in rows],
    }
    if not trains:
        found["before"] = perplexity(rows[0] if cell["budget"] < 1 else dense)
    if last["method"] in (*TRAINING,):
        found["after"] = perplexity(last)
    return found


def show(found: list[dict[str, Any]]) -> None:
    """The table as docs/compression.md has it."""
    table = Table(box=MARKDOWN)
    table.add_column("Stage")
    for budget in BUDGETS:
        for title in ("left", "before", "after"):
            table.add_column(f"{budget:.0%}: {title}", justify="right")
    for name in dict.fromkeys(record["row"] for record in sorted(found, key=lambda r: (-r["budget"], r["row"]))):
        cells = {record["budget"]: record for record in found if record["row"] == name}
        line = [name]
        for budget in BUDGETS:
            cell = cells.get(budget, {})
            line.append(f"{100 * cell['share']:.1f} %" if cell else "")
            line += [figure(cell.get("before")), figure(cell.get("after"))]
        table.add_row(*line)
    Console(width=160).print(table)


def figure(value: float | None) -> str:
    """Three or four digits of a perplexity."""
    return "" if value is None else f"{value:.4g}" if value < 1000 else f"{value:,.0f}"


if __name__ == "__main__":
    main()
