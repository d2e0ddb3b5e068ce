"""Stages on families beside LLaMA: they run, and transformers computes what edgec does from the folder they leave."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edgec.compress.depth import Depth
from edgec.compress.folder import write_folder
from edgec.compress.neurons import Neurons
from edgec.compress.quantize import QuantizeBlocks
from edgec.compress.smooth_keys import SmoothKeys
from edgec.compress.stage import Work
from edgec.compress.width import Width
from edgec.errors import RecipeError
from edgec.frontend.checkpoint import Checkpoint
from edgec.frontend.load import load_checkpoint
from tests.compress.test_folder import GEMMA, GPT, full
from tests.tiny_models import config

torch = pytest.importorskip("torch")

TOKENS = np.random.default_rng(2).integers(0, 97, (4, 24))
HEADS = {"n_heads": 6, "n_kv_heads": 6, "head_dim": 6}
FAMILIES: dict[str, dict[str, Any]] = {
    "phi3": {"family": "phi3", "windows": (5, 5, 5), "n_layers": 3},
    "gemma2": {"family": "gemma2", **GEMMA, "score_softcap": 2.0, "logit_softcap": 3.0},
    "gemma3": {"family": "gemma3_text", **GEMMA, "local_inv_freq": tuple(100.0 ** (-i / 4) for i in range(4))},
    "gpt2": {"family": "gpt2", **GPT, **HEADS, "n_layers": 3},
    "gpt_neo": {"family": "gpt_neo", **GPT, **HEADS, "query_scale": 1.0, "windows": (0, 5, 5), "n_layers": 3},
}


def compressed(family: str) -> Checkpoint:
    """A block, neurons and weights less, keys evened out, matrices on a grid."""
    model = full(config(**FAMILIES[family]))
    stages = (
        Depth(remove=(1,)),
        Neurons(ffn=0.2, metric="magnitude"),
        SmoothKeys(samples=2),
        Width(pattern="2:4", metric="magnitude"),
        QuantizeBlocks(bits=6, group_size=16, rounds=1),
    )
    for stage in stages:
        work = Work(original=lambda original=model: original, before_quantize=model)  # type: ignore[misc]
        work.tokens = lambda *_, **__: TOKENS  # type: ignore[method-assign]
        want = stage.shape(model.config)
        model = stage.run(model, work)  # type: ignore[attr-defined]
        assert model.config == want
    return model


@pytest.mark.parametrize("family", FAMILIES)
def test_a_chain_of_stages(family: str, tmp_path: Path) -> None:
    from transformers import AutoModelForCausalLM

    from edgec.compress.torch_model import load_torch

    model = compressed(family)
    assert model.config.n_layers == 2 and len(model.packed) == len(model.matrix_names())
    assert model.config.windows == tuple(w for i, w in enumerate(FAMILIES[family].get("windows", ())) if i != 1)
    write_folder(tmp_path / "m", model)
    tokens = torch.from_numpy(TOKENS)
    with torch.no_grad():
        ours = load_torch(model)(tokens)
        theirs = AutoModelForCausalLM.from_pretrained(tmp_path / "m").float().eval()(tokens).logits
        again = load_torch(load_checkpoint(str(tmp_path / "m")))(tokens)
    scale = float(ours.abs().max())
    assert (ours - theirs).abs().max() < 1e-5 * scale and torch.equal(ours, again)


def test_heads_of_odd_size_have_no_pairs_of_channels() -> None:
    made = config(**{**FAMILIES["gpt2"], "n_heads": 4, "n_kv_heads": 4, "head_dim": 9})
    with pytest.raises(RecipeError, match="9"):
        SmoothKeys().shape(made)


def test_heads_of_gpt2_that_go_are_idle_for_other_frameworks(tmp_path: Path) -> None:
    """They derive a head's size from the number of heads."""
    from transformers import AutoModelForCausalLM

    from edgec.compress.torch_model import load_torch

    model = full(config(**FAMILIES["gpt2"]))
    work = Work(original=lambda: model)
    model = Neurons(heads=0.5, metric="magnitude").run(model, work)
    assert (model.config.n_heads, model.config.head_dim) == (3, 6)
    write_folder(tmp_path / "m", model)
    again = load_checkpoint(str(tmp_path / "m"))
    assert again.config == model.config
    tokens = torch.from_numpy(TOKENS)
    with torch.no_grad():
        ours = load_torch(again)(tokens)
        theirs = AutoModelForCausalLM.from_pretrained(tmp_path / "m").float().eval()(tokens).logits
    assert (ours - theirs).abs().max() < 1e-5 * float(ours.abs().max())
