"""The pipeline: folders whole, stages taken over when nothing before them changed, killed runs resumed."""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from pathlib import Path
from typing import ClassVar

import numpy as np
import pytest

from edgec.compress.pipeline import compress
from edgec.compress.quantize import QuantizeBlocks
from edgec.compress.quantized import QuantizedTensor
from edgec.compress.stage import Calibration, Work
from edgec.compress.width import Width
from edgec.errors import OutputError, RecipeError
from edgec.frontend.checkpoint import Checkpoint
from edgec.frontend.load import load_checkpoint
from edgec.frontend.model_config import ModelConfig
from edgec.packing import pack
from edgec.recipe import Recipe
from tests.tiny_models import checkpoint, config

NORM = "model.norm.weight"


@dataclass(frozen=True)
class Shift:
    """Adds a number to the last norm in `steps` steps, keeping each; `fail_at` stops it as a kill would."""

    method: ClassVar[str] = "shift"
    by: float = 1.0
    steps: int = 3
    fail_at: ClassVar[int] = -1
    ran: ClassVar[list[int]] = []

    def run(self, model: Checkpoint, work: Work) -> Checkpoint:
        norm = model.tensor(NORM)
        for step in range(self.steps):
            kept = work.load(f"step{step}")
            if kept is None:
                if step == Shift.fail_at:
                    raise KeyboardInterrupt
                Shift.ran.append(step)
                kept = {"norm": norm + np.float32(self.by)}
                work.save(f"step{step}", kept)
            norm = kept["norm"]
        work.notes["steps"] = self.steps
        return model.with_tensors({NORM: norm})

    def shape(self, made: ModelConfig) -> ModelConfig:
        return made


@pytest.fixture(autouse=True)
def fresh() -> None:
    Shift.fail_at = -1
    Shift.ran.clear()


def run(tmp_path: Path, *stages: Shift, seed: int = 0) -> list[Path]:
    return list(compress(checkpoint(config()), Recipe(stages=stages, seed=seed), tmp_path / "out").folders)


def test_every_stage_leaves_a_checkpoint_with_its_history(tmp_path: Path) -> None:
    folders = run(tmp_path, Shift(1.0), Shift(2.0))
    start = checkpoint(config()).tensor(NORM)
    for folder, shift in zip(folders, (3.0, 9.0), strict=True):
        assert np.allclose(load_checkpoint(str(folder)).tensor(NORM), start + shift)
    stages = load_checkpoint(str(folders[1])).stages
    assert [(s["method"], s["by"], s["notes"]) for s in stages] == [
        ("shift", 1.0, {"steps": 3}),
        ("shift", 2.0, {"steps": 3}),
    ]
    assert stages[0]["parameters"] == sum(int(np.prod(s)) for s in config().tensor_shapes().values())


def test_only_what_changed_runs_again(tmp_path: Path) -> None:
    run(tmp_path, Shift(1.0), Shift(2.0))
    Shift.ran.clear()
    run(tmp_path, Shift(1.0), Shift(2.0))
    assert Shift.ran == []
    run(tmp_path, Shift(1.0), Shift(5.0))
    assert Shift.ran == [0, 1, 2]
    Shift.ran.clear()
    run(tmp_path, Shift(1.0), Shift(5.0), seed=1)
    assert Shift.ran == [0, 1, 2] * 2


def test_a_killed_stage_goes_on_where_it_was_and_gives_the_same_bytes(tmp_path: Path) -> None:
    whole = run(tmp_path / "a", Shift())
    Shift.ran.clear()
    Shift.fail_at = 2
    with pytest.raises(KeyboardInterrupt):
        run(tmp_path / "b", Shift())
    assert not (tmp_path / "b" / "out" / "1-shift").exists()
    Shift.fail_at = -1
    again = run(tmp_path / "b", Shift())
    assert Shift.ran == [0, 1, 2]
    for file in whole[0].iterdir():
        if file.name != "seconds.json":
            assert file.read_bytes() == (again[0] / file.name).read_bytes(), file.name
    assert not list((tmp_path / "b" / "out").glob(".partial*"))


def test_a_folder_that_no_stage_left_is_not_replaced(tmp_path: Path) -> None:
    (tmp_path / "out" / "1-shift").mkdir(parents=True)
    (tmp_path / "out" / "1-shift" / "thesis.txt").write_text("mine")
    with pytest.raises(OutputError, match="not a stage"):
        run(tmp_path, Shift())
    assert (tmp_path / "out" / "1-shift" / "thesis.txt").read_text() == "mine"


def test_a_missing_text_is_found_before_the_first_stage(tmp_path: Path) -> None:
    recipe = Recipe(stages=(Shift(),), calibration=Calibration(file=str(tmp_path / "no.txt")))
    with pytest.raises(RecipeError, match="does not exist"):
        compress(checkpoint(config()), recipe, tmp_path / "out")
    assert Shift.ran == [] and not (tmp_path / "out").exists()


def test_the_table_begins_with_the_dense_model(tmp_path: Path) -> None:
    made = compress(
        checkpoint(config()),
        Recipe(stages=(Shift(),)),
        tmp_path / "out",
        measure=lambda model, say: {"perplexity": float(model.tensor(NORM)[0])},
    )
    assert [row["method"] for row in made.table] == ["dense", "shift"]
    quality = [row["quality"]["perplexity"] for row in made.table]
    assert quality[1] == pytest.approx(quality[0] + 3)
    assert json.loads((tmp_path / "out" / "0-dense.json").read_text())["quality"]["perplexity"] == quality[0]
    assert replace(made.model, stages=()).config == config()


def test_a_recipe_that_quantises_starts_from_the_floats_of_a_quantised_model(tmp_path: Path) -> None:
    """A GGUF file's grids have minima and no zero: they bind neither pruning nor a later quantise stage."""
    source = checkpoint(config(hidden_dim=32, ffn_dim=64))
    packed = source.with_packed({n: with_minimum(source.tensor(n)) for n in source.matrix_names()})
    stages = (Width(pattern="2:4", metric="magnitude"), QuantizeBlocks(by="rtn", group_size=32))
    for number, chain in enumerate((stages, stages[:1])):
        made = compress(packed, Recipe(stages=chain), tmp_path / str(number)).model
        for name in made.matrix_names():
            assert np.count_nonzero(made.tensor(name)) <= made.tensor(name).size // 2
            assert (name in made.packed) == (number == 0)
    only = compress(packed, Recipe(stages=(Shift(),)), tmp_path / "kept").model
    assert only.packed.keys() == packed.packed.keys()


def with_minimum(w: np.ndarray) -> QuantizedTensor:
    scale, least = ((w.max() - w.min()) / 15, w.min())
    u = np.clip(np.rint((w - least) / scale), 0, 15).astype(np.uint8)
    sides = [np.full((len(w), -(-w.shape[1] // 32)), value, np.float16) for value in (scale, least)]
    return QuantizedTensor(pack(u, 4, 32), sides[0], None, w.shape[1], 4, 32, sides[1])
