"""The program for Siracusa on the emulated board: the reference's bits with any number of cores, with N-EUREKA too."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import tiny_models

from edgec.artifact import Artifact
from edgec.errors import MismatchError, VerifyError
from edgec.ops.attention_neureka import first_position
from edgec.ops.matmul_w4a8 import bits_of
from edgec.target import target_path
from edgec.verify.chain import verify
from edgec.verify.workload import workload

WIDE = {"hidden_dim": 252, "ffn_dim": 504, "head_dim": 12, "n_heads": 4, "n_kv_heads": 2, "vocab_size": 97}


def ops(artifact: Artifact) -> set[str]:
    return {s.op for s in artifact.plan.programs["decode"].steps}


def cores_file(path: Path, cores: int, abi: str = "zfinx") -> Path:
    """siracusa.toml, measured costs and accelerator included, with so many cores and another float ABI."""
    text = target_path("siracusa").read_text()
    text = re.sub(r"(?m)^cores = 8", f"cores = {cores}", text)
    path.write_text(text.replace('float_abi = "zfinx"', f'float_abi = "{abi}"'))
    return path


def small(tmp_path: Path, objects: Path, cores: int, abi: str = "zfinx") -> Artifact:
    source = tiny_models.checkpoint(tiny_models.config())
    target = cores_file(tmp_path / "t.toml", cores, abi)
    return tiny_models.built(source, tmp_path / "out", objects, target)


@pytest.mark.parametrize("cores", [1, 2, 4, 8])
def test_any_number_of_cores_has_the_same_bits(tmp_path: Path, objects: Path, cores: int) -> None:
    found = verify(small(tmp_path, objects, cores), ["siracusa"])["backends"]["siracusa"]
    assert found["mismatches"] == 0 and found["tensors"] > 200


@pytest.mark.parametrize("abi", ["f", "soft"])
def test_any_float_abi_has_the_same_bits(tmp_path: Path, objects: Path, abi: str) -> None:
    assert verify(small(tmp_path, objects, 8, abi), ["siracusa"])["backends"]["siracusa"]["mismatches"] == 0


@pytest.mark.parametrize(("bits", "group"), [(4, 252), (8, 252), (3, 504)])
def test_matmuls_on_the_accelerator(tmp_path: Path, objects: Path, bits: int, group: int) -> None:
    source = tiny_models.checkpoint(tiny_models.config(**WIDE))
    recipe = tiny_models.recipe(bits=bits, group_size=group)
    artifact = tiny_models.built(source, tmp_path / "out", objects, made=recipe)
    assert {bits_of(op) for op in ops(artifact) if op.endswith("_neureka")} == {bits}
    for leg in ("simulator", "host", "siracusa"):
        found = verify(artifact, [leg])["backends"][leg]
        assert found["mismatches"] == 0 and found["tensors"] > 200, leg


@pytest.mark.parametrize(("bits", "group", "kernel"), [(4, 252, "w4a8_mlp_neureka"), (8, 128, "w8a8_mlp_neureka_1x1")])
def test_an_mlp_in_one_call(tmp_path: Path, objects: Path, bits: int, group: int, kernel: str) -> None:
    """Down's first groups are multiplied while the cores compute the activation's last one."""
    shape = WIDE if bits == 4 else {**WIDE, "hidden_dim": 128, "ffn_dim": 384}
    source, recipe = tiny_models.checkpoint(tiny_models.config(**shape)), tiny_models.recipe(bits, group)
    artifact = tiny_models.built(source, tmp_path / "out", objects, made=recipe)
    assert f"matmul_{kernel}" in ops(artifact)
    for leg in ("simulator", "host", "rv32", "siracusa"):
        found = verify(artifact, [leg])["backends"][leg]
        assert found["mismatches"] == 0 and found["tensors"] > 200, leg


@pytest.mark.parametrize(("group", "abi"), [(0, "zfinx"), (0, "f"), (256, "zfinx")])
def test_inputs_behind_whole_blocks_by_the_cores(tmp_path: Path, objects: Path, group: int, abi: str) -> None:
    """Of all matrices, a tied head and its look-up among them; of one group a row and of several."""
    shape = {**WIDE, "hidden_dim": 256, "ffn_dim": 768, "head_dim": 64, "vocab_size": 400, "tied_embeddings": True}
    source, recipe = tiny_models.checkpoint(tiny_models.config(**shape)), tiny_models.recipe(4, group)
    target = cores_file(tmp_path / "t.toml", 8, abi)
    artifact = tiny_models.built(source, tmp_path / "out", objects, target, made=recipe)
    calls = [p.call for s in artifact.plan.programs["decode"].steps for p in s.phases if p.call]
    found = {c.kernel: c.numbers["tail"] for c in calls if "tail" in c.numbers}
    assert found.keys() == {"embed_neureka", "matmul_w4a8_neureka", "matmul_w4a8_silu_neureka"} and all(found.values())
    for leg in ("simulator", "host", "rv32", "siracusa"):
        legs = verify(artifact, [leg])["backends"][leg]
        assert legs["mismatches"] == 0 and legs["tensors"] > 200, leg


@pytest.mark.parametrize(("bits", "group", "form"), [(4, 252, "neureka"), (8, 64, "neureka_1x1")])
def test_a_tied_head_on_the_accelerator(tmp_path: Path, objects: Path, bits: int, group: int, form: str) -> None:
    """Its constant is the table of tokens too."""
    shape = WIDE if bits == 4 else {"hidden_dim": 64, "ffn_dim": 64, "head_dim": 16, "n_heads": 4, "n_kv_heads": 2}
    source = tiny_models.checkpoint(tiny_models.config(**{**shape, "vocab_size": 300, "tied_embeddings": True}))
    artifact = tiny_models.built(
        source, tmp_path / "out", objects, made=tiny_models.recipe(bits=bits, group_size=group)
    )
    assert f"embed_{form}" in ops(artifact) and f"matmul_w{bits}a8" not in ops(artifact)
    for leg in ("simulator", "host", "rv32", "siracusa"):
        found = verify(artifact, [leg])["backends"][leg]
        assert found["mismatches"] == 0 and found["tensors"] > 200, leg


@pytest.mark.parametrize("cores", [1, 8])
def test_scores_on_the_accelerator(tmp_path: Path, objects: Path, cores: int) -> None:
    """Three heads with the same keys do not fill eight cores: from position 40 on the engine has their scores."""
    shape = {"hidden_dim": 60, "ffn_dim": 64, "head_dim": 64, "n_heads": 3, "n_kv_heads": 1}
    source, recipe = tiny_models.checkpoint(tiny_models.config(**shape)), tiny_models.recipe(context=64)
    target = cores_file(tmp_path / "t.toml", cores)
    artifact = tiny_models.built(source, tmp_path / "out", objects, target, recipe)
    calls = [p.call for s in artifact.plan.programs["decode"].steps for p in s.phases if p.call is not None]
    numbers = [c.numbers for c in calls if c.kernel == "attention_neureka"]
    assert len(numbers) == (2 if cores == 8 else 0)
    assert all(first_position(n) == 40 for n in numbers)
    assert cores == 1 or len(workload(artifact, "siracusa").prompt) > 40
    for leg in ("simulator", "host", "rv32", "siracusa"):
        found = verify(artifact, [leg])["backends"][leg]
        assert found["mismatches"] == 0 and found["tensors"] > 200, leg


def test_scores_on_the_accelerator_of_heads_that_fill_the_cores(tmp_path: Path, objects: Path) -> None:
    """Each core has a head, until the engine has their scores from position 48 on; four of them have the same keys."""
    shape = {"hidden_dim": 20, "ffn_dim": 64, "head_dim": 128, "n_heads": 8, "n_kv_heads": 2}
    source, recipe = tiny_models.checkpoint(tiny_models.config(**shape)), tiny_models.recipe(context=64)
    artifact = tiny_models.built(source, tmp_path / "out", objects, cores_file(tmp_path / "t.toml", 8), recipe)
    calls = [p.call for s in artifact.plan.programs["decode"].steps for p in s.phases if p.call is not None]
    assert [first_position(c.numbers) for c in calls if c.kernel == "attention_neureka"] == [48, 48]
    assert len(workload(artifact, "siracusa").prompt) > 48
    for leg in ("simulator", "host", "rv32", "siracusa"):
        found = verify(artifact, [leg])["backends"][leg]
        assert found["mismatches"] == 0 and found["tensors"] > 200, leg


def test_stacks_are_measured_and_hold(tmp_path: Path, objects: Path) -> None:
    artifact = small(tmp_path, objects, 8)
    found = verify(artifact, ["siracusa"])["backends"]["siracusa"]
    runtime = artifact.plan.target.runtime
    assert 64 < found["stack_high_water"] < runtime.stack_bytes
    assert 64 < found["worker_stack_high_water"] < runtime.worker_stack_bytes


@pytest.mark.skipif(shutil.which("make") is None, reason="make is not installed")
def test_make_with_the_default_compiler(tmp_path: Path, objects: Path) -> None:
    """By the emitted flags alone: some loops take every register, the frame pointer's too."""
    project = small(tmp_path, objects, 8).project
    done = subprocess.run(
        ["make", "siracusa", "rv32", f"RV32_CC={sys.executable} -m ziglang cc"],
        cwd=project,
        check=False,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    assert (project / "model-siracusa.elf").is_file() and (project / "model.elf").is_file()


def test_a_stack_that_is_too_small_is_found(tmp_path: Path, objects: Path) -> None:
    source = tiny_models.checkpoint(tiny_models.config())
    path = cores_file(tmp_path / "t.toml", 8)
    path.write_text(re.sub(r"(?m)^worker_stack_bytes = \d+", "worker_stack_bytes = 64", path.read_text()))
    artifact = tiny_models.built(source, tmp_path / "out", objects, path)
    with pytest.raises(VerifyError):
        verify(artifact, ["siracusa"])


def test_a_wrong_kernel_of_the_chip_is_found(tmp_path: Path, objects: Path) -> None:
    """A file that only the chip's program is built from."""
    artifact = small(tmp_path, objects, 8)
    folder = Path(shutil.copytree(artifact.path, tmp_path / "broken"))
    path = folder / "project/kernels/common/edgec_rows_xpulpv2.h"
    text = path.read_text()
    assert "edgec_quotient(127.0f, top)" in text
    path.write_text(text.replace("edgec_quotient(127.0f, top)", "edgec_quotient(126.0f, top)"))
    with pytest.raises(MismatchError, match=r"siracusa differs from the reference first in \S+norm"):
        verify(Artifact.load(folder), ["siracusa"])
    assert json.loads((folder / "verification.json").read_text())["backends"]["siracusa"]["mismatches"] > 0


def off_chip(tmp_path: Path, objects: Path) -> Artifact:
    """Weights and cache in HyperRAM; one head's scales make rows that are not whole words."""
    source = tiny_models.checkpoint(tiny_models.config(n_kv_heads=1))
    target = tiny_models.target_file(tmp_path / "t.toml", L1=6000, weights=["L3"], kv=["L3"])
    return tiny_models.built(source, tmp_path / "out", objects, target)


def test_weights_and_cache_off_chip(tmp_path: Path, objects: Path) -> None:
    artifact = off_chip(tmp_path, objects)
    phases = [p for g in artifact.plan.programs.values() for s in g.steps for p in s.phases]
    moved = {(t.link, t.row_bytes % 4) for phase in phases for t in phase.transfers if "L3" in t.link}
    assert moved == {(link, odd) for link in ("L3>L2", "L2>L3") for odd in (0, 2)}
    found = verify(artifact, ["siracusa"])["backends"]["siracusa"]
    assert found["mismatches"] == 0 and found["tensors"] > 200


WRONG_DRIVERS = {
    "does not wait": ("hal.c", "hyper_open = 1;", "hyper_open = 0;"),
    "loses the last bytes": ("hyperbus.h", "bytes - whole, into_l2)", "0, into_l2)"),
    "spoils neighbours": (
        "hyperbus.h",
        "hyper_start(CHIP_HYPER_READ, buffer, far - before",
        "if (into_l2) hyper_start(CHIP_HYPER_READ, buffer, far - before",
    ),
}


@pytest.mark.parametrize("name", WRONG_DRIVERS)
def test_a_wrong_driver_of_the_hyperbus_is_found(tmp_path: Path, objects: Path, name: str) -> None:
    artifact = off_chip(tmp_path, objects)
    file, right, wrong = WRONG_DRIVERS[name]
    path = artifact.project / "siracusa" / file
    text = path.read_text()
    assert text.count(right) == 1
    path.write_text(text.replace(right, wrong))
    with pytest.raises(MismatchError, match="siracusa differs from the reference first in"):
        verify(artifact, ["siracusa"])


def test_another_chip_has_no_such_program(tmp_path: Path, objects: Path) -> None:
    source = tiny_models.checkpoint(tiny_models.config())
    artifact = tiny_models.built(source, tmp_path / "out", objects, "gap9")
    with pytest.raises(VerifyError, match="built for gap9, which has no program for siracusa"):
        verify(artifact, ["siracusa"])
