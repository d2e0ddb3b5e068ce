"""Encoders against transformers: random tiny models, the graph's float ideals, the same vectors.

Tolerance: the table of positions is of binary16 (2^-12 of an element); everything else is float32's own rounding.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tiny_encoders

from edgec.compress.rtn import quantize_model
from edgec.frontend.load import load_checkpoint
from edgec.lower.bert import TABLE
from edgec.lower.model import constants, lower
from edgec.recipe import Quantize
from edgec.simulate.reference import ReferenceRunner
from edgec.verify.quality import float_constants

CONTEXT = 40
MODELS: dict[str, dict[str, Any]] = {
    "erf": {},
    "tanh": {"hidden_act": "gelu_new"},
    "one head": {"num_attention_heads": 1},
    "eps": {"layer_norm_eps": 1e-5},
    "one layer": {"num_hidden_layers": 1},
    "first token": {"pooling": "cls_token"},
    "masked words": {"prefix": True},
    "no modules": {"modules": False},
}


def theirs(model: Any, tokens: list[int], pooling: str, unit: bool) -> np.ndarray[Any, Any]:
    """The vector that sentence-transformers makes of the model's last rows."""
    import torch

    with torch.no_grad():
        rows = model(torch.tensor([tokens])).last_hidden_state[0].double().numpy()
    vector = rows[0] if pooling == "cls_token" else rows.mean(0)
    return vector / np.linalg.norm(vector) if unit else vector


@pytest.mark.parametrize("name", MODELS)
def test_vectors(name: str, tmp_path: Path) -> None:
    options = MODELS[name]
    model = tiny_encoders.saved(tmp_path, **options)
    checkpoint = load_checkpoint(str(tmp_path))
    quantized = quantize_model(checkpoint, Quantize(bits=8))
    consts = constants(quantized, CONTEXT)
    exact = {TABLE: checkpoint.tensor("model.embed_positions.weight")[:CONTEXT]}
    for length in (1, 2, 7, 23, CONTEXT):
        tokens = [(37 * i + 11) % 97 for i in range(length)]
        want = theirs(model, tokens, options.get("pooling", "mean_tokens"), options.get("modules", True))
        top = np.abs(want).max()
        found = set()
        for rows in (1, 4, CONTEXT):
            graph = lower(quantized, dict(consts), "encode", rows, CONTEXT)
            floats = float_constants(checkpoint, graph, consts)
            vector = ReferenceRunner({"encode": graph}, floats, ideal=True).encode(tokens)
            assert np.abs(vector - want).max() / top < 1e-3
            vector = ReferenceRunner({"encode": graph}, floats | exact, ideal=True).encode(tokens)
            assert np.abs(vector - want).max() / top < 2e-5
            found.add(ReferenceRunner({"encode": graph}, consts).encode(tokens).tobytes())
        assert len(found) == 1, "the vector depends on how many rows a run has"
        quantised = np.frombuffer(found.pop(), np.float32).astype(np.float64)
        assert quantised @ want / np.linalg.norm(quantised) / np.linalg.norm(want) > 0.995
