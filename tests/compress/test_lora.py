"""LoRA: gradients as autograd's, zeros kept, what is merged is what was trained, same seed same bytes, resumable."""

from __future__ import annotations

import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edgec.compress.lora import Lora
from edgec.compress.rtn import quantize_matrix
from edgec.errors import RecipeError
from edgec.frontend.checkpoint import Checkpoint, LowRank
from tests.compress.stories import loss
from tests.compress.trained import Runs, work_for
from tests.tiny_models import checkpoint, config

torch = pytest.importorskip("torch", reason="torch trains the updates")
pytest.importorskip("peft", reason="PEFT has the layers")

from edgec.compress import lora_training  # noqa: E402
from edgec.compress.head_loss import Head, next_token_loss  # noqa: E402
from edgec.compress.lora_training import adapted  # noqa: E402
from edgec.compress.torch_model import load_torch  # noqa: E402
from edgec.compress.training import draw  # noqa: E402

FAST = {"samples": 8, "accumulate": 2, "steps": 12, "rate": 0.01, "save_every": 4}


def tensors(model: Checkpoint) -> dict[str, np.ndarray]:
    return {name: model.tensor(name) for name in model.matrix_names()}


@pytest.mark.parametrize(("distill", "temperature"), [(0.0, 1.0), (1.0, 1.0), (0.3, 2.0)])
def test_loss_and_gradient_are_autograds(distill: float, temperature: float, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("edgec.compress.head_loss.ROWS", 10)
    model, other = load_torch(checkpoint(config())), load_torch(checkpoint(config(), seed=1))
    rng = np.random.default_rng(0)
    tokens = torch.from_numpy(rng.integers(0, 97, (3, 12)))
    states, wanted = (torch.from_numpy(rng.standard_normal((3, 12, 36)).astype(np.float32)) for _ in range(2))
    heads = [Head.of(m, torch.float32) for m in (model, other)]
    taught = (heads[1], other.model.norm(wanted))
    found, gradient = next_token_loss(heads[0], states, tokens, taught, distill, temperature)

    leaf = states.clone().requires_grad_(True)
    logits = model.head(leaf)[:, :-1].flatten(0, 1)
    plain = torch.nn.functional.cross_entropy(logits, tokens[:, 1:].flatten())
    target = (other.head(wanted)[:, :-1].flatten(0, 1) / temperature).log_softmax(-1)
    softened = (logits / temperature).log_softmax(-1)
    distance = torch.nn.functional.kl_div(softened, target, log_target=True, reduction="batchmean")
    total = (1 - distill) * plain + distill * temperature**2 * distance
    total.backward()
    assert found == pytest.approx(float(total.detach()), rel=1e-5)
    assert torch.allclose(gradient, leaf.grad, rtol=1e-4, atol=1e-7)


def test_it_learns_and_touches_its_roles_alone(text: Path) -> None:
    source = checkpoint(config())
    work = work_for(source, text)
    made = Lora(**FAST).run(source, work)
    tokens = work.tokens(source)
    assert loss(made, tokens) < loss(source, tokens) - 0.3
    changed = {name for name, w in tensors(made).items() if not np.array_equal(w, source.tensor(name))}
    assert changed == {name for name in source.matrix_names() if "self_attn" in name}
    assert not made.branches and made.config == source.config
    assert np.linalg.matrix_rank(made.tensor(min(changed)) - source.tensor(min(changed)), tol=1e-4) <= 8
    assert work.notes["updates"] == 12 and work.notes["tokens"] == 12 * 2 * 24
    assert work.notes["losses"][-1] < work.notes["losses"][0]


def pruned(source: Checkpoint) -> Checkpoint:
    """q and down of every block without every other weight."""
    tensors, patterns = {}, {}
    for name in source.matrix_names():
        if "q_proj" in name or "down_proj" in name:
            tensors[name] = source.tensor(name).copy()
            tensors[name][:, ::2] = 0
            patterns[name] = (1, 2)
    return source.with_tensors(tensors, patterns=patterns)


def test_zeros_stay_zero_and_training_sees_what_is_merged(text: Path) -> None:
    """The last loss that training saw, without dropout, is the merged model's."""
    source = pruned(checkpoint(config()))
    options = Lora(**FAST | {"roles": ("all",), "dropout": 0.0, "low_precision": False})
    work = work_for(source, text)
    made = options.run(source, work)
    assert made.patterns == source.patterns
    for name in source.patterns:
        assert not made.tensor(name)[:, ::2].any()
        assert (made.tensor(name)[:, 1::2] != source.tensor(name)[:, 1::2]).mean() > 0.9

    # A run of one update more begins with the loss of the model that this one merged.
    student: dict[str, Any] = {}

    class Watched(lora_training.LoraTraining):
        def run(self) -> None:
            super().run()
            self.student.eval()
            with torch.no_grad():
                student["logits"] = self.student(self.data[:2]).numpy()
            student["data"] = self.data[:2]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(lora_training, "LoraTraining", Watched)
        options.run(source, work_for(source, text))
    with torch.no_grad():
        merged = load_torch(made)(student["data"]).numpy()
    assert np.allclose(student["logits"], merged, rtol=1e-3, atol=1e-4)


def test_left_unmerged_it_is_a_branch_with_its_scale(text: Path) -> None:
    source = checkpoint(config())
    merged = Lora(**FAST | {"dropout": 0.0}).run(source, work_for(source, text))
    name = source.matrix_names()[0]
    made = Lora(**FAST | {"dropout": 0.0, "merge": False, "roles": ("q", "k", "v", "o")}).run(
        source, work_for(source, text)
    )
    assert all(np.array_equal(w, source.tensor(n)) for n, w in tensors(made).items())
    assert {b.rank for b in made.branches.values()} == {8} and len(made.branches) == 8
    assert np.allclose(made.effective(name), merged.tensor(name), atol=1e-6)

    old = LowRank(np.full((2, 36), 0.01, np.float32), np.full((32, 2), 0.01, np.float32))
    wider = Lora(**FAST | {"merge": False}).run(replace(source, branches={name: old}), work_for(source, text))
    assert wider.branches[name].rank == 10 and np.array_equal(wider.branches[name].a[:2], old.a)

    packed = source.with_packed({name: quantize_matrix(source.tensor(name), 4, 16)[0]})
    assert name in Lora(**FAST | {"merge": False}).run(packed, work_for(source, text)).packed
    with pytest.raises(RecipeError, match="merge = false"):
        Lora(**FAST).run(packed, work_for(source, text))


def test_pruned_layers_are_masked_in_training_only_if_merged(text: Path) -> None:
    source = pruned(checkpoint(config()))
    name = next(iter(source.patterns))
    branch = Lora(**FAST | {"merge": False}).run(source, work_for(source, text)).branches[name]
    assert branch.product()[:, ::2].any()
    module = adapted(source, [name], {name: source.tensor(name) != 0}, Lora())
    assert module.linear(name).kept is not None


@pytest.mark.parametrize("distill", [0.0, 0.5])
def test_same_seed_same_bytes_and_a_killed_run_goes_on(text: Path, tmp_path: Path, distill: float) -> None:
    source, teacher = pruned(checkpoint(config())), checkpoint(config(), seed=1)
    options = Lora(**FAST | {"distill": distill, "batch": 2})

    runs = Runs(options, source, text, teacher)

    def run(**given: Any) -> dict[str, np.ndarray]:
        return tensors(runs(**given)[0])

    whole = run()
    again = run()
    assert all(np.array_equal(whole[n], again[n]) for n in whole)
    other = run(seed=1)
    assert not np.array_equal(whole[source.matrix_names()[0]], other[source.matrix_names()[0]])
    with pytest.raises(KeyboardInterrupt):
        run(partial=tmp_path, kill=9)
    runs.seen.clear()
    resumed = run(partial=tmp_path)
    assert runs.seen == [8, 9, 10, 11]
    assert all(np.array_equal(whole[n], resumed[n]) for n in whole)


def test_small_passes_add_up_to_the_gradient_of_a_large_one(text: Path) -> None:
    source = checkpoint(config())
    found = []
    for batch, accumulate in ((4, 1), (2, 2)):
        options = Lora(dropout=0.0, batch=batch, accumulate=accumulate, low_precision=False)
        torch.manual_seed(0)
        student = adapted(source, ["model.layers.0.self_attn.q_proj.weight"], {}, options)
        layers = {"q": student.linear("model.layers.0.self_attn.q_proj.weight")}
        work = work_for(source, text)
        data = torch.from_numpy(work.tokens(source))
        run = lora_training.LoraTraining(student, layers, data, None, options, work, False)
        loss = sum(run._gradients(draw((0, 0), i, batch, len(data))) for i in range(accumulate))
        found.append((loss, run.parameters["q.B"].grad))
    assert found[0][0] == pytest.approx(found[1][0], rel=1e-5)
    assert found[0][1].abs().max() > 0
    assert torch.allclose(found[0][1], found[1][1], rtol=1e-3, atol=1e-6)


def test_distillation_pulls_towards_the_original(text: Path) -> None:
    original = checkpoint(config())
    source = pruned(original)
    tokens = work_for(original, text).tokens(original)

    def distance(model: Checkpoint) -> float:
        with torch.no_grad():
            p, q = (load_torch(m)(torch.from_numpy(tokens)).log_softmax(-1) for m in (model, original))
        return float((q.exp() * (q - p)).sum(-1).mean())

    made = Lora(**FAST | {"distill": 1.0, "roles": ("all",), "steps": 20}).run(source, work_for(original, text))
    assert distance(made) < 0.7 * distance(source)


def test_a_time_limit_shortens_the_schedule(text: Path) -> None:
    source = checkpoint(config())
    work = work_for(source, text)
    work.deadline = time.monotonic() + 3
    began = time.monotonic()
    Lora(**FAST | {"steps": 100_000}).run(source, work)
    assert time.monotonic() - began < 10
    assert 1 < work.notes["updates"] < 100_000
    ample = work_for(source, text)
    ample.deadline = time.monotonic() + 10_000
    timed, free = (Lora(**FAST).run(source, w) for w in (ample, work_for(source, text)))
    assert all(np.array_equal(w, free.tensor(n)) for n, w in tensors(timed).items())


def test_what_it_cannot_do_is_one_sentence(text: Path) -> None:
    bad: list[dict[str, Any]] = [{"rank": 0}, {"roles": ("x",)}, {"roles": ()}, {"dropout": 1.0}, {"distill": 2.0}]
    for options in [*bad, {"rate": 0.0}, {"epochs": 0.0}, {"steps": -1}, {"warmup": -0.1}, {"batch": 0}]:
        with pytest.raises(RecipeError):
            Lora(**options)
    source = checkpoint(config())
    with pytest.raises(RecipeError, match="diverged"):
        Lora(**FAST | {"rate": 1e30, "roles": ("all",), "clip": 1e30}).run(source, work_for(source, text))
