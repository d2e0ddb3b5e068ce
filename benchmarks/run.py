"""Measures edgec and what it emits on this machine: `make bench`.

For each model and weight width: time to build and to plan, tokens per second of the reference, of the plan's simulator
and of the emitted C on this host, and the instructions that one token takes on RV32. Speeds are those of decoding
behind a prompt of 64 tokens. Nothing is asserted.

C on this host and RV32 are those of a project without the accelerator, whose jobs a model in C would have to compute:
generic kernels on one core. Instructions are counted exactly, in the emulator. For stories260K they are also counted
without float instructions, and those of llama2.c on the same model stand beside them.
"""

from __future__ import annotations

import argparse
import json
import platform
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from bench_models import STORIES260K
from rich.console import Console
from rich.table import Table

from edgec.artifact import Artifact
from edgec.compiler import build
from edgec.compress.rtn import quantize_model
from edgec.cost.estimate import program_usage
from edgec.frontend.load import load_checkpoint
from edgec.lower.programs import ready
from edgec.planning import plan_model
from edgec.recipe import Recipe, with_flags
from edgec.target import load_target, target_path
from edgec.verify.host import HostBackend
from edgec.verify.rv32 import Rv32Backend
from edgec.verify.workload import TEXT

POSITION = 64  # tokens in the cache when decoding starts
TARGET = "siracusa"
# Instructions of one token of stories260K at position 64, with float instructions and without: exact counts of run.c
# (float32 weights) and runq.c (int8), given; they are not counted again here.
LLAMA2C = {"float32": (2_350_000, 52_700_000), "int8": (2_970_000, 19_400_000)}
COLUMNS = {
    "build_seconds": "build s",
    "plan_seconds": "plan s",
    "reference_tokens_per_second": "reference tok/s",
    "simulator_tokens_per_second": "simulator tok/s",
    "host_tokens_per_second": "host C tok/s",
    "rv32_instructions_per_token": "RV32 instr/token",
    "rv32_instructions_per_mac": "instr/MAC",
    "predicted_cycles_per_token": "predicted cycles",
}


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the measurements to FILE")
    parser.add_argument("--bits", type=int, nargs="+", default=[4, 8], help="weight widths to measure")
    parser.add_argument("--tokens", type=int, default=64, help="tokens to decode for each speed")
    parser.add_argument("--seconds", type=float, default=10.0, help="stop measuring a speed after this long")
    options = parser.parse_args()
    models = ["stories", *([str(STORIES260K)] if STORIES260K.is_file() else [])]
    rows = [measure(model, bits, options.tokens, options.seconds) for model in models for bits in options.bits]
    console = Console()
    console.print(table(rows))
    if counted := [row for row in rows if "rv32_soft_float_instructions_per_token" in row]:
        console.print()
        console.print(llama2c_table(counted))
    if options.json:
        options.json.parent.mkdir(parents=True, exist_ok=True)
        machine = {"python": platform.python_version(), "machine": platform.machine()}
        options.json.write_text(json.dumps({"position": POSITION, **machine, "rows": rows}, indent=1) + "\n")


def measure(model: str, bits: int, tokens: int, seconds: float) -> dict[str, Any]:
    """One row: everything about one model in one width."""
    print(f"measure {Path(model).stem} int{bits}", file=sys.stderr)
    recipe = with_flags(Recipe(), bits, None, None, None)
    with tempfile.TemporaryDirectory(prefix="edgec-bench-") as folder:
        start = time.perf_counter()
        artifact = build(model, target=TARGET, recipe=recipe, out=Path(folder) / "out")
        built = time.perf_counter() - start
        row: dict[str, Any] = {"model": Path(model).stem, "bits": bits, "build_seconds": round(built, 2)}
        row["plan_seconds"] = round(plan_seconds(model, recipe, artifact.plan.context), 2)
        ids = artifact.tokenizer.encode(TEXT * 4)[:POSITION]
        simulator, reference = artifact.simulator(), artifact.reference()
        row["reference_tokens_per_second"] = speed(reference, ids, tokens, seconds)
        row["simulator_tokens_per_second"] = speed(simulator, ids, tokens, seconds)
        generic = build(model, target=str(without_accelerator(folder)), recipe=recipe, out=Path(folder) / "generic")
        with HostBackend(generic.project, Path(folder) / "host", traced=False) as host:
            host.reset()
            host.sampling(0.0)
            row["host_tokens_per_second"] = speed(host, ids, tokens, seconds)
        count = rv32_instructions(generic, ids, Path(folder) / "rv32")
        row["rv32_instructions_per_token"] = count
        row["rv32_instructions_per_mac"] = round(count / macs(generic), 2)
        if model == str(STORIES260K):
            soft = rv32_instructions(generic, ids, Path(folder) / "soft", "soft")
            row["rv32_soft_float_instructions_per_token"] = soft
            row["llama2c"] = LLAMA2C
        decode = artifact.plan.programs["decode"]
        row["predicted_cycles_per_token"] = round(program_usage(artifact.plan, decode, 1, POSITION).cycles)
    return row


def without_accelerator(folder: str) -> Path:
    """The target file of the chip with its cores alone."""
    file = Path(folder) / f"{TARGET}-cores.toml"
    file.write_text(target_path(TARGET).read_text(encoding="utf-8").partition("[[accelerator]]")[0], encoding="utf-8")
    return file


def plan_seconds(model: str, recipe: Recipe, context: int) -> float:
    """Time to lower and plan alone."""
    quantized = quantize_model(load_checkpoint(model), recipe.quantize)
    chip = load_target(TARGET)
    start = time.perf_counter()
    plan_model(ready(quantized, chip, context), chip, context, recipe)
    return time.perf_counter() - start


def speed(runner: Any, ids: list[int], tokens: int, seconds: float) -> float:
    """Tokens per second of decoding behind `ids`."""
    token = runner.prefill(ids)
    start, done = time.perf_counter(), 0
    while done < tokens and time.perf_counter() - start < seconds:
        token = runner.decode(token)
        done += 1
    return round(done / (time.perf_counter() - start), 1)


def rv32_instructions(artifact: Artifact, ids: list[int], folder: Path, float_abi: str = "f") -> int:
    """Instructions of the decode call at position len(ids)."""
    with Rv32Backend(artifact.project, folder, count=True, traced=False, float_abi=float_abi) as program:
        program.reset()
        program.sampling(0.0)
        token = program.prefill(ids)
        before = program.instructions()
        program.decode(token)
        return program.instructions() - before


def macs(artifact: Artifact) -> int:
    """Multiply-accumulates of one decoded token at POSITION: matrices, and attention over the cache."""
    total = 0
    graph = artifact.graphs["decode"]
    for node in graph.nodes:
        if node.op.startswith("matmul_"):
            total += graph.type_of(node.inputs["w"]).shape[0] * int(node.attrs["k"])
        elif node.op.startswith("attention"):
            total += 2 * int(node.attrs["n_heads"]) * int(node.attrs["head_dim"]) * (POSITION + 1)
    return total


def table(rows: list[dict[str, Any]]) -> Table:
    """The rows for a person: one column a model, one line a measurement."""
    result = Table(box=None, padding=(0, 2, 0, 0), pad_edge=False)
    result.add_column(f"at position {POSITION}")
    for row in rows:
        result.add_column(f"{row['model']} int{row['bits']}", justify="right")
    for key, title in COLUMNS.items():
        result.add_row(title, *(f"{row[key]:,}" for row in rows))
    return result


def llama2c_table(rows: list[dict[str, Any]]) -> Table:
    """Instructions beside llama2.c's, and how many times edgec's own those are."""
    result = Table(box=None, padding=(0, 2, 0, 0), pad_edge=False)
    result.add_column("instructions per token")
    for name in ("with float instructions", "without"):
        result.add_column(name, justify="right")
    kinds = ("rv32_instructions_per_token", "rv32_soft_float_instructions_per_token")
    for row in rows:
        ours = [row[kind] for kind in kinds]
        result.add_row(f"{row['model']} int{row['bits']}", *(f"{count:,}" for count in ours))
        for name, theirs in LLAMA2C.items():
            compared = (f"{t / o:.2f} x  {t:,}" for t, o in zip(theirs, ours, strict=True))
            result.add_row(f"  llama2.c {name}", *compared)
    return result


if __name__ == "__main__":
    main()
