"""The example recipes load, and say what their comments say."""

import importlib.util
import json
from pathlib import Path

import pytest

from edgec.compress.counts import parameters
from edgec.frontend.huggingface_config import config_of
from edgec.frontend.load import load_checkpoint
from edgec.frontend.seq2seq_config import Seq2SeqConfig
from edgec.recipe import Quantize, load_recipe

RECIPES = sorted((Path(__file__).resolve().parents[1] / "examples" / "recipes").glob("*.toml"))


@pytest.mark.parametrize("path", RECIPES, ids=lambda p: p.stem)
def test_recipe_loads(path):
    recipe = load_recipe(path)
    assert recipe.quantize.method == "rtn"


def test_int4_is_the_default():
    int4 = next(p for p in RECIPES if p.stem == "int4")
    assert load_recipe(int4).quantize == Quantize(bits=4)


def test_summaries_are_learned_and_load(tmp_path):
    """A few steps of the trainer: the loss falls, and what it writes is a checkpoint with held-out sources."""
    pytest.importorskip("torch", reason="trains")
    story = "One day, a {0} cat sat on a {1} mat. It was happy. The {1} mat was warm. Then it ran home.\n\n"
    words = ("red", "blue", "old", "big", "small", "sad")
    (tmp_path / "stories.txt").write_text("".join(story.format(a, b) for a in words for b in words))
    path = Path(__file__).resolve().parents[1] / "examples" / "train_summaries.py"
    spec = importlib.util.spec_from_file_location("train_summaries", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    losses = [module.train(tmp_path / "stories.txt", tmp_path / "out", 5.0, steps, 0) for steps in (1, 80)]
    assert losses[1] < 0.8 * losses[0]
    checkpoint = load_checkpoint(str(tmp_path / "out"))
    assert checkpoint.config.decoder_start == (2, 0)
    rows = [json.loads(line) for line in (tmp_path / "out" / "held-out.jsonl").read_text().splitlines()]
    assert len(rows) == 3 and all(row["source"].startswith(row["summary"]) for row in rows)


def test_bart_base_is_planned_from_its_config():
    config = config_of(Path(__file__).resolve().parents[1] / "examples" / "bart-base" / "config.json")
    assert isinstance(config, Seq2SeqConfig) and config.decoder_start == (2, 0)
    assert parameters(config) == 139_417_344


def test_head_override():
    recipe = load_recipe(next(p for p in RECIPES if p.stem == "int4-head8")).quantize
    assert recipe.for_roles(["head", "embed"]) == (8, 64)
    assert recipe.for_roles(["q"]) == (4, 32)
