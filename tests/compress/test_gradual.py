"""Pruning while distilling: pace, exact patterns at the end, zeros that stay, neurons that go."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edgec.compress.counts import dry_run
from edgec.compress.coupled import narrowed
from edgec.compress.distill import Distill
from edgec.compress.sizes import size_of
from edgec.frontend.checkpoint import Checkpoint, LowRank
from edgec.recipe import Recipe
from tests.compress.clock import Clock
from tests.compress.distill_cases import DOWN, FAST, UP, Q, distance
from tests.compress.trained import work_for
from tests.tiny_models import checkpoint, config

torch = pytest.importorskip("torch", reason="torch trains")

from edgec.compress.gradual import GradualNeurons, GradualWeights, Pace, keep  # noqa: E402
from edgec.compress.lesson import Lesson  # noqa: E402
from edgec.compress.torch_model import load_torch  # noqa: E402
from edgec.compress.trained_matrix import TrainedMatrix  # noqa: E402


def test_cubic_pace() -> None:
    pace = Pace(0.1, 0.6, 5, 0.9)
    assert [pace.share(x) for x in (0.0, 0.1, 0.6, 0.9)] == [0, 0, 1, 1]
    assert pace.share(0.35) == pytest.approx(1 - 0.5**3) and pace.share(0.2) == pytest.approx(1 - 0.8**3)


@pytest.mark.parametrize(("removed", "of"), [(2, 4), (1, 8), (12, 24)])
def test_a_share_of_a_pattern_takes_the_least_of_what_may_go(removed: int, of: int) -> None:
    importance = torch.rand(5, 24, generator=torch.Generator().manual_seed(0))
    before = torch.ones(5, 24, dtype=torch.bool)
    for share in (0.0, 0.3, 0.8, 1.0):
        kept = keep(importance, removed, of, share)
        assert (~kept).sum(1).tolist() == [int(share * removed * 24 // of)] * 5
        assert (kept <= before).all() and ((~kept).view(5, -1, of).sum(2) <= removed).all()
        before = kept
    assert ((~before).view(5, -1, of).sum(2) == removed).all()
    ranks = importance.view(5, -1, of).argsort(2).argsort(2)
    assert torch.equal((ranks < removed).view(5, 24), ~before)


@pytest.mark.parametrize("options", [{"pattern": "2:4"}, {"sparsity": 0.5}])
def test_pruning_while_distilling_ends_at_the_exact_pattern(
    text: Path, options: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    original = checkpoint(config())
    counts: list[int] = []
    remove = GradualWeights.remove

    def counted(self: GradualWeights, share: float) -> None:
        was = {name: weight.kept.clone() for name, weight in self.weights.items() if weight.kept is not None}
        remove(self, share)
        for name, weight in self.weights.items():
            assert weight.kept is not None and (weight.kept <= was[name]).all()
        counts.append(int(sum((~gone).sum() for gone in (w.kept for w in self.weights.values()))))

    monkeypatch.setattr(GradualWeights, "remove", counted)
    stage = Distill(**FAST | options | {"roles": ("q", "up", "down", "norm"), "steps": 20})
    made = stage.run(original, work_for(original, text))
    assert counts == sorted(counts) and counts[0] < counts[3] < counts[-1] and len(set(counts)) > 4
    names = [name for name in original.matrix_names() if name.split(".")[-2] in ("q_proj", "up_proj", "down_proj")]
    assert made.patterns == stage.patterns(original.structure) and set(made.patterns) == set(names)
    for name in names:
        removed, of = made.patterns[name]
        zeros = (made.tensor(name) == 0).reshape(len(made.tensor(name)), -1, of).sum(2)
        assert (zeros == removed).all(), name
    planned = dry_run(original.config, Recipe(stages=(stage,)))[-1]
    assert planned.nonzero == size_of(made)["nonzero"]


def test_zeros_from_before_count_and_stay(text: Path) -> None:
    """q has lost 3 of 4 already, up one of two: a pattern of 2:4 adds to the second and leaves the first alone."""
    original = checkpoint(config())
    q, up = original.tensor(Q).copy(), original.tensor(UP).copy()
    q[:, np.arange(36) % 4 != 1] = 0
    up[:, ::4] = 0
    source = original.with_tensors({Q: q, UP: up}, patterns={Q: (3, 4), UP: (1, 4)})
    made = Distill(**FAST | {"pattern": "2:4", "roles": ("q", "up")}).run(source, work_for(original, text))
    assert made.patterns[Q] == (3, 4) and made.patterns[UP] == (2, 4)
    assert not made.tensor(Q)[q == 0].any() and not made.tensor(UP)[:, ::4].any()
    assert ((made.tensor(UP) == 0).reshape(52, -1, 4).sum(2) == 2).all()


def test_what_matters_least_goes() -> None:
    """Importance is |w dL/dw| averaged over updates, not the last one's."""
    matrix = TrainedMatrix(np.array([[1.0, 2.0, 3.0, 4.0]], np.float32), None, 0, 0)
    pruning = GradualWeights({"w": matrix}, {"w": (2, 4)}, Pace(0.0, 0.5, 1, 0.5))
    for slope in ([4.0, 1.0, 0.1, 0.1], [4.0, 1.0, 0.1, 0.1], [0.0, 0.0, 0.2, 0.2]):
        leaf = matrix().detach().requires_grad_(True)
        leaf.grad = torch.tensor([slope])
        pruning.watch({"w": leaf})
    assert torch.allclose(pruning.importance["w"], torch.tensor([[2.0, 1.0, 0.45, 0.6]]))
    pruning.update(0, 0.2)
    assert matrix.kept is not None and matrix.kept.tolist() == [[True, True, False, True]]
    pruning.finish()
    assert matrix.kept.tolist() == [[True, True, False, False]] and matrix().tolist() == [[1.0, 2.0, 0.0, 0.0]]


def test_neurons_go_and_the_model_is_smaller(text: Path) -> None:
    original = checkpoint(config(), biases=False)
    bias = UP.replace("weight", "bias")
    original = original.with_tensors({bias: np.arange(52, dtype=np.float32) / 100})
    branch = LowRank(np.full((2, 52), 0.01, np.float32), np.full((36, 2), 0.01, np.float32))
    original = replace(original, branches={DOWN: branch})
    stage = Distill(**FAST | {"neurons": 0.25, "steps": 16, "rate": 1e-2, "text_loss": 0.0})
    made = stage.run(original, work_for(original, text))
    assert made.config == stage.shape(original.config) == replace(original.config, ffn_dim=39)
    assert (
        made.tensor(UP).shape == (39, 36) and made.tensor(DOWN).shape == (36, 39) and made.tensor(bias).shape == (39,)
    )
    assert made.branches[DOWN].a.shape == (2, 39) and not made.patterns
    for name in made.matrix_names():
        assert (made.tensor(name) != 0).all()
    tokens = work_for(original, text).tokens(original)
    fewer = without_neurons(original, range(39, 52))
    assert distance(made, original, tokens) < 0.5 * distance(fewer, original, tokens)
    size = size_of(made)
    planned = dry_run(original.config, Recipe(stages=(stage,)))[-1]
    assert planned.parameters == size["parameters"] - size["branch_parameters"] - 39  # it knows no branch and no bias


def without_neurons(model: Checkpoint, gone: range) -> Checkpoint:
    alive = np.asarray([i for i in range(model.config.ffn_dim) if i not in gone])
    return narrowed(model, dict.fromkeys(range(model.config.n_layers), alive), {})


def test_dead_neurons_say_nothing_before_they_are_cut_out(text: Path) -> None:
    """The model with masks, as it trains, and the smaller one compute the same."""
    original = checkpoint(config())
    weights = {n: TrainedMatrix(original.tensor(n), None, 0, 0) for n in original.matrix_names() if ".mlp." in n}
    pruning = GradualNeurons(weights, 2, 13, Pace(0.0, 0.5, 1, 0.5))
    pruning.finish()  # nothing was watched: what is smallest goes
    masked = original.with_tensors({name: weight().detach().numpy() for name, weight in weights.items()})
    smaller = narrowed(masked, {int(layer): np.flatnonzero(a.numpy()) for layer, a in pruning.alive.items()}, {})
    tokens = torch.from_numpy(work_for(original, text).tokens(original))
    with torch.no_grad():
        assert torch.allclose(load_torch(masked)(tokens), load_torch(smaller)(tokens), rtol=1e-4, atol=1e-5)
    smallest = np.argsort(np.abs(original.tensor(DOWN)).sum(0))[:13]
    assert sorted(np.flatnonzero(~pruning.alive["0"].numpy())) == sorted(smallest)


def test_a_deadline_ends_with_the_whole_pattern(text: Path, clock: Clock, monkeypatch: pytest.MonkeyPatch) -> None:
    """The pace follows the time; what a sudden end leaves over goes after it."""
    original = checkpoint(config())
    gradients, seconds = Lesson.gradients, [1.0] * 4 + [100.0]
    shares: list[float] = []

    def slow(self: Lesson, *rest: Any) -> float:
        clock.now += seconds[len(shares)]
        shares.append(clock.now)
        return gradients(self, *rest)

    monkeypatch.setattr(Lesson, "gradients", slow)
    work = work_for(original, text)
    work.deadline = clock.now + 20
    stage = Distill(**FAST | {"steps": 100_000, "pattern": "1:2", "roles": ("q",)})
    made = stage.run(original, work)
    assert work.notes["updates"] == 5
    assert ((made.tensor(Q) == 0).reshape(32, -1, 2).sum(2) == 1).all() and made.patterns[Q] == (1, 2)
