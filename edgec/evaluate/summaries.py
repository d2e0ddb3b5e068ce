"""Summaries as a task: ROUGE of what a model writes about sources, and how close that is to its float model's text.

ROUGE-1, -2 and -L (Lin 2004) are F1, as rouge_score computes them with its stemmer, mean over the sources. Tokens are
picked greedily. Against the float model: ROUGE-L of one's text to the other's, the share of equal texts, and the mean
and least cosine of the encoder's last rows, row by row.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgec.artifact import Artifact
from edgec.compress.calibration import rows_of
from edgec.compress.encoder_texts import summary_pairs
from edgec.compress.rtn import quantize_model
from edgec.compress.sizes import size_of
from edgec.errors import EdgecError
from edgec.evaluate.float_twin import ROWS, float_programs
from edgec.evaluate.result import Evaluation
from edgec.evaluate.scorer import tokenizer_of
from edgec.evaluate.tasks import built_size, read_bytes
from edgec.frontend.checkpoint import Checkpoint, TextTokenizer
from edgec.frontend.load import load_checkpoint
from edgec.frontend.seq2seq_config import decoder_start, seq2seq
from edgec.lower.model import constants, lower, rows_by_program
from edgec.ops.sample import Sampling
from edgec.recipe import Quantize
from edgec.simulate.reference import ReferenceRunner
from edgec.verify.original import original
from edgec.verify.quality import closeness, rounded

KINDS = ("rouge1", "rouge2", "rougeL")
NO_SUMMARIES = "{} writes no text about another; measure it with --task {}."
LONGEST = 512  # positions of what is no built project, at most

Say = Callable[[str, int, int], None]
Rows = NDArray[np.float64]


class Writer:
    """A model that reads and writes, over the graphs of its programs."""

    def __init__(self, runner: ReferenceRunner, tokenizer: TextTokenizer, start: Sequence[int]) -> None:
        self.runner, self.tokenizer, self.start = runner, tokenizer, list(start)
        runner.sampling(Sampling())
        nodes = runner.graphs["encode"].nodes
        self._last = next(n.outputs["y"] for n in reversed(nodes) if n.op == "layernorm")

    def read(self, source: str) -> Rows:
        """The encoder's last rows for a source, cut where the context ends: [tokens, hidden_dim]."""
        rows: list[Any] = []
        self.runner.trace = lambda node, name, array: rows.append(array) if name == self._last else None
        self.runner.encode(self.tokenizer.encode_within(source, self.runner.context))
        self.runner.trace = None
        return np.concatenate(rows).astype(np.float64)

    def write(self, most: int) -> str:
        """At most so many tokens about the source that was read last."""
        runner, made = self.runner, list[int]()
        token = runner.prefill(self.start)
        while token not in self.tokenizer.eos_ids and len(made) < most:
            made.append(token)
            if len(made) == most or runner.pos == runner.context:
                break
            token = runner.decode(token)
        return self.tokenizer.decode(made).strip()


def rouge(pairs: Sequence[tuple[str, str]]) -> dict[str, float]:
    """Mean F1 of ROUGE-1, -2 and -L over (wanted, written) texts."""
    from rouge_score.rouge_scorer import RougeScorer

    scorer = RougeScorer(list(KINDS), use_stemmer=True)
    found = [scorer.score(wanted, written) for wanted, written in pairs]
    return {kind: float(np.mean([scores[kind].fmeasure for scores in found])) for kind in KINDS}


def evaluate_summaries(
    model: str,
    data: str,
    limit: int | None,
    most: int,
    runner: str,
    tokenizer: str | None,
    against: str | None,
    say: Say,
) -> tuple[Evaluation, Path | None]:
    """ROUGE of a checkpoint or a built project. against: a checkpoint to compare texts and encoders with; by default
    the float model of what was built or quantised.

    Raises EdgecError for data of another form, and for a model that writes no text about another.
    """
    raw = read_bytes(data)
    pairs = summary_pairs(rows_of(raw, Path(data).name), Path(data).name)[:limit]
    writer, floats, described, folder, arithmetic = _writers(model, runner, tokenizer, against)
    texts, similar, same = list[str](), list[float](), list[str]()
    for number, (source, _) in enumerate(pairs):
        say("sources", number, len(pairs))
        rows = writer.read(source)
        texts.append(writer.write(most))
        if floats is not None:
            similar += [closeness(mine, its)[1] for mine, its in zip(rows, floats.read(source), strict=True)]
            same.append(floats.write(most))
    metrics = rouge([(wanted, text) for (_, wanted), text in zip(pairs, texts, strict=True)])
    if floats is not None:
        metrics["to_float_rougeL"] = rouge(list(zip(same, texts, strict=True)))["rougeL"]
        metrics["to_float_equal"] = float(np.mean([a == b for a, b in zip(same, texts, strict=True)]))
        metrics |= {"encoder_cosine_mean": float(np.mean(similar)), "encoder_cosine_min": min(similar)}
    protocol = {
        "data": Path(data).name,
        "sha256": hashlib.sha256(raw).hexdigest(),
        "documents": len(pairs),
        "max_new_tokens": most,
        "context": writer.runner.context,
        "scores": "rouge_score, F1, stemmer",
        "float": "none" if floats is None else Path(against).name if against else "the model's own",
        "arithmetic": arithmetic,
    }
    made = Evaluation("summaries", {key: rounded(value) for key, value in metrics.items()}, protocol, described, 0.0)
    return made, folder


def _writers(
    model: str, runner: str, tokenizer: str | None, against: str | None
) -> tuple[Writer, Writer | None, dict[str, Any], Path | None, str]:
    """The model, what it is compared with, what it is, where its evaluations are kept, and what computes."""
    path = Path(model)
    if (path / "build.json").is_file():
        artifact = Artifact.load(path)
        if not artifact.seq2seq:
            raise EdgecError(NO_SUMMARIES.format(model, "embeddings" if artifact.encodes else "perplexity"))
        dense = load_checkpoint(against) if against else original(artifact)
        twin = _float_writer(dense, artifact.tokenizer, artifact.plan.context)
        mine = Writer(artifact.reference(), artifact.tokenizer, artifact.decoder_start)
        return mine, twin, {"name": path.name} | built_size(artifact), path, "the reference of the built project"
    checkpoint = load_checkpoint(model, tokenizer)
    if not seq2seq(checkpoint.config):
        raise EdgecError(NO_SUMMARIES.format(model, "perplexity or embeddings"))
    words = tokenizer_of(checkpoint)
    context = min(checkpoint.config.max_seq_len, LONGEST)
    size = size_of(checkpoint)
    described = {"name": path.name or model} | {key: size[key] for key in ("parameters", "bytes")}
    folder = path if (path / "edgec.json").is_file() else None
    other = _float_writer(load_checkpoint(against), words, context) if against else None
    if runner == "float":
        return _float_writer(checkpoint, words, context), other, described, folder, "float32"
    quantized = quantize_model(checkpoint, Quantize())
    consts = constants(quantized, context)
    rows_of = rows_by_program(checkpoint.config, min(ROWS, context))
    graphs = {name: lower(quantized, dict(consts), name, rows, context) for name, rows in rows_of.items()}
    mine = Writer(ReferenceRunner(graphs, consts), words, decoder_start(checkpoint.config))
    other = other or _float_writer(checkpoint, words, context)
    return mine, other, described, folder, "the reference, quantised without a recipe"


def _float_writer(checkpoint: Checkpoint, words: TextTokenizer, context: int) -> Writer:
    if not seq2seq(checkpoint.config):
        raise EdgecError(
            f"a {checkpoint.config.family} model writes no text about another; compare with one that does."
        )
    return Writer(float_programs(checkpoint, context), words, decoder_start(checkpoint.config))
