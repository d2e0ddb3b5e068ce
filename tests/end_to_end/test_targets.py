"""Every shipped target: a model is planned for it, emitted, and exact in the simulator and as a host program."""

from __future__ import annotations

from pathlib import Path

import pytest
import tiny_models
from elftools.elf.elffile import ELFFile

from edgec import compiler
from edgec.target import names, target_path
from edgec.verify.chain import verify
from edgec.verify.rv32 import Rv32Backend


@pytest.mark.parametrize("target", names())
def test_a_model_is_exact_on_it(target: str, tmp_path: Path, objects: Path) -> None:
    source = tiny_models.checkpoint(tiny_models.config(tied_embeddings=True, n_layers=2))
    artifact = tiny_models.built(source, tmp_path / "out", objects, target=target, made=tiny_models.recipe(context=40))
    assert artifact.built and artifact.plan.target.name == target
    with tiny_models.quick(source, objects):
        found = verify(artifact, ("simulator", "host"))["backends"]
    assert found["simulator"]["mismatches"] == found["host"]["mismatches"] == 0


def test_the_program_without_float_instructions_is_exact(tmp_path: Path, objects: Path) -> None:
    text = target_path("stm32h743").read_text()
    (tmp_path / "soft.toml").write_text(text.replace("[runtime]\n", '[runtime]\nfloat_abi = "soft"\n'))
    source = tiny_models.checkpoint(tiny_models.config(n_layers=1))
    with tiny_models.quick(source, objects, measured=True):
        target, recipe = str(tmp_path / "soft.toml"), tiny_models.recipe(context=16)
        made = compiler.build("memory", target=target, recipe=recipe, out=tmp_path / "out")
        assert verify(made, ("rv32",))["backends"]["rv32"]["mismatches"] == 0
    with Rv32Backend(made.project, tmp_path, traced=False, float_abi="soft") as program:
        assert ELFFile(program.elf.open("rb"))["e_flags"] & 6 == 0  # the ABI of floats: soft
