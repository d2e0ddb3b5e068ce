"""The float model of any checkpoint as the graphs of its kind: what encoders and models that read and write run on."""

from __future__ import annotations

from typing import Any

from edgec.compress.shapes import shapes_only
from edgec.frontend.checkpoint import Checkpoint
from edgec.lower.llama import tables
from edgec.lower.model import constants, lower, rows_by_program
from edgec.simulate.reference import ReferenceRunner

ROWS = 64  # tokens that a run takes at once; numbers do not depend on it


def floats_of(checkpoint: Checkpoint, context: int) -> dict[str, Any]:
    """Every constant in float32: products multiplied out, branches added, tables of a context's positions."""
    names = [*checkpoint.config.tensor_shapes(), *(n for n in checkpoint.config.optional_shapes() if n in checkpoint)]
    floats: dict[str, Any] = {name: checkpoint.effective(name) for name in names}
    return floats | tables(checkpoint.config, context, floats)


def float_programs(checkpoint: Checkpoint, context: int) -> ReferenceRunner:
    """All programs of a model over its float weights, greedy where it writes."""
    shapes = shapes_only(checkpoint)
    made = constants(shapes, context)
    rows_of = rows_by_program(checkpoint.config, min(ROWS, context))
    graphs = {name: lower(shapes, dict(made), name, rows, context) for name, rows in rows_of.items()}
    gains = {name: array for name, array in made.items() if name.endswith(".gain")}
    return ReferenceRunner(graphs, gains | floats_of(checkpoint, context), ideal=True)
