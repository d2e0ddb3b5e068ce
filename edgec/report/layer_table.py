"""What each layer takes: bytes of weights, cycles of a decoded token, and what rounding lost there."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from edgec.memory.plan import Plan
from edgec.ops.embed import FORMS
from edgec.report.layers import LayerErrors, error_source, layer_errors
from edgec.report.steps import StepCost

LAYER = re.compile(r"model\.(encoder\.)?layers\.(\d+)\.")
EMBEDDING, HEAD = "embedding", "head"  # the head with the final norm before it and the choice of a token behind it
TABLE = "model.embed_tokens"
ENDS = tuple(f"model.{path}embed_{part}." for path in ("", "encoder.") for part in ("positions", "norm"))


@dataclass(frozen=True)
class LayerCost:
    """One layer, the embedding or the head.

    weight_bytes add up to the model's: a tied matrix counts as the embedding. cycles add up to the run's; a load that
    starts during the step before counts there. rounding_error is the mean over the part's matrices, None if unknown.
    """

    name: str
    weight_bytes: int
    cycles: int
    share: float
    rounding_error: float | None


def layer_costs(
    plan: Plan, steps: Sequence[StepCost], stages: Sequence[Mapping[str, Any]], quantization: Mapping[str, float]
) -> tuple[LayerCost, ...]:
    """The parts of a model in the order in which a token goes through them; steps are those of decode, or of encode."""
    size: dict[str, int] = {}
    cycles: dict[str, int] = {}
    for b in plan.buffers:
        if b.kind in ("weight", "scale"):
            name = part_of(b.name, b.name.startswith(f"{TABLE}."))
            size[name] = size.get(name, 0) + b.size
    for step in steps:
        name = part_of(f"{step.source}.", step.op in FORMS)
        cycles[name] = cycles.get(name, 0) + step.cycles
    whole = sum(cycles.values()) or 1
    errors = dict(_errors(stages, quantization))
    return tuple(
        LayerCost(name, size.get(name, 0), cycles.get(name, 0), round(cycles.get(name, 0) / whole, 6), errors.get(name))
        for name in sorted(size.keys() | cycles.keys(), key=_order)
    )


def part_of(name: str, embeds: bool) -> str:
    """The part that a tensor or the source of a step belongs to; a tied matrix is of both ends, so the caller says."""
    if found := LAYER.match(name):
        return f"{'encoder ' if found[1] else ''}layer {found[2]}"
    return EMBEDDING if embeds or name.startswith(ENDS) else HEAD


def _order(name: str) -> tuple[int, int]:
    ends = {EMBEDDING: (0, 0), HEAD: (3, 0)}
    return ends[name] if name in ends else (1 if name.startswith("encoder") else 2, int(name.rpartition(" ")[2]))


def _errors(stages: Sequence[Mapping[str, Any]], quantization: Mapping[str, float]) -> Iterator[tuple[str, float]]:
    _, source = error_source(stages, quantization)
    for name, part in ((f"{TABLE}.weight", EMBEDDING), ("lm_head.weight", HEAD)):
        if name in source:
            yield part, _six_digits(float(source[name]))
    if (found := layer_errors(stages, quantization)) is not None:
        for layer, (mean, known) in enumerate(zip(found.by_layer(), found.errors, strict=True)):
            if known:
                yield f"layer {layer}", _six_digits(mean)
    encoder: dict[str, list[float]] = {}
    for name, error in source.items():
        if name.startswith("model.encoder.layers.") and name.endswith("weight"):
            encoder.setdefault(part_of(name, False), []).append(float(error))
    yield from ((part, _six_digits(sum(found) / len(found))) for part, found in encoder.items())


def _six_digits(value: float) -> float:
    return float(f"{value:.6g}")


def layer_cells(costs: Sequence[LayerCost], errors: LayerErrors | None, run: str = "decode") -> list[tuple[str, ...]]:
    """The rows for a person, their heading first; the column of errors is left out where none is known.

    run: the program whose cycles they are.
    """
    heading = ("part", "weights B", f"{run} cycles", "share")
    rows = [(c.name, f"{c.weight_bytes:,}", f"{c.cycles:,}", f"{100 * c.share:.1f}%") for c in costs]
    if all(c.rounding_error is None for c in costs):
        return [heading, *rows]
    of = errors.of if errors else "weights"
    lost = ["-" if c.rounding_error is None else f"{c.rounding_error:.2g}" for c in costs]
    return [(*heading, f"{of}' power lost"), *((*row, e) for row, e in zip(rows, lost, strict=True))]
