"""Every shipped target: a model is planned for it, emitted, and exact in the simulator and as a host program."""

from __future__ import annotations

from pathlib import Path

import pytest
import tiny_models

from edgec.target import load_target, names
from edgec.verify.chain import verify


@pytest.mark.parametrize("target", names())
def test_a_model_is_exact_on_it(target: str, tmp_path: Path, objects: Path) -> None:
    source = tiny_models.checkpoint(tiny_models.config(tied_embeddings=True, n_layers=2))
    artifact = tiny_models.built(source, tmp_path / "out", objects, target=target, made=tiny_models.recipe(context=40))
    assert artifact.built and artifact.plan.target.name == target
    with tiny_models.quick(source, objects):
        found = verify(artifact, ("simulator", "host"))["backends"]
    assert found["simulator"]["mismatches"] == found["host"]["mismatches"] == 0


@pytest.mark.parametrize("target", [name for name in names() if name != "host"])
def test_figures_have_a_source(target: str) -> None:
    """Every number of a chip says in a comment where it comes from."""
    from edgec.target import target_path

    for line in target_path(target).read_text().splitlines():
        value = line.partition("=")[2].strip()
        if value[:1].isdigit():
            assert "# [" in line, f"{target}: {line}"
    assert load_target(target).clock_hz > 1e8
