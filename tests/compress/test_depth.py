"""Depth pruning: three measures by definition, the shorter model as transformers computes it, what is recorded."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edgec.compress.depth import Depth, original_layers, without_blocks
from edgec.compress.folder import write_folder
from edgec.compress.rtn import quantize_matrix
from edgec.compress.stage import Calibration, Work
from edgec.errors import RecipeError
from edgec.frontend.checkpoint import Checkpoint, LowRank
from edgec.frontend.load import load_checkpoint
from tests.tiny_models import checkpoint, config

torch = pytest.importorskip("torch", reason="torch runs the calibration text")

from edgec.compress.torch_model import load_torch  # noqa: E402

FREE = {"protect_first": 0, "protect_last": 0, "samples": 6, "length": 24}


@pytest.fixture(scope="module")
def source() -> Checkpoint:
    return checkpoint(config(n_layers=5, family="qwen2"), biases=True)


def work_for(model: Checkpoint, calibration: Calibration, partial: Path | None = None) -> Work:
    return Work(lambda: model, calibration, partial=partial)


def loss(model: Checkpoint, tokens: np.ndarray) -> Any:
    ids = torch.from_numpy(tokens)
    logits = load_torch(model)(ids)[:, :-1].flatten(0, 1)
    return float(torch.nn.functional.cross_entropy(logits, ids[:, 1:].flatten()))


def ranked(options: Depth, model: Checkpoint, calibration: Calibration) -> list[list[list[float]]]:
    work = work_for(model, calibration)
    options.run(model, work)
    return list(work.notes["rankings"])


@pytest.mark.parametrize("layer", [0, 2, 4])
def test_the_shorter_model_is_transformers_without_the_layer(source: Checkpoint, layer: int, tmp_path: Path) -> None:
    from transformers import AutoModelForCausalLM

    made = without_blocks(source, [layer])
    write_folder(tmp_path / "full", source)
    write_folder(tmp_path / "made", made)
    tokens = torch.from_numpy(np.random.default_rng(layer).integers(0, 97, (2, 20)))
    full = AutoModelForCausalLM.from_pretrained(tmp_path / "full").eval()
    del full.model.layers[layer]
    full.config.num_hidden_layers = 4
    written = AutoModelForCausalLM.from_pretrained(tmp_path / "made").eval()
    assert written.config.num_hidden_layers == 4
    with torch.no_grad():
        wanted = full(tokens, use_cache=False).logits
        assert torch.allclose(load_torch(made)(tokens), wanted, atol=2e-5)
        assert torch.allclose(written(tokens).logits, wanted, atol=2e-5)  # with a cache: its layers are renumbered
        assert not torch.allclose(load_torch(source)(tokens), wanted, atol=1e-2)


def test_perplexity_is_the_loss_of_the_model_without_the_block(source: Checkpoint, calibration: Calibration) -> None:
    (ranking,) = ranked(Depth(blocks=2, **FREE), source, calibration)
    tokens = work_for(source, calibration).tokens(source, 6, 24)
    assert {layer: pytest.approx(score, rel=1e-5) for layer, score in ranking} == {
        layer: loss(without_blocks(source, [layer]), tokens) for layer in range(5)
    }
    assert [score for _, score in ranking] == sorted(score for _, score in ranking)


def test_batches_do_not_change_a_ranking(
    source: Checkpoint, calibration: Calibration, monkeypatch: pytest.MonkeyPatch
) -> None:
    for metric in ("perplexity", "taylor"):
        (one,) = ranked(Depth(blocks=1, metric=metric, **FREE), source, calibration)
        monkeypatch.setattr("edgec.compress.block_scores.BATCH", 4)
        (other,) = ranked(Depth(blocks=1, metric=metric, **FREE), source, calibration)
        monkeypatch.undo()
        assert [layer for layer, _ in one] == [layer for layer, _ in other]
        assert [score for _, score in one] == pytest.approx([score for _, score in other], rel=1e-4)


def test_taylor_is_autograds(source: Checkpoint, calibration: Calibration) -> None:
    (ranking,) = ranked(Depth(blocks=1, metric="taylor", **FREE), source, calibration)
    module = load_torch(source).requires_grad_(True)
    ids = torch.from_numpy(work_for(source, calibration).tokens(source, 6, 24))
    torch.nn.functional.cross_entropy(module(ids)[:, :-1].flatten(0, 1), ids[:, 1:].flatten()).backward()
    wanted = dict.fromkeys(range(5), 0.0)
    for name, matrix in module.matrices():
        wanted[int(name.split(".")[2])] += float((matrix.weight.detach() * matrix.weight.grad).abs().sum())
    assert dict(ranking) == {layer: pytest.approx(score, rel=1e-4) for layer, score in wanted.items()}


def test_magnitude_needs_no_text(source: Checkpoint) -> None:
    work = Work(lambda: source)
    made = Depth(blocks=2, metric="magnitude", **FREE).run(source, work)
    names = source.matrix_names()
    wanted = {i: sum(float(np.abs(source.tensor(n)).sum()) for n in names[7 * i : 7 * i + 7]) for i in range(5)}
    assert dict(work.notes["rankings"][0]) == {i: pytest.approx(score, rel=1e-5) for i, score in wanted.items()}
    assert work.notes["removed"] == sorted(wanted, key=lambda i: wanted[i])[:2]
    assert made.config.n_layers == 3


def test_iterative_ranks_again_and_chooses_better(calibration: Calibration) -> None:
    """Block 1 adds a vector, block 2 takes it away: both may go at no loss, but either alone hurts.

    Block 3 adds a smaller one. Alone, 2 hurts least and 1 most, so one ranking takes 2 and 3; a second ranking sees
    that without 2 nobody misses 1. The text is what the model itself says.
    """
    rng = np.random.default_rng(0)
    shift, other = (rng.standard_normal(36).astype(np.float32) for _ in range(2))
    model = checkpoint(config(n_layers=5), seed=3)
    biases = {0: 0 * shift, 1: 2 * shift, 2: -2 * shift, 3: 1.2 * other, 4: 0 * shift}
    empty = [n for n in model.matrix_names() if int(n.split(".")[2]) in (1, 2, 3)]
    model = model.with_tensors(
        {name: np.zeros_like(model.tensor(name)) for name in empty}
        | {f"model.layers.{layer}.mlp.down_proj.bias": bias.astype(np.float32) for layer, bias in biases.items()}
    )
    tokens = greedy(model, 6, 24)
    found = {}
    for schedule in ("oneshot", "iterative"):
        work = work_for(model, calibration)
        work.tokens = lambda m, samples=None, length=None: tokens  # type: ignore[method-assign]
        made = Depth(blocks=2, schedule=schedule, protect_first=1, protect_last=1).run(model, work)
        found[schedule] = (work.notes["removed"], len(work.notes["rankings"]), loss(made, tokens))
    assert found["oneshot"][:2] == ([2, 3], 1) and found["iterative"][:2] == ([2, 1], 2)
    assert found["iterative"][2] == pytest.approx(loss(model, tokens), rel=1e-4)
    assert found["oneshot"][2] > found["iterative"][2] + 1


def greedy(model: Checkpoint, samples: int, length: int) -> np.ndarray:
    """Texts that the model continues by itself from one token each."""
    module = load_torch(model)
    ids = torch.arange(samples)[:, None]
    with torch.no_grad():
        while ids.shape[1] < length:
            ids = torch.cat([ids, module(ids)[:, -1:].argmax(-1)], dim=1)
    return ids.numpy()


def test_protected_blocks_stay(source: Checkpoint, calibration: Calibration) -> None:
    work = work_for(source, calibration)
    Depth(blocks=2, protect_first=2, protect_last=1, samples=4, length=16).run(source, work)
    assert sorted(work.notes["removed"]) == [2, 3]
    assert [layer for layer, _ in sorted(work.notes["rankings"][0])] == [2, 3]


def test_everything_moves_with_its_block(source: Checkpoint) -> None:
    q, up = "model.layers.3.self_attn.q_proj.weight", "model.layers.4.mlp.up_proj.weight"
    first = "model.layers.0.mlp.up_proj.weight"
    branch = LowRank(np.ones((2, 36), np.float32), np.ones((32, 2), np.float32))
    model = source.with_packed({q: quantize_matrix(source.tensor(q), 4, 32)[0]})
    model = model.with_tensors({}, branches={q: branch}, patterns={up: (2, 4), first: (1, 2)})
    made = Depth(remove=(0, 2)).run(model, Work(lambda: source))
    assert made.config.n_layers == 3
    assert set(made.packed) == set(made.branches) == {"model.layers.1.self_attn.q_proj.weight"}
    assert made.patterns == {"model.layers.2.mlp.up_proj.weight": (2, 4)}
    names = {*made.config.tensor_shapes(), *(n for n in made.config.optional_shapes() if n in made)}
    assert set(made.readers) == names and len(names) == 3 * 12 + 3
    for new, old in enumerate((1, 3, 4)):
        for name in [n for n in names if n.startswith(f"model.layers.{new}.")]:
            assert np.array_equal(made.tensor(name), model.tensor(name.replace(f".{new}.", f".{old}.", 1))), name


def test_layers_are_told_as_numbers_of_the_original(source: Checkpoint, tmp_path: Path) -> None:
    model = source
    for number, remove in enumerate(((1,), (1, 2))):
        work = Work(lambda: source)
        model = Depth(remove=remove).run(model, work)
        model = model.with_tensors({}, stages=(*model.stages, {"method": "depth", "notes": work.notes}))
        write_folder(tmp_path / str(number), model)
        model = load_checkpoint(str(tmp_path / str(number)))
    assert [stage["notes"]["removed"] for stage in model.stages] == [[1], [2, 3]]
    assert original_layers(model) == [0, 4]


@pytest.mark.parametrize("metric", ["perplexity", "taylor"])
def test_same_data_same_choice_and_a_killed_run_goes_on(
    source: Checkpoint, calibration: Calibration, tmp_path: Path, metric: str
) -> None:
    options = Depth(blocks=2, metric=metric, schedule="iterative", **FREE)
    whole = ranked(options, source, calibration)
    assert ranked(options, source, calibration) == whole
    calls: list[str] = []

    def kill(message: str, done: int, total: int) -> None:
        calls.append(message)
        if len(calls) == 8:
            raise KeyboardInterrupt

    killed = work_for(source, calibration, tmp_path)
    killed.say = kill
    with pytest.raises(KeyboardInterrupt):
        options.run(source, killed)
    again = work_for(source, calibration, tmp_path)
    more: list[str] = []
    again.say = lambda message, done, total: more.append(message)
    options.run(source, again)
    assert again.notes["rankings"] == whole
    if metric == "perplexity":
        assert len(more) == 9 - 7, "seven of nine losses were known"


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({}, "either blocks"),
        ({"blocks": 2, "remove": (1,)}, "either blocks"),
        ({"blocks": -1}, "either blocks"),
        ({"blocks": 1, "metric": "random"}, "known: perplexity, taylor, magnitude"),
        ({"blocks": 1, "schedule": "often"}, "known: oneshot, iterative"),
        ({"blocks": 1, "protect_first": -1}, "at least 0"),
        ({"blocks": 1, "samples": 0}, "at least 1 sample"),
        ({"remove": (1, 1)}, "once"),
        ({"remove": (-1,)}, "once"),
    ],
)
def test_impossible_options_are_one_sentence(options: dict[str, Any], words: str) -> None:
    with pytest.raises(RecipeError, match=words) as caught:
        Depth(**options)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"blocks": 1}, "cannot remove 1 of 5 blocks: with the first 4 and the last 2 protected 0 may go"),
        ({"blocks": 5, "protect_first": 0, "protect_last": 0}, "cannot remove all 5"),
        ({"remove": (5,)}, "0 to 4"),
        ({"remove": (0, 1, 2, 3, 4)}, "does not leave"),
    ],
)
def test_impossible_removals_are_known_from_the_shape(options: dict[str, Any], words: str) -> None:
    with pytest.raises(RecipeError, match=words):
        Depth(**options).shape(config(n_layers=5))


def test_too_short_a_text_and_a_damaged_model(source: Checkpoint, calibration: Calibration) -> None:
    with pytest.raises(RecipeError, match=r"10 samples of 128 need 1,280"):
        Depth(blocks=1, protect_first=0).run(source, work_for(source, calibration))
    name = "model.layers.2.mlp.up_proj.weight"
    broken = source.with_tensors({name: source.tensor(name) * np.float32(1e38)})
    with pytest.raises(RecipeError, match="the model is damaged"):
        Depth(blocks=1, **FREE).run(broken, work_for(broken, calibration))
