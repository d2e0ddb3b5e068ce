"""Distillation: what a student learns, in which form, resumable, same bytes."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edgec.compress.depth import without_blocks
from edgec.compress.distill import Distill, layers_between
from edgec.compress.pipeline import compress
from edgec.compress.rtn import quantize_matrix
from edgec.compress.sizes import size_of
from edgec.compress.stage import Calibration, Work
from edgec.compress.vocab import Vocab
from edgec.errors import RecipeError
from edgec.frontend.checkpoint import LowRank
from edgec.frontend.structure import factor_names
from edgec.recipe import Recipe
from tests.compress.distill_cases import EVERYTHING, FAST, UP, Q, distance, pruned, states
from tests.compress.stories import Stories, loss
from tests.compress.trained import Runs, same, work_for
from tests.tiny_models import checkpoint, config

torch = pytest.importorskip("torch", reason="torch trains")

from edgec.compress.lesson import relative_distance  # noqa: E402
from edgec.compress.torch_model import load_torch  # noqa: E402


@pytest.mark.parametrize("rank", [0, 4])
def test_a_pruned_model_comes_nearer_and_keeps_its_zeros(text: Path, rank: int) -> None:
    original = checkpoint(config())
    source = pruned(original)
    work = work_for(original, text)
    tokens = work.tokens(original)
    made = Distill(**FAST | {"rank": rank, "rate": 1e-2, "steps": 20, "text_loss": 0.0}).run(source, work)
    assert distance(made, original, tokens) < 0.7 * distance(source, original, tokens)
    assert made.patterns == source.patterns
    for name in source.matrix_names():
        change = made.tensor(name) - source.tensor(name)
        if name not in source.patterns:
            assert (np.linalg.matrix_rank(change, tol=1e-4) <= 4) == (rank == 4)
        if name in source.patterns:
            assert not made.tensor(name)[:, ::2].any() and (made.tensor(name)[:, 1::2] != 0).all()
    assert work.notes["updates"] == 20 and work.notes["layers"] == [0, 1]
    assert json.loads(json.dumps(work.notes))["losses"][-1] < work.notes["losses"][0]


def test_hidden_states_follow_the_teacher(text: Path) -> None:
    """With a loss on hidden states the model's come nearer to the teacher's than without."""
    original = checkpoint(config())
    source = pruned(original)
    tokens = torch.from_numpy(work_for(original, text).tokens(original))
    far = []
    for hidden_loss in (10.0, 0.0):
        options = Distill(**FAST | {"hidden_loss": hidden_loss, "text_loss": 0.0, "steps": 20})
        made = options.run(source, work_for(original, text))
        with torch.no_grad():
            far.append(float(relative_distance(*(states(load_torch(m), tokens) for m in (made, original)))))
    assert far[0] < 0.8 * far[1], far


def test_blocks_are_compared_by_what_the_next_one_gets(text: Path) -> None:
    teacher = checkpoint(config(n_layers=6))
    shorter = without_blocks(teacher, [2, 3])
    shorter = replace(shorter, stages=({"method": "depth", "notes": {"layers": [0, 1, 4, 5]}},))
    assert layers_between(shorter, teacher) == [0, 3, 4, 5]
    last = replace(without_blocks(shorter, [3]), stages=({"method": "depth", "notes": {"layers": [0, 1, 4]}},))
    assert layers_between(last, teacher) == [0, 3, 5]
    assert layers_between(last, shorter) == [0, 1, 3]  # a teacher that was pruned before
    assert layers_between(teacher, teacher) == list(range(6))
    work = work_for(teacher, text)
    Distill(**FAST | {"steps": 2}).run(shorter, work)
    assert work.notes["layers"] == [0, 3, 4, 5]
    same_model = work_for(teacher, text)
    Distill(**FAST | {"steps": 2, "teacher": "input"}).run(shorter, same_model)
    assert same_model.notes["layers"] == [0, 1, 2, 3]
    unknown = replace(shorter, stages=())
    with pytest.raises(RecipeError, match="hidden_loss = 0"):
        layers_between(shorter, unknown)
    assert Distill(**FAST | {"steps": 2, "hidden_loss": 0.0}).run(shorter, work_for(teacher, text)).config.n_layers == 4


def test_a_model_of_fewer_tokens_learns_from_the_teachers_answers_about_these(text: Path, tmp_path: Path) -> None:
    """In a chain of stages the teacher's vocabulary is the student's, and nothing is lost at the beginning."""
    original = checkpoint(config())
    stages = (Vocab(size=40), Distill(**FAST | {"text_loss": 0.0, "steps": 2, "rate": 1e-9, "low_precision": False}))
    recipe = Recipe(stages=stages, calibration=Calibration(str(text), 8, 24))
    made = compress(original, recipe, tmp_path / "out").model
    assert made.config.vocab_size == 40 and made.tensor("lm_head.weight").shape == (40, 36)
    assert made.stages[-1]["notes"]["losses"] == pytest.approx([0, 0], abs=1e-6)


def test_factors_and_shared_matrices_train_as_they_are(text: Path) -> None:
    original = checkpoint(config())
    second = UP.replace("layers.0", "layers.1")
    rng = np.random.default_rng(0)
    product = LowRank(*(rng.standard_normal(s).astype(np.float32) * 0.3 for s in ((5, 36), (32, 5))))
    source = original.with_factors({Q: product}).with_shared({second: UP})
    for rank in (0, 3):
        made = Distill(**FAST | {"rank": rank}).run(source, work_for(original, text))
        assert made.factors == source.factors and made.shared == source.shared
        assert np.array_equal(made.tensor(second), made.tensor(UP))
        for name in (*factor_names(Q), UP):
            assert np.linalg.matrix_rank(made.tensor(name) - source.tensor(name), tol=1e-6) == min(
                made.tensor(name).shape
            )
        assert same(made, source) is False and size_of(made)["parameters"] == size_of(source)["parameters"]


@pytest.mark.parametrize(
    "options",
    [{"rank": 3}, {"pattern": "2:4", "roles": ("q", "up", "norm", "embed")}, {"neurons": 0.5}, {"roles": EVERYTHING}],
)
def test_same_seed_same_bytes_and_a_killed_run_goes_on(text: Path, tmp_path: Path, options: dict[str, Any]) -> None:
    original = checkpoint(config(tied_embeddings="pattern" in options))
    stage = Distill(**FAST | options)

    run = Runs(stage, original, text)
    whole, work = run()
    assert same(run()[0], whole) and not same(run(seed=1)[0], whole)
    with pytest.raises(KeyboardInterrupt):
        run(partial=tmp_path, kill=9)
    run.seen.clear()
    resumed, again = run(partial=tmp_path)
    assert run.seen == [8, 9, 10, 11]
    assert same(resumed, whole) and again.notes == work.notes and resumed.patterns == whole.patterns


def test_a_model_of_stories_comes_back_after_pruning(stories: Stories) -> None:
    """Half of the feed-forward weights by magnitude, then a few updates on stories that the original told."""
    original = stories.model
    from edgec.compress.width import Width

    calibration = Calibration(str(stories.file), 64, 48)
    cut = Width(pattern="2:4", metric="magnitude", roles=("gate", "up", "down"))
    source = cut.run(original, Work(lambda: original, calibration))
    stage = Distill(steps=16, batch=4, accumulate=1, rate=3e-3)
    made = stage.run(source, Work(lambda: original, calibration))
    dense, trained, untrained = (loss(model, stories.held_out) for model in (original, made, source))
    assert dense < trained < dense + 0.65 * (untrained - dense), (dense, trained, untrained)


def test_what_it_cannot_do_is_one_sentence(text: Path) -> None:
    bad: list[dict[str, Any]] = [
        {"roles": ("x",)},
        {"roles": ()},
        {"rank": -1},
        {"teacher": "me"},
        {"text_loss": 2.0},
        {"hidden_loss": -1.0},
        {"memory": 1.0},
        {"pattern": "4:2"},
        {"sparsity": 1.0},
        {"neurons": 1.0},
        {"pattern": "2:4", "sparsity": 0.5},
        {"prune_from": 0.6, "prune_until": 0.5},
        {"prune_every": 0},
        {"neurons": 0.5, "roles": ("q", "up")},
        {"steps": -1},
        {"warmup": 1.0},
        {"temperature": 0.0},
    ]
    for options in bad:
        with pytest.raises(RecipeError, match=r"^[^\n]*distill[^\n]*\.$"):
            Distill(**options)
    source = checkpoint(config())
    work = work_for(source, text)
    with pytest.raises(RecipeError, match="36 inputs are not a multiple of 16"):
        Distill(pattern="8:16").shape(source.config)
    with pytest.raises(RecipeError, match="removes 0 of 52 neurons"):
        Distill(neurons=0.001).shape(source.config)
    packed = source.with_packed({Q: quantize_matrix(source.tensor(Q), 4, 16)[0]})
    with pytest.raises(RecipeError, match="use recover"):
        Distill(**FAST).run(packed, work)
    assert Q in Distill(**FAST | {"roles": ("up",), "steps": 2}).run(packed, work).packed
    with pytest.raises(RecipeError, match="97 tokens with a teacher of 98"):
        Distill(**FAST).run(source, work_for(checkpoint(config(vocab_size=98)), text))
    with pytest.raises(RecipeError, match="hidden states of 36 with the teacher's 32"):
        Distill(**FAST).run(source, work_for(checkpoint(config(hidden_dim=32)), text))
    with pytest.raises(RecipeError, match="cut across the pattern"):
        Distill(**FAST | {"neurons": 0.5}).run(pruned(source), work)
    shared = source.with_shared({UP.replace("layers.0", "layers.1"): UP})
    with pytest.raises(RecipeError, match="factored or shared"):
        Distill(**FAST | {"neurons": 0.5}).run(shared, work)
    with pytest.raises(RecipeError, match="distill stage diverged at step"):
        Distill(**FAST | {"rate": 1e30, "clip": 1e30}).run(source, work)
