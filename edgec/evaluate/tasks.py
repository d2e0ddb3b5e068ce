"""From what a user names to an Evaluation."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

from edgec.artifact import Artifact
from edgec.compress.calibration import read_text
from edgec.compress.sizes import size_of
from edgec.errors import EdgecError
from edgec.evaluate.result import Evaluation
from edgec.evaluate.scorer import FloatScorer, Scorer, built_scorer, quantised_scorer
from edgec.evaluate.text import text_likelihood
from edgec.frontend.load import load_checkpoint


def scorer_of(
    model: str, runner: str, tokenizer: str | None, window: int
) -> tuple[Scorer, dict[str, Any], Path | None]:
    """The scorer of a checkpoint, a stage's folder or a built project; what it is; where its evaluations are kept."""
    path = Path(model)
    if (path / "build.json").is_file():
        artifact = Artifact.load(path)
        return built_scorer(artifact), {"name": path.name} | _built_size(artifact), path
    checkpoint = load_checkpoint(model, tokenizer)
    text = checkpoint.tokenizer
    if text is None:
        raise EdgecError("the checkpoint has no tokenizer, so no text can be measured; name one with --tokenizer.")
    window = min(window + 1, checkpoint.config.max_seq_len)
    made: Scorer = FloatScorer(checkpoint, text) if runner == "float" else quantised_scorer(checkpoint, text, window)
    size = size_of(checkpoint)
    known = {key: size[key] for key in ("parameters", "bytes", "block_bits_per_weight")}
    return made, {"name": path.name or model} | known, path if (path / "edgec.json").is_file() else None


def _built_size(artifact: Artifact) -> dict[str, Any]:
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
