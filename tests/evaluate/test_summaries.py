"""Summaries as a task: ROUGE against hand-made values, greedy text against transformers's, comparisons, refusals."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import tiny_encoders
import tiny_models
import tiny_seq2seq
from click.testing import CliRunner

from edgec.cli import cli
from edgec.compress.encoder_texts import summary_pairs
from edgec.compress.pipeline import compress
from edgec.compress.svd import Svd
from edgec.errors import EdgecError
from edgec.evaluate.summaries import Writer, evaluate_summaries, rouge
from edgec.evaluate.tasks import evaluate_embeddings, evaluate_text
from edgec.frontend.load import load_checkpoint
from edgec.frontend.seq2seq_config import decoder_start
from edgec.report.stages import measure_on

pytest.importorskip("rouge_score", reason="ROUGE is of an optional dependency")

SOURCES = ("the old boat was blue .", "a river ran . the boat ran .", "blue", "old old old was the river .")


@pytest.fixture
def data(tmp_path: Path) -> str:
    rows = [{"source": source, "summary": "the boat ran ."} for source in SOURCES]
    (tmp_path / "pairs.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return str(tmp_path / "pairs.jsonl")


def _evaluate(model: Path, data: str, runner: str = "reference", against: Path | None = None, most: int = 9) -> Any:
    other = str(against) if against else None
    return evaluate_summaries(str(model), data, None, most, runner, None, other, lambda *_: None)[0]


def test_rouge() -> None:
    """By hand: 3 of 4 words of each side; 1 of 3 pairs; a longest common subsequence of 2."""
    found = rouge([("a b c d", "c a b x")])
    assert found == {"rouge1": pytest.approx(0.75), "rouge2": pytest.approx(1 / 3), "rougeL": pytest.approx(0.5)}
    assert rouge([("the boats", "the boat"), ("x", "y")])["rouge1"] == pytest.approx(0.5)  # stems are equal


def test_greedy_is_transformers(tmp_path: Path) -> None:
    """The float twin writes what transformers' greedy generation writes, forced first token and end included."""
    import torch

    from edgec.evaluate.float_twin import float_programs

    model = tiny_seq2seq.saved(tmp_path, forced=4)
    checkpoint = load_checkpoint(str(tmp_path))
    assert checkpoint.tokenizer is not None and decoder_start(checkpoint.config) == (2, 4)
    writer = Writer(float_programs(checkpoint, 40), checkpoint.tokenizer, decoder_start(checkpoint.config))
    texts = set()
    for source in SOURCES:
        ids = checkpoint.tokenizer.encode(source)
        with torch.no_grad():
            options = {"max_length": 14, "num_beams": 1, "do_sample": False, "forced_eos_token_id": None}
            made = model.generate(torch.tensor([ids]), **options)[0].tolist()
            rows = model.model.encoder(torch.tensor([ids])).last_hidden_state[0].numpy()
        assert abs(writer.read(source) - rows).max() < 1e-2
        assert writer.write(12) == checkpoint.tokenizer.decode(made[2:]).strip()
        texts.add(tuple(made))
    assert len(texts) > 1


def test_runners_and_comparisons(tmp_path: Path, data: str) -> None:
    tiny_seq2seq.saved(tmp_path / "m")
    exact, rounded = (_evaluate(tmp_path / "m", data, runner) for runner in ("float", "reference"))
    assert set(exact.metrics) == {"rouge1", "rouge2", "rougeL"} and exact.protocol["float"] == "none"
    assert rounded.protocol["float"] == "the model's own" and rounded.protocol["documents"] == 4
    assert 0.9 < rounded.metrics["encoder_cosine_min"] <= rounded.metrics["encoder_cosine_mean"] < 1
    assert 0 <= rounded.metrics["to_float_equal"] <= 1
    own = _evaluate(tmp_path / "m", data, "float", against=tmp_path / "m")
    assert own.metrics["to_float_equal"] == own.metrics["to_float_rougeL"] == 1
    assert own.metrics["encoder_cosine_min"] == pytest.approx(1, abs=1e-6)
    cut = compress(load_checkpoint(str(tmp_path / "m")), _recipe(Svd(rank=4, basis="plain")), tmp_path / "stages")
    far = _evaluate(cut.folders[-1], data, "float", against=tmp_path / "m")
    assert far.metrics["encoder_cosine_mean"] < 0.9


def _recipe(*stages: Any) -> Any:
    return replace(tiny_models.recipe(8, 32, 24, 4), stages=stages)


def test_a_built_project(tmp_path: Path, data: str, objects: Path) -> None:
    """By the command line; its numbers are those of the built reference, and are kept beside it."""
    tiny_seq2seq.saved(tmp_path / "m")
    source = load_checkpoint(str(tmp_path / "m"))
    artifact = tiny_models.built(source, tmp_path / "out", objects, made=_recipe())
    (artifact.path / "local.json").write_text(json.dumps({"model": str(tmp_path / "m"), "tokenizer": None}))
    arguments = [
        "evaluate",
        str(artifact.path),
        "--task",
        "summaries",
        "--data",
        data,
        "--max-new-tokens",
        "6",
        "--json",
    ]
    found = json.loads(CliRunner().invoke(cli, arguments, catch_exceptions=False).stdout)
    writer = Writer(artifact.reference(), artifact.tokenizer, artifact.decoder_start)
    written = []
    for text in SOURCES:
        writer.read(text)
        written.append(writer.write(6))
    assert found["metrics"]["rouge1"] == pytest.approx(rouge([("the boat ran .", text) for text in written])["rouge1"])
    assert found["protocol"]["context"] == 24
    assert json.loads((artifact.path / "evaluations.json").read_text())[0]["metrics"] == found["metrics"]


def test_vectors_against_another_model(tmp_path: Path) -> None:
    tiny_encoders.saved(tmp_path / "m")
    (tmp_path / "text.txt").write_text("The old boat. The blue river is a river.\nA boat and the rivers? Yes!\n")
    cut = compress(load_checkpoint(str(tmp_path / "m")), _recipe(Svd(rank=6, basis="plain")), tmp_path / "stages")
    text, folder = str(tmp_path / "text.txt"), str(cut.folders[-1])
    own, _ = evaluate_embeddings(folder, text, None, None, None)
    dense, _ = evaluate_embeddings(folder, text, None, None, None, str(tmp_path / "m"))
    assert dense.metrics["cosine_mean"] < 0.97 < own.metrics["cosine_mean"]
    assert dense.protocol["float"] == "m"


def test_rows_must_have_both(tmp_path: Path) -> None:
    assert summary_pairs([{"article": "a", "highlights": "b"}], "x") == [("a", "b")]
    for row in ({"source": "a"}, {"summary": "b"}, {"source": "a", "summary": 3}, {"source": "", "summary": "b"}):
        with pytest.raises(EdgecError, match=r"pairs\.jsonl, line 2: a source and a summary are wanted"):
            summary_pairs([{"source": "a", "summary": "b"}, row], "pairs.jsonl")


def test_other_models_and_tasks_are_refused(tmp_path: Path, data: str) -> None:
    tiny_seq2seq.saved(tmp_path / "m")
    model, text = str(tmp_path / "m"), str(tmp_path / "text.txt")
    Path(text).write_text("the old boat was blue . " * 9)
    with pytest.raises(EdgecError, match="stories writes no text about another"):
        evaluate_summaries("stories", data, None, 9, "float", None, None, lambda *_: None)
    with pytest.raises(EdgecError, match="a llama model writes no text about another"):
        evaluate_summaries(model, data, None, 9, "float", None, "stories", lambda *_: None)
    with pytest.raises(EdgecError, match="reads first; measure it with --task summaries"):
        evaluate_text(model, "perplexity", text, 8, None, None, "float", None, lambda *_: None)
    with pytest.raises(EdgecError, match="makes no vectors; measure it with --task summaries"):
        evaluate_embeddings(model, text, None, None, None)
    with pytest.raises(EdgecError, match="perplexity is of models that continue text"):
        measure_on(__file__, 1)(load_checkpoint(model), lambda *_: None)
    for arguments, words in (
        (["--task", "summaries"], "needs --data, sources"),
        (["--data", data, "--against", model], "--against is for embeddings and summaries"),
        (["--data", data, "--task", "triviaqa-closed", "--max-new-tokens", "51"], "at most 50 tokens"),
    ):
        done = CliRunner().invoke(cli, ["evaluate", model, *arguments])
        assert done.exit_code == 2 and words in done.output
