"""A BERT-type encoder: sweeps over a text (`edgec/lower/encoder.py`), the last of which ends in one vector.

sweeps → pool → unit length
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgec.compress.quantized import QuantizedModel
from edgec.frontend.encoder_config import EncoderConfig
from edgec.ir.graph import Graph, TensorType
from edgec.ir.verify import verify_graph
from edgec.lower import llama
from edgec.lower.encoder import EncoderBuilder, EncoderShape

Array = NDArray[Any]
TABLE, UNIT = "positions.table", "unit.gain"
TINY = 1e-24  # beside the mean square of a vector: one of zeros stays one


def constants(model: QuantizedModel, context: int) -> dict[str, Array]:
    """Every constant by name: a decoder's kinds, the table of positions, and what gives a vector the length 1."""
    consts = llama.constants(model, context)
    config = model.config
    if isinstance(config, EncoderConfig) and config.normalize:
        consts[UNIT] = np.full(config.hidden_dim, config.hidden_dim**-0.5, np.float32)
    return consts


def lower(
    model: QuantizedModel, consts: dict[str, Array], name: str, rows: int, context: int, layers: int | None = None
) -> Graph:
    """The graph of one text of at most `context` tokens, `rows` at a time. layers: of the first so many only."""
    config = model.config
    assert isinstance(config, EncoderConfig)
    shape = EncoderShape("model.", "", TABLE, config.n_layers, config.n_heads, config.gelu)
    b = EncoderBuilder(Graph(name, rows), model, consts, shape)
    b.graph.outputs = [_vector(b, b.encoded(context, layers), config)]
    verify_graph(b.graph, "lowering")
    return b.graph


def _vector(b: EncoderBuilder, x: str, config: EncoderConfig) -> str:
    """The rows so far as one vector, of length 1 where the model wants that."""
    total = b.state("pool.sum", TensorType((1, config.hidden_dim), "f32"), "pool")
    pooled = "pooled" if config.normalize else "embedding"
    y = b.add("pool", pooled, {"x": x, "sum": total}, {"mode": config.pooling}, "pool")["y"]
    if not config.normalize:
        return y
    # x / sqrt(mean square) is sqrt(k) long.
    return b.add("rmsnorm", "embedding", {"x": y, "gain": b.const(UNIT)}, {"eps": TINY}, "unit")["y"]
