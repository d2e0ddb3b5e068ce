"""What a model is lowered by, and to which programs: the one place that knows kinds of models."""

from __future__ import annotations

from typing import Any

from numpy.typing import NDArray

from edgec.compress.quantized import QuantizedModel
from edgec.frontend.encoder_config import encodes
from edgec.frontend.model_config import ModelConfig
from edgec.frontend.seq2seq_config import seq2seq
from edgec.ir.graph import Graph
from edgec.lower import bart, bert, llama

Array = NDArray[Any]


def rows_by_program(config: ModelConfig, chunk: int) -> dict[str, int]:
    """The programs of a model and the most tokens of a run of each."""
    if encodes(config):
        return {"encode": chunk}
    return ({"encode": chunk} if seq2seq(config) else {}) | {"prefill": chunk, "decode": 1}


def constants(model: QuantizedModel, context: int) -> dict[str, Array]:
    """Every constant by name, for a cache of `context` positions."""
    return bert.constants(model, context) if encodes(model.config) else llama.constants(model, context)


def lower(
    model: QuantizedModel, consts: dict[str, Array], name: str, rows: int, context: int, layers: int | None = None
) -> Graph:
    """The graph of a program; layers: of the first so many blocks only."""
    kind = bert.lower if encodes(model.config) else bart.lower if seq2seq(model.config) else llama.lower
    return kind(model, consts, name, rows, context, layers)
