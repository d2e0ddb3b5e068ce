"""The graphs of a model's programs, ready to be planned: lowered, and fused."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgec.compress.quantized import QuantizedModel
from edgec.frontend.encoder_config import encodes
from edgec.ir.graph import Graph
from edgec.lower.model import constants, lower, rows_by_program
from edgec.memory.choices import ALL, Choices
from edgec.passes.fuse import fuse
from edgec.passes.join_projections import join_projections
from edgec.passes.to_neureka import to_neureka
from edgec.passes.unused_outputs import unused_outputs
from edgec.target import Target

Consts = Mapping[str, NDArray[Any]]


def ready(
    model: QuantizedModel, target: Target | None = None, context: int = 1, choices: Choices = ALL
) -> QuantizedModel:
    """The model in the form in which it is lowered for a target, with a cache of `context` positions.

    Matrices of a decoder that read the same input are joined; those that an accelerator multiplies faster are encoded
    for it.
    """
    joined = join_projections(model) if choices.join and not encodes(model.config) else model
    return to_neureka(joined, target, context) if target is not None and choices.accelerator else joined


def programs(
    model: QuantizedModel,
    consts: Consts,
    rows_of: Mapping[str, int],
    context: int,
    target: Target,
    choices: Choices = ALL,
    layers: int | None = None,
) -> dict[str, Graph]:
    """Graphs for a target by name, of at most so many rows each; of the constants only shapes and types matter.

    model: as `ready` gives it for the target; layers: of the first so many blocks only.
    """
    lowered = {name: lower(model, dict(consts), name, rows, context, layers) for name, rows in rows_of.items()}
    fused = (fuse(graph, target, lambda which: bool(getattr(choices, which))) for graph in lowered.values())
    return dict(zip(lowered, map(unused_outputs, fused), strict=True))


def on_shapes(
    model: QuantizedModel, rows_of: Mapping[str, int], target: Target
) -> Callable[[int, int], dict[str, Graph]]:
    """programs() by (context, layers) for any context, its tables by position being shapes alone."""
    consts = constants(model, 1)
    tables = {name: array for name, array in consts.items() if name.endswith(".table")}

    def make(context: int, layers: int) -> dict[str, Graph]:
        shaped = consts | {name: np.broadcast_to(t[:1], (context, t.shape[1])) for name, t in tables.items()}
        return programs(model, shaped, rows_of, context, target, ALL, layers)

    return make


def of_any_length(
    model: QuantizedModel, target: Target, chunk: int | None = None
) -> Callable[[int, int], dict[str, Graph]]:
    """on_shapes() of what must fit for a model to run: prefill only if its rows are fixed, else fewer will do."""
    rows_of = rows_by_program(model.config, chunk or 1)
    if chunk is None:
        rows_of.pop("prefill", None)
    return on_shapes(model, rows_of, target)
