"""ABACO's training: products learn, end without the original, go on after a kill, keep a deadline."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edgec.compress.abaco import Abaco
from edgec.compress.stage import Calibration, Work
from tests.compress.abaco_cases import FAST, Q, truncated
from tests.compress.clock import Clock
from tests.compress.stories import Stories, loss
from tests.compress.trained import Runs, same, work_for
from tests.tiny_models import checkpoint, config

torch = pytest.importorskip("torch", reason="torch trains the products")

from edgec.compress.abaco_training import FadingMatrix  # noqa: E402
from edgec.compress.lesson import Lesson  # noqa: E402


@pytest.mark.parametrize(("fade", "init"), [("linear", "svd"), ("exponential", "random")])
def test_products_learn_the_text(text: Path, fade: str, init: str) -> None:
    source = checkpoint(config())
    options = Abaco(**FAST | {"steps": 30, "fade": fade, "init": init, "roles": ("all",), "distill": 0.0})
    work = work_for(source, text)
    made = options.run(source, work)
    tokens = work.tokens(source)
    ranks = options.ranks(source.structure)
    assert loss(made, tokens) < loss(source, tokens) - 0.5 < loss(truncated(source, ranks), tokens)
    assert set(made.factors) == set(source.matrix_names()) and set(made.factors.values()) == {6}
    assert json.loads(json.dumps(work.notes))["ranks"] == ranks
    for name in source.stored_tensors():
        if name not in ranks:
            assert np.array_equal(made.tensor(name), source.tensor(name))


def test_a_model_of_stories_keeps_more_than_an_svd_does(stories: Stories) -> None:
    """On text that the model itself tells; the loss is measured on stories that were not trained on."""
    source = stories.model
    options = Abaco(rank=8, steps=20, batch=4, accumulate=1)
    made = options.run(source, Work(lambda: source, Calibration(str(stories.file), 64, 48)))
    cut = truncated(source, options.ranks(source.structure))
    dense, trained, untrained = (loss(model, stories.held_out) for model in (source, made, cut))
    assert dense < trained < dense + 0.75 * (untrained - dense), (dense, trained, untrained)


@pytest.mark.parametrize("kill", [6, 11])
def test_same_seed_same_bytes_and_a_killed_run_goes_on(text: Path, tmp_path: Path, kill: int) -> None:
    """Also one that is killed when W_0 has gone."""
    source = checkpoint(config())
    options = Abaco(**FAST | {"init": "random", "settle": 0.4})

    run = Runs(options, source, text)
    whole, work = run()
    assert same(run()[0], whole) and not same(run(seed=1)[0], whole)
    with pytest.raises(KeyboardInterrupt):
        run(partial=tmp_path, kill=kill)
    run.seen.clear()
    resumed, again = run(partial=tmp_path)
    assert run.seen == list(range(kill // 4 * 4, 12))
    assert same(resumed, whole) and again.notes == work.notes


def test_a_deadline_brings_alpha_to_zero(text: Path, clock: Clock, monkeypatch: pytest.MonkeyPatch) -> None:
    source = checkpoint(config())
    alphas = []
    gradients = Lesson.gradients

    def slow(self: Lesson, *rest: Any) -> float:
        matrix = self.weights[Q]
        assert isinstance(matrix, FadingMatrix)
        alphas.append(matrix.alpha)
        assert (matrix.original is None) == (matrix.alpha == 0)
        clock.now += 1
        return gradients(self, *rest)

    monkeypatch.setattr(Lesson, "gradients", slow)
    work = work_for(source, text)
    work.deadline = clock.now + 10
    Abaco(**FAST | {"steps": 100_000, "settle": 0.3, "fade": "linear"}).run(source, work)
    assert work.notes["updates"] == 10 and work.notes["settled"] == 3
    assert alphas == pytest.approx([*(1 - step / 7 for step in range(7)), 0, 0, 0], abs=1e-9) and alphas[-3:] == [0] * 3
