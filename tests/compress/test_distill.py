"""Distillation: its loss as autograd's, masks that hold, gradual pruning to exact patterns, resumable, same bytes."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edgec.compress.counts import dry_run
from edgec.compress.coupled import narrowed
from edgec.compress.depth import without_blocks
from edgec.compress.distill import Distill, layers_between
from edgec.compress.pipeline import compress
from edgec.compress.rtn import quantize_matrix
from edgec.compress.sizes import size_of
from edgec.compress.stage import Calibration, Work
from edgec.compress.vocab import Vocab
from edgec.errors import RecipeError
from edgec.frontend.checkpoint import Checkpoint, LowRank
from edgec.frontend.structure import factor_names
from edgec.recipe import Recipe
from tests.compress.clock import Clock
from tests.compress.stories import Stories, loss
from tests.tiny_models import checkpoint, config

torch = pytest.importorskip("torch", reason="torch trains")

from edgec.compress.gradual import GradualNeurons, GradualWeights, Pace, keep  # noqa: E402
from edgec.compress.lesson import Lesson, relative_distance  # noqa: E402
from edgec.compress.torch_model import TorchModel, load_torch  # noqa: E402
from edgec.compress.trained_matrix import TrainedMatrix  # noqa: E402
from edgec.compress.training import draw  # noqa: E402

FAST: dict[str, Any] = {"samples": 8, "steps": 12, "rate": 3e-3, "save_every": 4, "prune_every": 2}
Q, UP, DOWN = (f"model.layers.0.{name}_proj.weight" for name in ("self_attn.q", "mlp.up", "mlp.down"))
EVERYTHING = ("q", "k", "v", "o", "gate", "up", "down", "norm", "embed", "head")


def work_for(source: Checkpoint, text: Path, partial: Path | None = None, seed: int = 0) -> Work:
    return Work(lambda: source, Calibration(str(text), 8, 24), seed=seed, partial=partial)


def stored(model: Checkpoint) -> dict[str, np.ndarray[Any, Any]]:
    return {name: model.tensor(name) for name in model.stored_tensors()}


def same(a: Checkpoint, b: Checkpoint) -> bool:
    x, y = stored(a), stored(b)
    return x.keys() == y.keys() and all(np.array_equal(x[name], y[name]) for name in x)


def pruned(source: Checkpoint) -> Checkpoint:
    """q and down of every block without every other weight."""
    tensors, patterns = {}, {}
    for name in source.matrix_names():
        if "q_proj" in name or "down_proj" in name:
            tensors[name] = source.tensor(name).copy()
            tensors[name][:, ::2] = 0
            patterns[name] = (1, 2)
    return source.with_tensors(tensors, patterns=patterns)


def distance(model: Checkpoint, original: Checkpoint, tokens: np.ndarray[Any, Any]) -> float:
    """Mean KL of next-token distributions from the original's."""
    with torch.no_grad():
        p, q = (load_torch(m)(torch.from_numpy(tokens)).log_softmax(-1) for m in (model, original))
    return float((q.exp() * (q - p)).sum(-1).mean())


def states(model: TorchModel, tokens: Any) -> list[Any]:
    found = [model.embed(tokens)]
    for layer in range(model.config.n_layers):
        found.append(model.block(layer, found[-1]))
    return found[1:]


@pytest.mark.parametrize("tied", [False, True])
@pytest.mark.parametrize(
    ("text_loss", "hidden_loss", "temperature"), [(0.3, 0.7, 2.0), (0.0, 2.0, 1.0), (1.0, 0.0, 1.0)]
)
def test_gradients_are_autograds(
    text: Path, tied: bool, text_loss: float, hidden_loss: float, temperature: float
) -> None:
    """Of every tensor of the model, over two passes; matrices by the lesson, everything else by the module."""
    source = checkpoint(config(tied_embeddings=tied), biases=True, qk_norms=True)
    teacher = checkpoint(config(tied_embeddings=tied, n_layers=3), seed=1)
    options = Distill(**FAST | {"low_precision": False, "temperature": temperature, "roles": EVERYTHING})
    names = options.trained(source)
    assert set(names) == set(source.stored_tensors())
    work = work_for(teacher, text)
    data = torch.from_numpy(work.tokens(source))
    matrices = {name: TrainedMatrix(source.tensor(name), None, 0, 0) for name in source.matrix_names()}
    native = [name for name in names if name not in matrices]
    given: dict[str, Any] = {"distill": 1 - text_loss, "teacher": teacher, "hidden_loss": hidden_loss}
    lesson = Lesson(source, matrices, data, options, work, layers=[1, 2], native=native, **given)
    found = lesson.gradients(3)

    plain, taught = load_torch(source).requires_grad_(True), load_torch(teacher)
    total = torch.zeros(())
    for number in (6, 7):
        tokens = data[draw((0, 0), number, 1, len(data))]
        mine, wanted = states(plain, tokens), states(taught, tokens)
        logits, target = (m.head(s[-1])[:, :-1].flatten(0, 1) for m, s in ((plain, mine), (taught, wanted)))
        text_part = torch.nn.functional.cross_entropy(logits, tokens[:, 1:].flatten())
        p, q = ((x / temperature).log_softmax(-1) for x in (logits, target))
        far = sum(((s - w) ** 2).sum(-1).div((w**2).sum(-1)).mean() for s, w in zip(mine, wanted[1:], strict=True)) / 2
        kl = torch.nn.functional.kl_div(p, q, log_target=True, reduction="batchmean")
        total = total + (text_loss * text_part + (1 - text_loss) * temperature**2 * kl + hidden_loss * far) / 2
    total.backward()
    assert found == pytest.approx(float(total.detach()), rel=1e-5)
    for name in names:
        mine = matrices[name].start.grad if name in matrices else lesson.parameters[name].grad
        assert torch.allclose(mine, plain.get_parameter(name).grad, rtol=2e-3, atol=2e-6), name


def test_distances_of_hidden_states_are_relative() -> None:
    wanted = torch.tensor([[[3.0, 4.0], [300.0, 400.0]]])
    state = wanted + torch.tensor([[[5.0, 0.0], [0.0, 500.0]]])
    assert relative_distance([state], [wanted]) == pytest.approx(1.0)
    assert relative_distance([state, wanted], [wanted, wanted]) == pytest.approx(0.5)


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


def test_a_shared_matrix_gets_the_gradients_of_all_its_places(text: Path) -> None:
    original = checkpoint(config())
    second = UP.replace("layers.0", "layers.1")
    options = Distill(**FAST | {"low_precision": False, "accumulate": 1})
    apart = original.with_tensors({second: original.tensor(UP)})
    data = torch.from_numpy(work_for(original, text).tokens(original))
    found = {}
    for model in (apart, apart.with_shared({second: UP})):
        names = [name for name in (UP, second) if name in model.stored_matrices()]
        matrices = {name: TrainedMatrix(model.tensor(name), None, 0, 0) for name in names}
        lesson = Lesson(model, matrices, data, options, work_for(original, text), distill=0.5)
        lesson.gradients(0)
        found[len(names)] = sum(matrix.start.grad for matrix in matrices.values())
    assert torch.allclose(found[1], found[2], rtol=1e-4, atol=1e-7)


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


@pytest.mark.parametrize(
    "options",
    [{"rank": 3}, {"pattern": "2:4", "roles": ("q", "up", "norm", "embed")}, {"neurons": 0.5}, {"roles": EVERYTHING}],
)
def test_same_seed_same_bytes_and_a_killed_run_goes_on(text: Path, tmp_path: Path, options: dict[str, Any]) -> None:
    original = checkpoint(config(tied_embeddings="pattern" in options))
    stage = Distill(**FAST | options)

    def run(seed: int = 0, partial: Path | None = None, kill: int = -1) -> tuple[Checkpoint, Work]:
        work = work_for(original, text, partial, seed)

        def say(message: str, done: int, total: int) -> None:
            assert total == 12
            seen.append(done)
            if done == kill:
                raise KeyboardInterrupt

        work.say = say
        return stage.run(original, work), work

    seen: list[int] = []
    whole, work = run()
    assert same(run()[0], whole) and not same(run(seed=1)[0], whole)
    with pytest.raises(KeyboardInterrupt):
        run(partial=tmp_path, kill=9)
    seen.clear()
    resumed, again = run(partial=tmp_path)
    assert seen == [8, 9, 10, 11]
    assert same(resumed, whole) and again.notes == work.notes and resumed.patterns == whole.patterns


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
