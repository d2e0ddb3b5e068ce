"""BART against transformers: random tiny models, the graphs' float ideals, the same logits.

Tolerance: float32's own rounding, where the ideal's tables of positions are the checkpoint's; else binary16's.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tiny_seq2seq

from edgec.compress.rtn import quantize_model
from edgec.frontend.load import load_checkpoint
from edgec.frontend.seq2seq_config import ENCODER_POSITIONS, POSITIONS, Seq2SeqConfig
from edgec.lower.bart import DECODER_TABLE, ENCODER_TABLE
from edgec.lower.model import constants, lower
from edgec.passes.score_rows import score_rows
from edgec.recipe import Quantize
from edgec.simulate.reference import ReferenceRunner
from edgec.verify.quality import float_constants

CONTEXT = 40
MODELS: dict[str, dict[str, Any]] = {
    "base": {},
    "scaled embedding": {"scale_embedding": True},
    "tanh": {"activation_function": "gelu_new"},
    "unlike halves": {"encoder_layers": 1, "decoder_layers": 3, "encoder_attention_heads": 2},
    "deep encoder, one head": {"encoder_layers": 4, "decoder_layers": 1, "decoder_attention_heads": 1},
    "bias of logits": {"bias": True},
}


def _tokens(count: int, step: int) -> list[int]:
    return [(step * i + 11) % 97 for i in range(count)]


@pytest.mark.parametrize("name", MODELS)
def test_logits(name: str, tmp_path: Path) -> None:
    import torch

    model = tiny_seq2seq.saved(tmp_path, **MODELS[name])
    checkpoint = load_checkpoint(str(tmp_path))
    assert isinstance(checkpoint.config, Seq2SeqConfig)
    quantized = quantize_model(checkpoint, Quantize(bits=8))
    consts = constants(quantized, CONTEXT)
    exact = {ENCODER_TABLE: ENCODER_POSITIONS, DECODER_TABLE: POSITIONS}
    tables = {table: checkpoint.tensor(tensor)[:CONTEXT] for table, tensor in exact.items()}
    for source, written in ((1, 1), (2, 7), (23, 5), (CONTEXT, CONTEXT)):
        read, wrote = _tokens(source, 37), _tokens(written, 29)
        with torch.no_grad():
            want = model(input_ids=torch.tensor([read]), decoder_input_ids=torch.tensor([wrote])).logits[0].numpy()
        found = set()
        for rows in (1, 4, CONTEXT):
            graphs = {"encode": lower(quantized, dict(consts), "encode", rows, CONTEXT)}
            graphs["score"] = score_rows(lower(quantized, dict(consts), "prefill", rows, CONTEXT))
            floats = float_constants(checkpoint, graphs["score"], consts)
            floats |= float_constants(checkpoint, graphs["encode"], consts)
            for given, limit in ((floats | tables, 3e-6), (floats, 3e-3)):
                logits = _logits(ReferenceRunner(graphs, given, ideal=True), read, wrote)
                assert np.abs(logits - want).max() / np.abs(want).max() < limit
            logits = _logits(ReferenceRunner(graphs, consts), read, wrote)
            found.add(logits.tobytes())
        assert len(found) == 1, "logits depend on how many rows a run has"
        cosine = (logits * want).sum() / np.linalg.norm(logits) / np.linalg.norm(want)
        assert cosine > 0.99


def _logits(runner: ReferenceRunner, read: list[int], wrote: list[int]) -> np.ndarray[Any, Any]:
    """Logits of every position, written in runs as long as the graph's, behind another text's."""
    runner.encode(_tokens(CONTEXT, 5))
    runner.encode(read)
    rows = runner.graphs["score"].rows
    parts = [wrote[start : start + rows] for start in range(0, len(wrote), rows)]
    return np.concatenate([runner.values("score", part)["logits"] for part in parts])
