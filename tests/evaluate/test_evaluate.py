"""`edgec evaluate`: likelihoods against direct sums, the three kinds of model, the stored protocol."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner, Result

from edgec.cli import cli
from edgec.compress.folder import write_folder
from edgec.errors import EdgecError, OutputError
from edgec.evaluate.result import stored
from edgec.evaluate.text import text_likelihood
from edgec.verify.workload import TEXT
from tests.tiny_models import checkpoint, config, tokenizer

WORDS = " ".join(TEXT.split()[:60])


class Counting:
    """A scorer for which token t has logit t * factor after every prefix."""

    arithmetic = "made up"

    def __init__(self, bos: int | None = None, context: int = 100) -> None:
        plain = tokenizer(97)
        self.tokenizer = type(plain)(plain.backend, bos, (), bos is not None)
        self.context = context
        self.fed: list[list[int]] = []

    def logits(self, tokens: Sequence[int]) -> Any:
        self.fed.append(list(tokens))
        return np.tile(np.arange(97, dtype=np.float32) * 0.1, (len(tokens), 1))


def expected(ids: list[int]) -> float:
    weights = np.exp(np.arange(97) * 0.1)
    return float(-np.log(weights[ids] / weights.sum()).sum())


def test_every_token_but_the_first_of_a_window_is_predicted() -> None:
    scorer = Counting()
    ids = scorer.tokenizer.encode(WORDS)
    found = text_likelihood(scorer, WORDS, 16)
    whole = len(ids) // 16
    assert found.windows == whole and found.tokens == 15 * whole and not found.bos
    wanted = [t for w in range(whole) for t in ids[16 * w + 1 : 16 * w + 16]]
    assert found.nll == pytest.approx(expected(wanted), rel=1e-6)
    assert scorer.fed[1] == ids[16:31]
    assert found.perplexity == pytest.approx(math.exp(found.nll / found.tokens))


def test_bos_takes_a_position_and_predicts_the_first_token() -> None:
    scorer = Counting(bos=5)
    ids = scorer.tokenizer.backend.encode(WORDS).ids
    found = text_likelihood(scorer, WORDS, 16, whole=False)
    assert found.tokens == len(ids) and found.nll == pytest.approx(expected(ids), rel=1e-6)
    assert scorer.fed[0] == [5, *ids[:15]]
    assert found.text_bytes == len(WORDS.encode())
    assert found.bits_per_byte == pytest.approx(found.nll / math.log(2) / len(WORDS.encode()))


def test_a_limit_counts_the_bytes_that_it_covers() -> None:
    scorer = Counting()
    found = text_likelihood(scorer, WORDS, 8, windows=2)
    covered = scorer.tokenizer.backend.decode(scorer.tokenizer.encode(WORDS)[:16])
    assert (found.windows, found.tokens, found.text_bytes) == (2, 14, len(covered.encode()))
    with pytest.raises(EdgecError, match="less than one window"):
        text_likelihood(scorer, "a a a", 8)


def run(*arguments: object) -> Result:
    return CliRunner().invoke(cli, [str(a) for a in arguments])


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("evaluate")
    write_folder(folder / "model", checkpoint(config(max_seq_len=64)))
    (folder / "text.txt").write_text(WORDS)
    return folder / "model"


def test_float_reference_and_built_project_agree_as_they_should(model: Path) -> None:
    pytest.importorskip("torch")
    text = model.parent / "text.txt"
    given = ("--data", text, "--window", 16, "--json")
    out = model.parent / "built"
    assert run("build", model, "--bits", 8, "--context", 32, "-o", out).exit_code == 0
    dense = json.loads(run("evaluate", model, *given).output)
    built = json.loads(run("evaluate", out, *given).output)
    assert dense["metrics"]["perplexity"] == pytest.approx(built["metrics"]["perplexity"], rel=0.02)
    assert dense["metrics"] != built["metrics"]
    assert built["protocol"]["arithmetic"] == "the reference of the built project"
    assert dense["protocol"]["sha256"] == built["protocol"]["sha256"] and dense["protocol"]["window"] == 16
    rounded = json.loads(run("evaluate", model, *given, "--runner", "reference").output)
    assert rounded["metrics"]["perplexity"] != dense["metrics"]["perplexity"]
    assert stored(out) == [built] and len(stored(model)) == 2
    again = run("evaluate", out, "--data", text, "--window", 16)
    assert again.exit_code == 0 and "perplexity" in again.output and len(stored(out)) == 1


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("--data", "gone.txt"), "gone.txt cannot be read"),
        (("--data", "{text}", "--window", 60), "less than one window"),
    ],
)
def test_bad_input_is_one_sentence(model: Path, arguments: tuple[str, ...], words: str) -> None:
    pytest.importorskip("torch")
    (model.parent / "short.txt").write_text("a a a a a")
    filled = [str(a).replace("{text}", str(model.parent / "short.txt")) for a in arguments]
    result = run("evaluate", model, *filled)
    assert result.exit_code == 2 and words in result.output and "Traceback" not in result.output


def test_a_damaged_list_of_evaluations_is_named(tmp_path: Path) -> None:
    (tmp_path / "evaluations.json").write_text('[{"task": 1}]')
    with pytest.raises(OutputError, match="not a list of evaluations"):
        stored(tmp_path)
