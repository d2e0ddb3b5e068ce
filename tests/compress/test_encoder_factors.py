"""Data-aware factors of encoders and BART: statistics against transformers' own model, its loss, and its labels."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tiny_encoders
import tiny_seq2seq

from edgec.compress.encoder_texts import Text, calibration_texts
from edgec.compress.low_rank import asvd, drone, fisher, whitened
from edgec.compress.stage import Calibration
from edgec.compress.svd import Svd
from edgec.errors import EdgecError, RecipeError
from edgec.frontend.checkpoint import Checkpoint
from edgec.frontend.load import load_checkpoint
from tests.traced_models import product, work_for

torch = pytest.importorskip("torch", reason="transformers runs the calibration text")

RANK = 6
WORDS = ("the old boat was blue .", "a river ran . the boat ran .", "blue was a river . the old river ran .")
# A matrix of every kind of inputs: the name in edgec, and that in the family's files.
NAMES = {
    "bert": {
        "model.layers.0.self_attn.q_proj.weight": "encoder.layer.0.attention.self.query",
        "model.layers.1.self_attn.o_proj.weight": "encoder.layer.1.attention.output.dense",
        "model.layers.2.mlp.up_proj.weight": "encoder.layer.2.intermediate.dense",
        "model.layers.1.mlp.down_proj.weight": "encoder.layer.1.output.dense",
    },
    "bart": {
        "model.encoder.layers.1.self_attn.v_proj.weight": "model.encoder.layers.1.self_attn.v_proj",
        "model.encoder.layers.0.mlp.down_proj.weight": "model.encoder.layers.0.fc2",
        "model.layers.1.self_attn.q_proj.weight": "model.decoder.layers.1.self_attn.q_proj",
        "model.layers.0.cross_attn.k_proj.weight": "model.decoder.layers.0.encoder_attn.k_proj",
        "model.layers.1.cross_attn.q_proj.weight": "model.decoder.layers.1.encoder_attn.q_proj",
        "model.layers.0.self_attn.o_proj.weight": "model.decoder.layers.0.self_attn.out_proj",
        "model.layers.1.mlp.up_proj.weight": "model.decoder.layers.1.fc1",
    },
}


@pytest.fixture
def text(tmp_path: Path) -> Path:
    file = tmp_path / "text.txt"
    file.write_text(" ".join(WORDS * 6))
    return file


@pytest.fixture
def pairs(tmp_path: Path) -> Path:
    file = tmp_path / "pairs.jsonl"
    rows = [{"article": source, "highlights": WORDS[(i + 1) % 3]} for i, source in enumerate(WORDS)]
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return file


def _watched(theirs: Any, names: dict[str, str], run: Any) -> dict[str, tuple[np.ndarray, np.ndarray | None]]:
    """Inputs [tokens, k] of every matrix, and with a loss the mean squared gradients [tokens] of its outputs."""
    found: dict[str, list[Any]] = {}
    hooks = []
    for ours, name in names.items():

        def hook(layer: Any, inputs: Any, output: Any, ours: str = ours) -> None:
            if output.requires_grad:
                output.retain_grad()
            found[ours] = [inputs[0].detach().flatten(0, -2).double().numpy(), output]

        hooks.append(theirs.get_submodule(name).register_forward_hook(hook))
    run()
    for hook in hooks:
        hook.remove()
    return {
        n: (x, None if y.grad is None else y.grad.flatten(0, -2).pow(2).mean(-1).double().numpy())
        for n, (x, y) in found.items()
    }


def _all_watched(theirs: Any, family: str, texts: list[Text]) -> list[dict[str, Any]]:
    """Of every text; BART's loss is transformers' own, from labels."""

    def run(text: Text) -> Any:
        ids = torch.tensor([text.read])
        if family == "bert":
            return lambda: theirs(ids)
        labels = torch.tensor([text.written[1:]])
        return lambda: (theirs(input_ids=ids, labels=labels).loss * labels.numel()).backward()

    return [_watched(theirs, NAMES[family], run(text)) for text in texts]


def _check(made: Checkpoint, name: str, expected: Any, x: np.ndarray) -> None:
    """The same outputs for the inputs [tokens, k]; what they never are, drone's factors may do with as they like."""
    best = expected.of_rank(RANK)
    outputs = x @ (best.b.astype(np.float64) @ best.a).T
    np.testing.assert_allclose(x @ product(made, name).T, outputs, rtol=0, atol=2e-4 * np.abs(outputs).max())


@pytest.mark.parametrize("family", NAMES)
@pytest.mark.parametrize("basis", ["asvd", "whitened", "drone"])
def test_statistics_are_those_of_transformers(family: str, basis: str, tmp_path: Path, text: Path) -> None:
    theirs = {"bert": tiny_encoders.saved, "bart": tiny_seq2seq.saved}[family](tmp_path / "m")
    model, calibration = load_checkpoint(str(tmp_path / "m")), Calibration(str(text), 4, 12)
    work = work_for(model, calibration)
    made = Svd(rank=RANK, basis=basis, guided=False, samples=4).run(model, work)
    assert work.notes["samples"] == 4
    seen = _all_watched(theirs, family, calibration_texts(model, work_for(model, calibration), 4))
    for name in NAMES[family]:
        x, w = np.concatenate([each[name][0] for each in seen]), model.tensor(name)
        best = {
            "asvd": lambda w=w, x=x: asvd(w, np.abs(x).mean(0), 0.5, RANK),
            "whitened": lambda w=w, x=x: whitened(w, x.T @ x, 0.01, RANK),
            "drone": lambda w=w, x=x: drone(w, x.T @ x, RANK),
        }[basis]()
        _check(made, name, best, x)


def test_guided_moments_and_fisher_are_of_the_loss_of_what_is_written(tmp_path: Path, pairs: Path) -> None:
    theirs = tiny_seq2seq.saved(tmp_path / "m", scale_embedding=True)
    model, calibration = load_checkpoint(str(tmp_path / "m")), Calibration(str(pairs), 3, 12)
    texts = calibration_texts(model, work_for(model, calibration), 3)
    made = Svd(rank=RANK, samples=3).run(model, work_for(model, calibration))
    seen = _all_watched(theirs, "bart", texts)
    for name in NAMES["bart"]:
        moment = sum((each[name][0] * each[name][1][:, None]).T @ each[name][0] for each in seen)
        _check(made, name, whitened(model.tensor(name), np.asarray(moment), 0.01, RANK), seen[0][name][0])
    made = Svd(rank=RANK, basis="fisher", samples=3).run(model, work_for(model, calibration))
    rows = {name: np.zeros(len(model.tensor(name))) for name in NAMES["bart"]}
    for text in texts:
        labels = torch.tensor([text.written[1:]])
        theirs.zero_grad()
        theirs(input_ids=torch.tensor([text.read]), labels=labels).loss.backward()
        for name, other in NAMES["bart"].items():
            rows[name] += theirs.get_submodule(other).weight.grad.double().square().sum(1).numpy() / len(texts)
    for name in NAMES["bart"]:
        _check(made, name, fisher(model.tensor(name), rows[name], None, RANK), seen[0][name][0])


def test_a_budget_by_gradients_gives_ranks_to_what_the_loss_minds(tmp_path: Path, pairs: Path) -> None:
    tiny_seq2seq.saved(tmp_path / "m")
    model, calibration = load_checkpoint(str(tmp_path / "m")), Calibration(str(pairs), 3, 12)
    work = work_for(model, calibration)
    Svd(budget=0.6, samples=3).run(model, work)
    figures = work.notes["budget"]
    assert figures["parameters"] <= 0.6 * figures["dense_parameters"]
    assert figures["least_possible"] <= figures["estimated_loss"]
    assert len({*work.notes["ranks"].values()}) > 1


def test_what_is_read_and_written(tmp_path: Path, text: Path, pairs: Path) -> None:
    tiny_seq2seq.saved(tmp_path / "m", forced=0)
    model = load_checkpoint(str(tmp_path / "m"))
    assert model.tokenizer is not None
    ids = [model.tokenizer.encode(each) for each in WORDS]
    found = calibration_texts(model, work_for(model, Calibration(str(pairs), 2, 12)), 2)
    assert [each.read for each in found] == ids[:2]
    assert [each.written for each in found] == [[2, *ids[1]], [2, *ids[2]]]  # </s>, then <s> as it is forced, ... </s>
    window = calibration_texts(model, work_for(model, Calibration(str(text), 2, 8)), 2)[0]
    assert window.read == [0, *model.tokenizer.backend.encode(" ".join(WORDS), add_special_tokens=False).ids[:6], 2]
    assert window.written == [2, *window.read]
    long = tmp_path / "long.jsonl"
    long.write_text(json.dumps({"source": "boat " * 99, "summary": "river " * 99}) + "\n")
    only = calibration_texts(model, work_for(model, Calibration(str(long), 1, 8)), 1)[0]
    assert len(only.read) == 64 and only.read[-1] == 2 and len(only.written) == 65
    tiny_encoders.saved(tmp_path / "e")
    encoder = load_checkpoint(str(tmp_path / "e"))
    assert not calibration_texts(encoder, work_for(encoder, Calibration(str(text), 1, 8)), 1)[0].written


def test_texts_that_cannot_be_used(tmp_path: Path, pairs: Path) -> None:
    tiny_seq2seq.saved(tmp_path / "m")
    model = load_checkpoint(str(tmp_path / "m"))
    pairs.write_text(pairs.read_text() + '{"article": "the boat"}\n')
    with pytest.raises(EdgecError, match=r"pairs\.jsonl, line 4: a source and a summary"):
        Svd(rank=RANK).run(model, work_for(model, Calibration(str(pairs), 8, 12)))
    (tmp_path / "short.txt").write_text("boat")
    with pytest.raises(RecipeError, match="has 1 tokens"):
        Svd(rank=RANK).run(model, work_for(model, Calibration(str(tmp_path / "short.txt"), 8, 12)))
    with pytest.raises(RecipeError, match="needs a calibration text"):
        Svd(rank=RANK).run(model, work_for(model))
