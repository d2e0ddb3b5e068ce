"""Copies of kernels: one for each shape of a token's calls, its numbers constants, in the chip's program only."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import tiny_models

from edgec.artifact import Artifact
from edgec.emit.kernel_copies import COPIES, MOST, KernelCopies, copies_for, known, source
from edgec.emit.project import chip_variants
from edgec.errors import MismatchError
from edgec.memory.plan import Call, Plan
from edgec.ops import kernel
from edgec.target import load_target
from edgec.verify.chain import verify

VARIANTS = chip_variants(load_target("siracusa"))


def calls(plan: Plan, program: str) -> list[Call]:
    return [p.call for step in plan.programs[program].steps for p in step.phases if p.call is not None]


@pytest.fixture(scope="module")
def artifact(tmp_path_factory: pytest.TempPathFactory, objects: Path) -> Artifact:
    made = tiny_models.checkpoint(tiny_models.config())
    return tiny_models.built(made, tmp_path_factory.mktemp("copies") / "out", objects, "siracusa")


def test_a_copy_says_all_that_a_call_never_changes(artifact: Artifact) -> None:
    folder = artifact.project / "siracusa" / COPIES
    texts = {path.stem: path.read_text() for path in folder.glob("*.c")}
    model = (artifact.project / "model.c").read_text()
    found = [call for call in calls(artifact.plan, "decode") if source(call.kernel, VARIANTS)]
    assert {"attention", "rmsnorm_quantize", "rope_append"} <= {call.kernel for call in found}
    for call in found:
        lines = "".join(f"        (a).{name} = {literal}; \\\n" for name, literal in known(call))
        (copy,) = [name for name, text in texts.items() if lines in text and name.startswith(f"{call.kernel}_of_")]
        assert re.search(rf"edgec_{copy}\(|HAL_FORK\(edgec_{copy},", model)
        numbers = dict(known(call))
        for p in kernel(call.kernel).params:
            constant = call.regions[p.name] is None if p.is_pointer else isinstance(call.numbers[p.name], int | float)
            assert (p.name in numbers) == constant
    assert len(texts) == len({(call.kernel, known(call)) for call in found})


def test_copies_are_few_and_a_call_beyond_has_the_kernel(artifact: Artifact) -> None:
    call = next(c for c in calls(artifact.plan, "decode") if c.kernel == "rmsnorm_quantize")
    copies = KernelCopies(VARIANTS)
    shapes = [Call(call.kernel, call.engine, call.regions, {**call.numbers, "k": k}) for k in range(8, 8 + MOST + 1)]
    names = [copies.function(shape) for shape in shapes]
    assert len(set(names)) == MOST + 1 and names[-1] == "edgec_rmsnorm_quantize"
    assert [copies.function(shape) for shape in shapes] == names and len(copies.files()) == MOST


def test_kernels_without_known_numbers_have_no_copy() -> None:
    assert source("rmsnorm_quantize", VARIANTS) == "kernels/rmsnorm_quantize/rmsnorm_quantize_xpulpv2.c"
    assert source("attention", VARIANTS) == "kernels/attention/attention_whole_xpulpv2.c"
    assert source("rmsnorm_quantize", frozenset()) is None
    assert source("last_row", VARIANTS) is None
    assert copies_for(load_target("host"), VARIANTS) is None


def test_a_wrong_constant_in_a_copy_is_found(artifact: Artifact) -> None:
    path = next((artifact.project / "siracusa" / COPIES).glob("rmsnorm_quantize_of_*.c"))
    text = path.read_text()
    try:
        path.write_text(re.sub(r"\(a\)\.k = (\d+)u;", lambda k: f"(a).k = {int(k[1]) - 8}u;", text))
        assert path.read_text() != text
        with pytest.raises(MismatchError, match=r"siracusa differs from the reference first in .*norm"):
            verify(artifact, ["siracusa"])
    finally:
        path.write_text(text)
    assert verify(artifact, ["siracusa"])["backends"]["siracusa"]["mismatches"] == 0


def test_an_engines_first_job_starts_before_transfers(tmp_path_factory: pytest.TempPathFactory, objects: Path) -> None:
    """A token's step starts the job, then its transfers, then calls a copy that does not start it once more."""
    made = tiny_models.checkpoint(tiny_models.config(hidden_dim=64, ffn_dim=160))
    out = tmp_path_factory.mktemp("ahead") / "out"
    artifact = tiny_models.built(made, out, objects, "siracusa")
    folder, model = artifact.project / "siracusa" / COPIES, (artifact.project / "model.c").read_text()
    engine = [call for call in calls(artifact.plan, "decode") if kernel(call.kernel).engine]
    assert engine
    steps = re.findall(r"static void step_\w+\(.*?\n}\n", model, re.DOTALL)
    ahead = [body for body in steps if "FIRST_JOB(a);" in body]
    beside, called = 0, set()
    for body in ahead:
        assert re.search(r"\*const a = given;\s*FIRST_JOB\(a\);", body)
        (call,) = re.finditer(r"edgec_(matmul\w+_of_\d+)\(a, 0, 1\);", body)
        called.add(call.group(1))
        between = body[body.index("FIRST_JOB(a);") : call.start()]
        beside += len(re.findall(r"hal_dma_(?:start|into|out_of)\(|copy_rows\w*\(", between))
        assert "#define EDGEC_AHEAD" in (folder / f"{call.group(1)}.c").read_text()
    assert beside  # a step with none would prove nothing
    assert len(called) == len({known(call) for call in engine})
    assert not any(re.search(rf"edgec_({'|'.join(called)})\(", body) for body in steps if body not in ahead)
    others = [path for path in folder.glob("*.c") if not path.name.startswith("matmul_")]
    assert others and not any("EDGEC_AHEAD" in path.read_text() for path in others)


def test_calls_of_several_rows_start_their_own_jobs(artifact: Artifact) -> None:
    copies = KernelCopies(VARIANTS)
    name = "matmul_w4a8_neureka"
    for m, ahead in ((1, True), (2, False)):
        numbers = {p.name: m if p.name == "m" else 64 for p in kernel(name).params if not p.is_pointer}
        regions = {p.name: None for p in kernel(name).params if p.is_pointer}
        assert copies.ahead(Call(name, "neureka", regions, numbers)) == ahead
    other = next(c for c in calls(artifact.plan, "decode") if c.kernel == "rmsnorm_quantize")
    assert not copies.ahead(other)


def test_a_copy_that_starts_no_job_is_never_called_without_one(
    tmp_path_factory: pytest.TempPathFactory, objects: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also where there is no room for tables of arguments, so that a step makes them itself."""
    monkeypatch.setattr("edgec.memory.planner.calls_bytes", lambda graphs, target: 0)
    made = tiny_models.checkpoint(tiny_models.config(hidden_dim=64, ffn_dim=160))
    artifact = tiny_models.built(made, tmp_path_factory.mktemp("untabled") / "out", objects, "siracusa")
    folder, model = artifact.project / "siracusa" / COPIES, (artifact.project / "model.c").read_text()
    ahead = [path.stem for path in folder.glob("*.c") if "EDGEC_AHEAD" in path.read_text()]
    assert ahead and "a = given;" not in model
    assert verify(artifact, ["siracusa"])["backends"]["siracusa"]["mismatches"] == 0
    assert all(re.search(rf"FIRST_JOB\(&args\);[^}}]*edgec_{name}\(&args, 0, 1\);", model) for name in ahead)
