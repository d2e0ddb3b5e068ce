"""Embeddings as a task: an encoder's vectors against its float model's; models that make none are refused."""

from __future__ import annotations

from pathlib import Path

import pytest
import tiny_encoders

from edgec.compress.pipeline import compress
from edgec.errors import EdgecError, RecipeError
from edgec.evaluate.tasks import evaluate_embeddings, evaluate_text
from edgec.frontend.load import load_checkpoint
from edgec.recipe import Recipe
from edgec.verify.embeddings import sentences

TEXT = "The old boat. The blue river is a river.\nToo short.\nA boat and the rivers? Yes, the old blue boats!\n"


@pytest.fixture
def text(tmp_path: Path) -> str:
    path = tmp_path / "text.txt"
    path.write_text(TEXT)
    return str(path)


def test_sentences() -> None:
    assert sentences(TEXT) == [
        *("The old boat.", "The blue river is a river.", "A boat and the rivers?", "Yes, the old blue boats!")
    ]
    assert sentences(TEXT, 2) == ["The old boat.", "The blue river is a river."]


def test_a_folder(tmp_path: Path, text: str) -> None:
    """Quantised without a recipe, and what was measured is said."""
    tiny_encoders.saved(tmp_path)
    found, _ = evaluate_embeddings(str(tmp_path), text, None, 3, None)
    assert found.task == "embeddings"
    assert 0.9 < found.metrics["cosine_min"] <= found.metrics["cosine_mean"] < 1
    assert (found.protocol["sentences"], found.protocol["text"]) == (3, "text.txt")


def test_other_tasks_and_models_are_refused(tmp_path: Path, text: str) -> None:
    tiny_encoders.saved(tmp_path)
    with pytest.raises(EdgecError, match="is an encoder and continues no text"):
        evaluate_text(str(tmp_path), "perplexity", text, 8, None, None, "float", None, lambda *_: None)
    with pytest.raises(EdgecError, match="stories writes text and makes no vectors; measure it with --task perplexity"):
        evaluate_embeddings("stories", text, None, None, None)


def test_stages_are_refused_before_the_first_one_runs(tmp_path: Path) -> None:
    from edgec.compress.depth import Depth

    tiny_encoders.saved(tmp_path)
    with pytest.raises(RecipeError, match="the stage depth works on models that continue text"):
        compress(load_checkpoint(str(tmp_path)), Recipe(stages=(Depth(blocks=1),)), tmp_path / "stages")
    assert not (tmp_path / "stages").exists()
