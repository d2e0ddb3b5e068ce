"""Stage folders: what is written is what is read, by edgec exactly and by transformers as weights."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edgec.compress.folder import write_folder
from edgec.compress.rtn import quantize_matrix
from edgec.errors import ModelError
from edgec.frontend.checkpoint import Checkpoint, LowRank
from edgec.frontend.huggingface_config import GPT_BIASES
from edgec.frontend.load import load_checkpoint
from edgec.frontend.model_config import ModelConfig
from tests.tiny_models import checkpoint, config

Q, UP = "model.layers.1.self_attn.q_proj.weight", "model.layers.0.mlp.up_proj.weight"


def compressed() -> Checkpoint:
    """A model with a packed matrix, one with a branch, one with both a pattern and a branch, and a history."""
    model = checkpoint(config(family="qwen2"), biases=True)
    rng = np.random.default_rng(3)

    def branch(name: str) -> LowRank:
        n, k = model.tensor(name).shape
        return LowRank(rng.normal(size=(3, k)).astype(np.float32), rng.normal(size=(n, 3)).astype(np.float32))

    model = model.with_packed({Q: quantize_matrix(model.tensor(Q), 4, 16)[0]})
    return model.with_tensors(
        {}, branches={Q: branch(Q), UP: branch(UP)}, patterns={UP: (2, 4)}, stages=({"method": "quantize", "bits": 4},)
    )


def test_what_is_read_is_what_was_written(tmp_path: Path) -> None:
    model = compressed()
    write_folder(tmp_path / "m", model)
    again = load_checkpoint(str(tmp_path / "m"))
    assert again.config == model.config
    assert again.stages == model.stages and again.patterns == model.patterns
    for name in [*model.config.tensor_shapes(), "model.layers.0.self_attn.q_proj.bias"]:
        assert np.array_equal(again.tensor(name), model.tensor(name)), name
    assert set(again.packed) == {Q} and set(again.branches) == {Q, UP}
    for part in ("packed", "scale", "zero", "minimum"):
        assert np.array_equal(getattr(again.packed[Q](), part), getattr(model.packed[Q](), part))
    assert again.packed[Q]().group_size == 16
    assert np.array_equal(again.branches[UP].b, model.branches[UP].b)
    assert again.tokenizer is not None and again.tokenizer.encode("the cat") == model.tokenizer.encode("the cat")  # type: ignore[union-attr]


def test_the_weights_file_holds_what_acts(tmp_path: Path) -> None:
    from safetensors.numpy import load_file

    model = compressed()
    write_folder(tmp_path / "m", model)
    weights = load_file(tmp_path / "m" / "model.safetensors")
    for name in (Q, UP):
        assert np.array_equal(weights[name], model.tensor(name) + model.branches[name].product())


GEMMA: dict[str, Any] = {
    **{"activation": "gelu_tanh", "double_norms": True, "embed_scale": 6.0, "query_scale": 0.25},
    **{"tied_embeddings": True, "n_layers": 3, "windows": (4, 0, 4)},
}
GPT: dict[str, Any] = {
    **{"activation": "gelu_tanh", "gated": False, "layer_norms": True, "learned_positions": True},
    **{"rope_inv_freq": (), "n_kv_heads": 4, "head_dim": 9, "tied_embeddings": True},
}
OTHERS: dict[str, dict[str, Any]] = {
    "phi3": {"family": "phi3", "windows": (5, 5)},
    "gemma2": {"family": "gemma2", **GEMMA, "score_softcap": 2.0, "logit_softcap": 3.0},
    "gpt2": {"family": "gpt2", **GPT},
    "gpt_neo": {"family": "gpt_neo", **GPT, "activation": "gelu", "query_scale": 1.0, "windows": (0, 5)},
    "gemma3": {"family": "gemma3_text", **GEMMA, "local_inv_freq": tuple(100.0 ** (-i / 4) for i in range(4))},
}


def full(made: ModelConfig) -> Checkpoint:
    """A model with all that its family has beside the usual tensors."""
    model = checkpoint(made, biases=made.family == "qwen2", qk_norms=made.family == "gemma3_text")
    ends = tuple(GPT_BIASES.get(made.family, ()))
    rng = np.random.default_rng(1)
    biases = {n: rng.normal(size=s).astype(np.float32) for n, s in made.optional_shapes().items() if n.endswith(ends)}
    return model.with_tensors(biases) if ends else model


@pytest.mark.parametrize("family", OTHERS)
def test_other_families_come_back(family: str, tmp_path: Path) -> None:
    """Fused matrices, windows, caps and gains below a half, whose stored form is rounded."""
    model = full(config(**OTHERS[family]))
    norm = "model.layers.0.input_layernorm.weight"
    model = model.with_tensors({norm: model.tensor(norm) * np.float32(0.1)})
    write_folder(tmp_path / "m", model)
    again = load_checkpoint(str(tmp_path / "m"))
    assert again.config == model.config and again.readers.keys() == model.readers.keys()
    for name in model.readers:
        assert np.array_equal(again.tensor(name), model.tensor(name)), name


@pytest.mark.parametrize(
    "changes", [{}, {"tied_embeddings": True}, {"family": "qwen2"}, {"family": "mistral"}, *OTHERS.values()]
)
def test_transformers_computes_the_same(tmp_path: Path, changes: dict[str, Any]) -> None:
    torch = pytest.importorskip("torch")
    from transformers import AutoModelForCausalLM

    from edgec.compress.torch_model import load_torch

    model = full(config(**changes))
    if not changes:
        model = model.with_tensors({}, branches={UP: compressed().branches[UP]})
    write_folder(tmp_path / "m", model)
    theirs = AutoModelForCausalLM.from_pretrained(tmp_path / "m").float().eval()
    tokens = torch.arange(40).reshape(2, 20) % 97
    with torch.no_grad():
        ours, want = load_torch(model)(tokens), theirs(tokens).logits
    assert torch.allclose(ours, want, rtol=1e-4, atol=1e-4 * float(want.abs().max()))
    assert not torch.allclose(ours, want.roll(1, dims=1), rtol=1e-2, atol=1e-2)


def test_a_folder_reports_its_damage_in_one_sentence(tmp_path: Path) -> None:
    write_folder(tmp_path / "m", compressed())
    record = json.loads((tmp_path / "m" / "edgec.json").read_text())
    del record["packed"][Q]["k"]
    (tmp_path / "m" / "edgec.json").write_text(json.dumps(record))
    with pytest.raises(ModelError, match="damaged"):
        load_checkpoint(str(tmp_path / "m"))
    write_folder(tmp_path / "m", compressed())
    (tmp_path / "m" / "edgec.safetensors").unlink()
    with pytest.raises(ModelError, match="damaged"):
        load_checkpoint(str(tmp_path / "m"))


def test_the_same_model_gives_the_same_bytes(tmp_path: Path) -> None:
    for name in ("a", "b"):
        write_folder(tmp_path / name, compressed())
    for file in sorted((tmp_path / "a").iterdir()):
        assert file.read_bytes() == (tmp_path / "b" / file.name).read_bytes(), file.name
