"""Measures packed N:M matrices against dense ones: RV32 instructions, exact counts of the generic kernels on one core.

The embedded model, each matrix of its blocks pruned by magnitude, groups of 64. For every pattern: bits per weight, the
instructions of the matmul kernel alone per multiply-accumulate of the dense matrix and per kept one, in decoding one
token and in a prefill run of 16, and those of the whole program relative to the dense one's. Nothing is asserted.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from edgec.artifact import Artifact
from edgec.compiler import build
from edgec.compress.width import Width
from edgec.ops.matmul_w4a8_nm import kernel_name
from edgec.packing_nm import PATTERNS, Pattern, bits_per_weight
from edgec.recipe import Build, Quantize, Recipe
from edgec.verify.rv32 import MODEL_CALLS, Rv32Backend

ROWS = 16  # of a prefill run
PROMPT = list(range(3, 3 + ROWS))


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--bits", type=int, nargs="+", default=[4, 8], help="weight widths to measure")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the measurements to FILE")
    options = parser.parse_args()
    rows = [row for bits in options.bits for row in measure(bits)]
    Console().print(table(rows))
    if options.json:
        options.json.write_text(json.dumps(rows, indent=1) + "\n")


def measure(bits: int) -> list[dict[str, Any]]:
    """The dense program and one of each pattern."""
    rows: list[dict[str, Any]] = []
    for pattern in (None, *PATTERNS):
        with tempfile.TemporaryDirectory(prefix="edgec-bench-") as folder:
            stages = (Width(pattern=f"{pattern[0]}:{pattern[1]}", metric="magnitude"),) if pattern else ()
            recipe = Recipe(Quantize(bits=bits, keep=False), Build(context=64, chunk=ROWS), stages)
            artifact = build("stories", recipe=recipe, out=Path(folder) / "out")
            row = {"bits": bits, "removed": f"{pattern[0]}:{pattern[1]}" if pattern else "none"}
            row["bits_per_weight"] = bits_per_weight(bits, 64, pattern)
            row |= per_mac(artifact, pattern, bits, Path(folder) / "kernel")
            row |= instructions(artifact, MODEL_CALLS, Path(folder) / "whole")
            rows.append(row)
    for row in rows:
        for program in ("decode", "prefill"):
            row[f"{program}_share"] = round(row[program] / rows[0][program], 2)
    return rows


def per_mac(artifact: Artifact, pattern: Pattern | None, bits: int, folder: Path) -> dict[str, float]:
    """Instructions of the matmul kernel per multiply-accumulate, of dense matrices and of kept weights."""
    name = kernel_name(bits, pattern) if pattern else f"matmul_w{bits}a8"
    op = f"matmul_w{bits}a8_nm" if pattern else name
    counts = instructions(artifact, (f"edgec_{name}",), folder)
    graph, row = artifact.graphs["decode"], {}
    for program, rows in (("decode", 1), ("prefill", ROWS)):
        macs = 0
        for node in (node for node in graph.nodes if node.op == op):
            runs = 1 if node.name == "logits" else rows  # the head sees the last row only
            macs += runs * graph.type_of(node.inputs["w"]).shape[0] * int(node.attrs["k"])
        row[f"{program}_per_dense_mac"] = round(counts[program] / macs, 2)
        share = 1 - pattern[0] / pattern[1] if pattern else 1
        row[f"{program}_per_kept_mac"] = round(counts[program] / macs / share, 2)
    return row


def instructions(artifact: Artifact, counted: tuple[str, ...], folder: Path) -> dict[str, int]:
    """Instructions of these functions in a prefill run of ROWS tokens, and in decoding the next one."""
    with Rv32Backend(artifact.project, folder, count=True, counted=counted, traced=False) as program:
        program.reset()
        program.sampling(0.0)
        token = program.prefill(PROMPT)
        prefill = program.instructions()
        program.decode(token)
        return {"prefill": prefill, "decode": program.instructions() - prefill}


def table(rows: list[dict[str, Any]]) -> Table:
    """The rows for a person."""
    columns: tuple[str, ...] = (
        "bits",
        "removed",
        "bits_per_weight",
        "decode_per_dense_mac",
        "decode_per_kept_mac",
        "decode_share",
    )
    columns += ("prefill_per_dense_mac", "prefill_per_kept_mac", "prefill_share")
    result = Table(box=None, padding=(0, 2, 0, 0), pad_edge=False)
    for name in columns:
        result.add_column(name.replace("_", " "), justify="right")
    for row in rows:
        result.add_row(*(str(row[name]) for name in columns))
    return result


if __name__ == "__main__":
    main()
