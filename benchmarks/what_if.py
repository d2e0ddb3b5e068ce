"""What-if: LLaMA-3.2-1B planned from its configuration in every combination of depth and N:M, before any download.

Depth 0, 2, 4, 6, 8 of 16 blocks removed, and the blocks' matrices dense or with 2:4, 4:8, 8:16 or 3:4 removed: 24
compressed configurations beside the dense one. Blocks in 4 bits with a scale for 128 weights, embedding (tied) in 8.
Parameters are the closed form P(D, N:M) = total - D * block - (16 - D) * linears * N / M (`edgec/compress/counts.py`).
"""

from __future__ import annotations

import argparse
import json
import time
from dataclasses import asdict, dataclass
from itertools import product
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from edgec.compress.counts import dry_run
from edgec.compress.depth import Depth
from edgec.compress.shapes import planned_model
from edgec.compress.width import Width
from edgec.cost.estimate import program_usage
from edgec.frontend.huggingface_config import architecture_of
from edgec.lower.programs import ready
from edgec.planning import plan_model
from edgec.recipe import Build, Quantize, Recipe, RoleOverride
from edgec.report.verdict import STEMS
from edgec.target import load_target

MODEL = Path(__file__).resolve().parents[1] / "examples" / "llama-3.2-1b" / "config.json"
DEPTHS, PATTERNS = (0, 2, 4, 6, 8), ("", "2:4", "4:8", "8:16", "3:4")
CONTEXT = 256


@dataclass(frozen=True)
class Row:
    """One configuration. bytes: of weights and scales as stored; seconds: of CPU, from configuration to plan."""

    depth: int
    pattern: str
    nonzero: int
    bytes: int
    verdict: str
    tokens_per_second: float
    seconds: float


def row(architecture: Any, target: str, depth: int, pattern: str) -> Row:
    """Plan one configuration."""
    stages: tuple[Any, ...] = (Depth(blocks=depth),) if depth else ()
    stages += (Width(pattern=pattern),) if pattern else ()
    wide = {role: RoleOverride(bits=8) for role in ("embed", "head")}
    recipe = Recipe(Quantize(bits=4, group_size=128, roles=wide), Build(context=CONTEXT), stages)
    chip, began = load_target(target), time.process_time()
    model = planned_model(architecture.config, architecture.extras, recipe)
    made = plan_model(ready(model, chip, CONTEXT), chip, CONTEXT, recipe)[1]
    seconds = time.process_time() - began
    cycles = program_usage(made, made.programs["decode"], 1, CONTEXT - 1).cycles
    off_chip = any(made.arena_bytes(m.name) for m in chip.memories if not m.on_chip)
    verdict = "does_not_fit" if made.deficits() else "needs_l3" if off_chip else "fits"
    held = sum(b.size for b in made.buffers if b.kind in ("weight", "scale"))
    nonzero = dry_run(architecture.config, recipe)[-1].nonzero
    return Row(depth, pattern, nonzero, held, STEMS[verdict], round(chip.clock_hz / cycles, 3), round(seconds, 2))


def main() -> None:
    """Print the table, or JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--config", type=Path, default=MODEL, help="config.json of another model")
    parser.add_argument("--target", default="siracusa")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    architecture = architecture_of(options.config)
    rows = [row(architecture, options.target, d, p) for d, p in product(DEPTHS, PATTERNS)]
    if options.json:
        print(json.dumps([asdict(r) for r in rows], indent=1))
        return
    table = Table(box=None, padding=(0, 2, 0, 0), pad_edge=False)
    for title in ("blocks removed", "N:M removed", "nonzero", "MB", "token/s", "CPU s"):
        table.add_column(title, justify="right")
    table.add_column("verdict")
    for r in rows:
        figures = (f"{r.nonzero:,}", f"{r.bytes / 1e6:.1f}", f"{r.tokens_per_second:.3f}", f"{r.seconds:.1f}")
        table.add_row(str(r.depth), r.pattern or "-", *figures, r.verdict)
    Console().print(table)


if __name__ == "__main__":
    main()
