"""From what a user names to an Evaluation."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from edgec.artifact import Artifact
from edgec.compress.calibration import read_text, rows_of
from edgec.compress.rtn import quantize_model
from edgec.compress.sizes import size_of
from edgec.errors import EdgecError
from edgec.evaluate.result import Evaluation
from edgec.evaluate.scorer import (
    LONGEST,
    ROWS,
    FloatScorer,
    Scorer,
    built_scorer,
    quantised_scorer,
    tokenizer_of,
)
from edgec.evaluate.text import text_likelihood
from edgec.frontend.encoder_config import encodes
from edgec.frontend.load import load_checkpoint
from edgec.frontend.seq2seq_config import seq2seq
from edgec.lower.model import constants, lower
from edgec.recipe import Quantize
from edgec.verify.embeddings import SENTENCES, compare_embeddings
from edgec.verify.original import original

NOT_A_DECODER = "{} is an encoder and continues no text; measure its vectors with --task embeddings."
NO_VECTORS = "{} writes text and makes no vectors; measure it with --task {}."
NOT_ALONE = "{} writes about a text that it reads first; measure it with --task summaries."
QUESTION_CONTEXT = 2047  # positions of a reference that answers questions, less one


def scorer_of(
    model: str, runner: str, tokenizer: str | None, window: int
) -> tuple[Scorer, dict[str, Any], Path | None]:
    """The scorer of a checkpoint, a stage's folder or a built project; what it is; where its evaluations are kept."""
    path = Path(model)
    if (path / "build.json").is_file():
        artifact = Artifact.load(path)
        if artifact.encodes:
            raise EdgecError(NOT_A_DECODER.format(model))
        if artifact.seq2seq:
            raise EdgecError(NOT_ALONE.format(model))
        return built_scorer(artifact), {"name": path.name} | built_size(artifact), path
    checkpoint = load_checkpoint(model, tokenizer)
    if encodes(checkpoint.config):
        raise EdgecError(NOT_A_DECODER.format(model))
    if seq2seq(checkpoint.config):
        raise EdgecError(NOT_ALONE.format(model))
    text = tokenizer_of(checkpoint)
    window = min(window + 1, checkpoint.config.max_seq_len)
    made: Scorer = FloatScorer(checkpoint, text) if runner == "float" else quantised_scorer(checkpoint, text, window)
    size = size_of(checkpoint)
    known = {key: size[key] for key in ("parameters", "bytes", "block_bits_per_weight")}
    return made, {"name": path.name or model} | known, path if (path / "edgec.json").is_file() else None


def built_size(artifact: Artifact) -> dict[str, Any]:
    """What an evaluation says of a built project's size."""
    from edgec.report.report import report_of

    model = report_of(artifact).model
    return {
        "parameters": model["parameters"],
        "bytes": model["weight_bytes"],
        "bits_per_weight": model["bits_per_weight"],
    }


def evaluate_text(
    model: str,
    task: str,
    data: str,
    window: int,
    windows: int | None,
    chars: int | None,
    runner: str,
    tokenizer: str | None,
    say: Callable[[str, int, int], None],
) -> tuple[Evaluation, Path | None]:
    """Perplexity or bits per byte of a text. Raises EdgecError for a text that is missing or too short."""
    text = read_text(data)[:chars]
    scorer, described, folder = scorer_of(model, runner, tokenizer, window)
    metrics, protocol = text_evaluation(scorer, task, Path(data).name, text, window, windows, say)
    return Evaluation(task, metrics, protocol, described, 0.0), folder


def evaluate_embeddings(
    model: str, data: str, chars: int | None, limit: int | None, tokenizer: str | None, against: str | None = None
) -> tuple[Evaluation, Path | None]:
    """Cosines between the vectors of a built encoder, or of one quantised without a recipe, and its float model's.

    against: a checkpoint whose float model's vectors they are compared with instead.
    Raises EdgecError for a model that is no encoder, or if the float checkpoint of a build is gone.
    """
    text, path = read_text(data)[:chars], Path(model)
    if built := (path / "build.json").is_file():
        artifact = Artifact.load(path)
        if not artifact.encodes:
            raise EdgecError(NO_VECTORS.format(model, "summaries" if artifact.seq2seq else "perplexity"))
        checkpoint, graph, consts = original(artifact), artifact.graphs["encode"], artifact.constants()
        described = {"name": path.name} | built_size(artifact)
    else:
        checkpoint = load_checkpoint(model, tokenizer)
        if not encodes(checkpoint.config):
            raise EdgecError(NO_VECTORS.format(model, "summaries" if seq2seq(checkpoint.config) else "perplexity"))
        quantized = quantize_model(checkpoint, Quantize())
        context = min(checkpoint.config.max_seq_len, LONGEST)
        consts = constants(quantized, context)
        graph = lower(quantized, consts, "encode", min(ROWS, context), context)
        described = {"name": path.name or model}
    words = tokenizer_of(checkpoint)
    other = None
    if against is not None:
        from edgec.evaluate.float_twin import float_programs

        dense = load_checkpoint(against)
        if not encodes(dense.config) or dense.config.hidden_dim != checkpoint.config.hidden_dim:
            raise EdgecError(f"{against} makes no vectors of {checkpoint.config.hidden_dim} numbers to compare with.")
        other = float_programs(dense, graph.values["hidden.rows"].type.shape[0])
    found = compare_embeddings(checkpoint, graph, consts, words, text, Path(data).name, limit or SENTENCES, other)
    arithmetic = "the reference of the built project" if built else "the reference, quantised without a recipe"
    protocol = {"text": Path(data).name, "sha256": hashlib.sha256(text.encode()).hexdigest(), "arithmetic": arithmetic}
    protocol |= {key: found[key] for key in ("sentences", "tokens")}
    protocol |= {"float": Path(against).name} if against else {}
    metrics = {key: found[key] for key in ("cosine_mean", "cosine_min")}
    return Evaluation("embeddings", metrics, protocol, described, 0.0), path if built else None


def evaluate_questions(
    model: str,
    task: str,
    data: str | None,
    limit: int | None,
    max_new: int,
    runner: str,
    tokenizer: str | None,
    say: Callable[[str, int, int], None],
) -> tuple[Evaluation, Path | None]:
    """TriviaQA, or one of lm-eval's tasks. Raises EdgecError for data that are missing or of another form."""
    questions = Questions.of(task, data, limit, max_new)
    scorer, described, folder = scorer_of(model, runner, tokenizer, QUESTION_CONTEXT)
    metrics, protocol = questions.ask(scorer, say)
    return Evaluation(task, metrics, protocol, described, 0.0), folder


@dataclass(frozen=True)
class Questions:
    """A question task and its data, to be asked of any number of models."""

    task: str
    rows: list[dict[str, Any]] | None  # None: lm-eval takes them from the hub
    name: str
    sha256: str
    limit: int | None
    max_new: int

    @classmethod
    def of(cls, task: str, data: str | None, limit: int | None, max_new: int) -> Questions:
        """Raises EdgecError for data that are missing or of another form."""
        if data is not None:
            raw = read_bytes(data)
            return cls(task, rows_of(raw, data), Path(data).name, hashlib.sha256(raw).hexdigest(), limit, max_new)
        if task.startswith("triviaqa"):
            raise EdgecError(f"{task} needs --data, a .jsonl file with a question and its answers a line.")
        return cls(task, None, "hub", "", limit, max_new)

    def ask(self, scorer: Scorer, say: Callable[[str, int, int], None]) -> tuple[dict[str, float], dict[str, Any]]:
        """Metrics, the task's own first, and the protocol."""
        from edgec.evaluate.lm_tasks import lm_task
        from edgec.evaluate.triviaqa import triviaqa

        protocol: dict[str, Any] = {"data": self.name} | ({"sha256": self.sha256} if self.sha256 else {})
        if self.task.startswith("triviaqa"):
            assert self.rows is not None
            rows = self.rows[: self.limit]
            open_book = self.task == "triviaqa-open"
            metrics = triviaqa(scorer, rows, open_book, self.name, self.max_new, say)
            prompt = "Context: ... Question: ... Answer:" if open_book else "Question: ... Answer:"
            protocol |= {"documents": len(rows), "prompt": prompt, "min_new_tokens": 1, "max_new_tokens": self.max_new}
            protocol["matching"] = "exact, substring, 80 % of words"
        else:
            found = lm_task(scorer, self.task, self.rows, self.limit, say)
            metrics = found.pop("metrics")
            protocol |= found
        protocol |= {"context": scorer.context, "arithmetic": scorer.arithmetic}
        return {key: float(f"{value:.6g}") for key, value in metrics.items()}, protocol


def read_bytes(data: str) -> bytes:
    """A data file's bytes. Raises EdgecError if it cannot be read."""
    try:
        return Path(data).read_bytes()
    except OSError as error:
        raise EdgecError(f"the data file {data} cannot be read: {error.strerror}.") from None


def text_evaluation(
    scorer: Scorer,
    task: str,
    name: str,
    text: str,
    window: int,
    windows: int | None,
    say: Callable[[str, int, int], None],
) -> tuple[dict[str, float], dict[str, Any]]:
    """Metrics, the task's own first, and the protocol."""
    found = text_likelihood(scorer, text, window, windows, whole=task == "perplexity", say=say)
    metrics = {"perplexity": found.perplexity, "bits_per_byte": found.bits_per_byte}
    if task == "bits-per-byte":
        metrics = dict(reversed(metrics.items()))
    protocol = {
        "text": name,
        "sha256": hashlib.sha256(text.encode()).hexdigest(),
        "bytes": found.text_bytes,
        "windows": found.windows,
        "window": found.window,
        "tokens": found.tokens,
        "bos": found.bos,
        "arithmetic": scorer.arithmetic,
    }
    return {key: float(f"{value:.6g}") for key, value in metrics.items()}, protocol
