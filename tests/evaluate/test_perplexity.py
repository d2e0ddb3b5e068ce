"""Likelihood: against a computation by hand, in windows, with and without BOS; the score graph against decoding."""

from __future__ import annotations

import math

import numpy as np
import pytest
import tiny_models

from edgec.errors import EdgecError
from edgec.evaluate.perplexity import Likelihood, likelihood, log_softmax, score
from edgec.frontend.checkpoint import TextTokenizer
from edgec.ops.sample import Sampling
from edgec.passes.score_rows import score_rows
from edgec.simulate.reference import ReferenceRunner
from edgec.verify.workload import TEXT


@pytest.fixture
def runner(tiny: tiny_models.Planned) -> ReferenceRunner:
    return ReferenceRunner({"score": score_rows(tiny.graphs["prefill"])}, tiny.consts)


def test_log_softmax() -> None:
    p = np.exp(log_softmax(np.array([[1000.0, 1000.0, 0.0], [-5.0, 2.0, 1.0]])))
    assert p.sum(-1) == pytest.approx([1, 1])
    assert p[0] == pytest.approx([0.5, 0.5, 0])


def test_score_rows_gives_every_rows_logits(tiny: tiny_models.Planned, runner: ReferenceRunner) -> None:
    """The logits of row i are those of a decode that has read i + 1 tokens."""
    tokens = [5, 80, 3, 44]
    rows = score(runner, tokens)
    decoder = ReferenceRunner(tiny.graphs, tiny.consts)
    decoder.sampling(Sampling())
    for token, logits in zip(tokens, rows, strict=True):
        decoder.decode(token)
        assert (decoder.logits == logits).all()
    assert not {n.op for n in runner.graphs["score"].nodes} & {"sample", "last_row"}


@pytest.mark.parametrize("bos", [None, 96])
@pytest.mark.parametrize("window", [5, 12, 1000])
def test_likelihood_by_hand(tiny: tiny_models.Planned, runner: ReferenceRunner, window: int, bos: int | None) -> None:
    plain = tiny_models.tokenizer(97)
    tokenizer = TextTokenizer(plain.backend, bos, (), bos is not None)
    stream = plain.encode(TEXT)
    found = likelihood(runner, tokenizer, TEXT, window)
    size = min(window, 24)
    total, count = 0.0, 0
    decoder = ReferenceRunner(tiny.graphs, tiny.consts)
    decoder.sampling(Sampling())
    for start in range(0, len(stream), size):
        piece = stream[start : start + size]
        decoder.reset()
        fed, wanted = ([bos, *piece[:-1]], piece) if bos is not None else (piece[:-1], piece[1:])
        for token, following in zip(fed, wanted, strict=True):
            decoder.decode(token)
            total -= log_softmax(decoder.logits[None].astype(np.float64))[0, following]
            count += 1
    assert (found.tokens, found.text_bytes, found.window) == (count, len(TEXT.encode()), size)
    assert found.nll == pytest.approx(total, rel=1e-9)


def test_units() -> None:
    found = Likelihood(nll=100 * math.log(8), tokens=100, text_bytes=50, window=10)
    assert found.perplexity == pytest.approx(8)
    assert found.bits_per_byte == pytest.approx(6)


def test_a_text_of_one_token_is_refused(runner: ReferenceRunner) -> None:
    with pytest.raises(EdgecError, match="too short"):
        likelihood(runner, tiny_models.tokenizer(97), "boat", 10)
