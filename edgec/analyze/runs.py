"""The analyses from what a user names to an Analysis."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from edgec.analyze import charts
from edgec.analyze.cells import Cells, Say
from edgec.analyze.exchange import Exchange, LossOf, exchange, observations
from edgec.analyze.output import Analysis
from edgec.analyze.sensitivity import Change, sensitivity
from edgec.analyze.spectrum import SHARES, spectra
from edgec.compress.stage import Calibration
from edgec.errors import EdgecError
from edgec.frontend.checkpoint import Checkpoint
from edgec.frontend.provenance import sha256


def rank_analysis(model: str, checkpoint: Checkpoint, roles: Sequence[str], say: Say) -> Analysis:
    """Explained variance and approximate ranks."""
    found = list(spectra(checkpoint, tuple(roles), say))
    heading = ("role", "joined", "shape", "break-even", *(f"rank at EV {share:g}" for share in SHARES))
    summary: list[Sequence[str]] = [heading]
    for role in roles:
        single = [s for s in found if s.role == role and s.layer is not None]
        rows = [
            ("", single),
            *((j, [s for s in found if s.role == role and s.joined == j]) for j in ("rows", "columns")),
        ]
        for joined, members in rows:
            n, k = members[0].shape
            even = str(members[0].row()["break_even"])
            medians = [f"{np.median([s.rank(share) for s in members]):g}" for share in SHARES]
            summary.append((role, joined or f"median of {len(single)}", f"{n:,} x {k:,}", even, *medians))
    low = [r for r in roles if _below_even(found, r)]
    named = "no role" if not low else "every role" if len(low) == len(roles) else ", ".join(low)
    lines = [f"the median rank at EV {SHARES[1]:g} is at most break-even for {named}"]
    made = [
        (f"approximate rank at EV {SHARES[1]:g}, share of the full one", charts.rank_map(found)),
        ("explained variance of every matrix", charts.explained(found, "")),
        ("of each role's matrices joined by rows", charts.explained(found, "rows")),
        ("of each role's matrices joined by columns", charts.explained(found, "columns")),
    ]
    facts = {"model": Path(model).name, "matrices": sum(s.layer is not None for s in found), "arithmetic": "float64"}
    title = f"Explained variance of {Path(model).name}"
    return Analysis("rank", title, [s.row() for s in found], made, lines, summary, facts)


def _below_even(found: Sequence[Any], role: str) -> bool:
    single = [s for s in found if s.role == role and s.layer is not None]
    return bool(np.median([s.rank(SHARES[1]) for s in single]) <= single[0].row()["break_even"])


def exchange_analysis(
    kind: str,
    model: str,
    checkpoint: Checkpoint,
    folder: Path,
    say: Say,
    *,
    parts: Sequence[str],
    task: str,
    data: str,
    window: int,
    windows: int,
    limit: int | None,
) -> Analysis:
    """Replacement or ablation of parts over a task."""
    facts, dense, loss_of = _measure(checkpoint, task, data, window, windows, limit, say)
    facts = {"model": Path(model).name} | facts
    cells = Cells(folder, {"kind": "exchange", **facts, "weights": checkpoint.provenance.get("files")})
    layers = checkpoint.config.n_layers
    found = [exchange(part, layers, dense, loss_of, cells, say, kind == "replace") for part in parts]
    made = [("loss without a part", charts.ablation(found))]
    if kind == "replace":
        for e in found:
            title = "block i" if e.part == "block" else f"{e.part} of block i"
            made.append((f"{title} in the place of block j's", charts.exchange_map(e, "replace")))
            made.append((f"the same, minus the loss without any {e.part} there", charts.exchange_map(e, "difference")))
    lines = [f"dense loss {dense:.5g}", *(line for e in found for line in observations(e))]
    title = f"{'Replacement' if kind == 'replace' else 'Ablation'} in {Path(model).name}"
    rows = [row for e in found for row in e.rows()]
    return Analysis(kind, title, rows, made, lines, _ablation_table(found), facts, cells)


def _measure(
    checkpoint: Checkpoint, task: str, data: str, window: int, windows: int, limit: int | None, say: Say
) -> tuple[dict[str, Any], float, LossOf]:
    """The protocol, the dense model's loss, and the loss of a changed one."""
    if task == "perplexity":
        from edgec.analyze.variants import Variants
        from edgec.compress.calibration import windows as cut

        tokens = cut(checkpoint, Calibration(data, windows, window))
        variants = Variants(checkpoint, tokens)
        facts = {"task": task, "data": Path(data).name, "sha256": sha256(Path(data)), "windows": windows}
        facts |= {"window": tokens.shape[1], "loss": "mean of -ln p, float32"}

        def loss_of(part: str, layer: int, other: int | None) -> float:
            return variants.ablated(part, layer) if other is None else variants.replaced(part, layer, other)

        return facts, variants.dense, loss_of
    from edgec.analyze.by_task import ByTask
    from edgec.evaluate.tasks import Questions

    if checkpoint.tokenizer is None:
        raise EdgecError("the checkpoint has no tokenizer, so nothing can be asked; name one with --tokenizer.")
    questions = Questions.of(task, data, limit, 50)
    asked = ByTask(checkpoint, checkpoint.tokenizer, questions, lambda text, done, total: None)
    facts = {"task": task, "data": questions.name, "sha256": questions.sha256, "limit": limit}
    return facts | {"loss": "minus the task's metric"}, asked.dense, asked.loss_of


def _ablation_table(found: Sequence[Exchange]) -> list[Sequence[str]]:
    rows: list[Sequence[str]] = [("block", *(f"without {e.part}" for e in found))]
    return rows + [(str(j), *(f"{e.ablate[j]:+.4f}" for e in found)) for j in range(len(found[0].ablate))]


def sensitivity_analysis(
    model: str,
    checkpoint: Checkpoint,
    folder: Path,
    say: Say,
    data: str,
    window: int,
    windows: int,
    roles: Sequence[str],
    tried: Sequence[Change],
) -> Analysis:
    """Each matrix with each change."""
    from edgec.analyze.variants import Variants
    from edgec.compress.calibration import windows as cut

    tokens = cut(checkpoint, Calibration(data, windows, window))
    facts = {"model": Path(model).name, "data": Path(data).name, "sha256": sha256(Path(data)), "windows": windows}
    facts |= {"window": tokens.shape[1], "loss": "mean of -ln p, float32"}
    cells = Cells(folder, {"kind": "sensitivity", **facts, "weights": checkpoint.provenance.get("files")})
    found = sensitivity(checkpoint, Variants(checkpoint, tokens), roles, tried, cells, say)
    rows = list(found.rows())
    summary: list[Sequence[str]] = [("change", *roles)]
    for change in tried:
        means = [
            [r["change"] for r in rows if (r["role"], r["kind"], r["value"]) == (role, *_key(change))] for role in roles
        ]
        summary.append((change.label, *(f"{np.mean(m):+.4f}" if m else "-" for m in means)))
    made = [(change.label, charts.sensitivity_map(found, change, roles)) for change in tried]
    worst = sorted(rows, key=lambda r: -r["change"])[:3]
    lines = [
        f"dense loss {found.dense:.5g}; the table has mean changes over the layers, one matrix changed at a time",
        "worst: "
        + ", ".join(f"layer {r['layer']} {r['role']} at {r['kind']} {r['value']} +{r['change']:.3g}" for r in worst),
    ]
    title = f"Sensitivity of {Path(model).name}"
    return Analysis("sensitivity", title, rows, made, lines, summary, facts, cells)


def _key(change: Change) -> tuple[str, str]:
    return change.kind, change.value
