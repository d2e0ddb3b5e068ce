"""Times the quantise stage beside GPTQModel on the same model, text and grid: each as `edgec compress`, one after the
other, in a process of its own. Prints seconds, CPU seconds of all threads, the largest resident memory of a process,
and the ratio of the seconds.

Loading, writing the folder and the library's import are in both times. Nothing is asserted.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

WAYS = {"GPTQModel": "gptqmodel", "edgec": "gptq"}


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", help="a checkpoint")
    parser.add_argument("calibration", type=Path, help="the text to calibrate on")
    parser.add_argument("--bits", type=int, default=4)
    parser.add_argument("--group-size", type=int, default=64)
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the measurements to FILE")
    options = parser.parse_args()
    rows = [measure(name, by, options) for name, by in WAYS.items()]
    for row in rows:
        row["ratio"] = round(row["seconds"] / rows[0]["seconds"], 2)
    Console().print(table(rows))
    if options.json:
        options.json.write_text(json.dumps(rows, indent=1) + "\n")


def measure(name: str, by: str, options: argparse.Namespace) -> dict[str, Any]:
    """One run of the stage: wall seconds, and the largest resident set of a process it waited for, in GiB."""
    with tempfile.TemporaryDirectory(prefix="edgec-bench-") as folder:
        recipe = Path(folder) / "recipe.toml"
        stage = f'[[stage]]\nmethod = "quantize"\nby = "{by}"\nbits = {options.bits}\n'
        recipe.write_text(stage + f"group_size = {options.group_size}\n")
        command = [sys.executable, "-m", "edgec", "compress", options.model, "--recipe", str(recipe)]
        command += ["--calibration", str(options.calibration), "-o", str(Path(folder) / "out")]
        start = time.monotonic()
        with subprocess.Popen(command, stdout=subprocess.DEVNULL) as process:
            _, status, used = os.wait4(process.pid, 0)
            process.returncode = os.waitstatus_to_exitcode(status)
        if process.returncode:
            sys.exit(f"{name} ended with exit code {process.returncode}")
        cpu = round(used.ru_utime + used.ru_stime)
        return {
            "by": name,
            "seconds": round(time.monotonic() - start),
            "cpu_seconds": cpu,
            "gib": round(used.ru_maxrss / 2**20, 2),
        }


def table(rows: list[dict[str, Any]]) -> Table:
    """The measurements as printed."""
    shown = Table(box=None)
    for title in ("quantise by", "seconds", "ratio", "CPU seconds", "largest process (GiB)"):
        shown.add_column(title, justify="left" if title == "quantise by" else "right")
    for row in rows:
        shown.add_row(
            row["by"], f"{row['seconds']:,}", f"{row['ratio']:.2f}", f"{row['cpu_seconds']:,}", f"{row['gib']:.2f}"
        )
    return shown


if __name__ == "__main__":
    main()
