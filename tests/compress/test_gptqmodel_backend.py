"""GPTQModel as a quantiser: its folder taken over, its refusals before it starts, its failures in one sentence."""

from __future__ import annotations

import hashlib
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edgec.compress import gptqmodel_backend
from edgec.compress.gptqmodel_backend import Options, quantize
from edgec.compress.stage import Calibration, Work
from edgec.errors import EdgecError, RecipeError, ToolError
from edgec.frontend.checkpoint import Checkpoint, LowRank
from edgec.frontend.load import load_checkpoint
from edgec.verify.chain import verify
from tests.tiny_models import built, checkpoint, config, quick, recipe

STORIES = Path(__file__).resolve().parents[2].parent / "shared" / "data" / "models" / "stories260K" / "stories260K.bin"

needs_gptqmodel = pytest.mark.skipif(find_spec("gptqmodel") is None, reason="gptqmodel is not installed")


@pytest.fixture(autouse=True)
def one_thread(monkeypatch: pytest.MonkeyPatch) -> None:
    """The worker shares the machine with other tests."""
    monkeypatch.setenv("OMP_NUM_THREADS", "1")


@pytest.fixture
def work(calibration: Calibration) -> Work:
    return Work(original=lambda: checkpoint(config()), calibration=calibration)


def model(**changes: Any) -> Checkpoint:
    sizes = {"hidden_dim": 64, "ffn_dim": 128, "head_dim": 16, "n_kv_heads": 4}
    return checkpoint(config(**(sizes | changes)))


def error(source: Checkpoint, made: Checkpoint, inputs: np.ndarray[Any, Any]) -> float:
    """Relative error of the first gate projection behind its norm: AWQ moves scales between the two."""

    def outputs(m: Checkpoint) -> np.ndarray[Any, Any]:
        gain = m.tensor("model.layers.0.post_attention_layernorm.weight")
        return (inputs * gain) @ m.tensor("model.layers.0.mlp.gate_proj.weight").T

    want, have = outputs(source), outputs(made)
    return float(np.square(have - want).sum() / np.square(want).sum())


def loss(m: Checkpoint, tokens: np.ndarray[Any, Any]) -> float:
    """Mean loss of a token in nats."""
    import torch

    from edgec.compress.torch_model import load_torch

    batch = torch.from_numpy(tokens)
    with torch.no_grad():
        logits = load_torch(m)(batch)[:, :-1]
    return float(torch.nn.functional.cross_entropy(logits.flatten(0, 1), batch[:, 1:].flatten()))


@needs_gptqmodel
def test_gptq_is_taken_over_and_builds_exactly(work: Work, tmp_path: Path, objects: Path) -> None:
    source = model(hidden_dim=36, ffn_dim=72, head_dim=8, n_kv_heads=2)
    steps: list[tuple[int, int]] = []
    work.say = lambda text, done, total: steps.append((done, total))
    made = quantize(source, Options(group_size=32, symmetric=False, act_order=True), work)
    assert steps == [(0, 2), (1, 2), (2, 2)]
    assert work.notes["gptqmodel"]
    assert list(made.packed) == source.matrix_names()
    down = made.packed["model.layers.1.mlp.down_proj.weight"]()
    assert (down.bits, down.group_size, down.k, down.scale.shape) == (4, 32, 72, (36, 3))
    assert down.zero is not None and len(np.unique(down.zero)) > 2
    for name in source.readers:
        if name not in made.packed:
            assert np.array_equal(made.tensor(name), source.tensor(name)), name
    for name in made.packed:
        miss = float(np.square(made.tensor(name) - source.tensor(name)).sum() / np.square(source.tensor(name)).sum())
        assert 1e-4 < miss < 0.03, name

    artifact = built(made, tmp_path / "out", objects, made=recipe())
    name = "model.layers.1.mlp.down_proj.weight"
    assert artifact.meta["constants"][name]["sha256"] == hashlib.sha256(down.packed.tobytes()).hexdigest()
    with quick(made, objects):
        outcome = verify(artifact, ["host"])["backends"]["host"]
    assert outcome["tensors"] > 0 and outcome["mismatches"] == 0


@needs_gptqmodel
def test_awq_changes_the_norms_with_the_matrices(work: Work) -> None:
    source = model()
    up = "model.layers.0.mlp.up_proj.weight"
    pruned = source.tensor(up).copy()
    pruned[:, ::2] = 0
    source = source.with_tensors({up: pruned}, patterns={up: (1, 2)})
    made = quantize(source, Options("awq", group_size=32, symmetric=False), work)
    assert not made.tensor(up)[:, ::2].any()
    norm = "model.layers.0.post_attention_layernorm.weight"
    assert not np.allclose(made.tensor(norm), source.tensor(norm), rtol=1e-2)
    assert np.array_equal(made.tensor("model.embed_tokens.weight"), source.tensor("model.embed_tokens.weight"))
    inputs = np.random.default_rng(0).normal(size=(50, 64)).astype(np.float32)
    assert error(source, made, inputs) < 0.03
    assert error(source, source.with_packed({n: read() for n, read in made.packed.items()}), inputs) > 0.03


@needs_gptqmodel
@pytest.mark.skipif(not STORIES.is_file(), reason="the stories260K checkpoint is not beside the repository")
@pytest.mark.slow
def test_stories_keep_their_likelihood(tmp_path: Path) -> None:
    source = load_checkpoint(str(STORIES), str(STORIES.with_name("tok512.bin")))
    text = STORIES.parents[2] / "calibration" / "tinystories_sample.txt"
    work = Work(lambda: source, Calibration(str(text), samples=16, length=256))
    made = quantize(source, Options(bits=8, group_size=32), work)
    again = quantize(source, Options(bits=8, group_size=32), work)
    for name in made.packed:
        assert np.array_equal(made.packed[name]().packed, again.packed[name]().packed)
    tokens = work.tokens(source)[:4]
    plain, rounded = loss(source, tokens), loss(made, tokens)
    assert 0.5 < plain < 3 and abs(rounded - plain) < 0.003


IMPOSSIBLE: dict[str, tuple[dict[str, Any], str]] = {
    "method": ({"method": "qqq"}, "'qqq'"),
    "width": ({"bits": 5}, "2, 3, 4, 8 bits, not 5"),
    "awq width": ({"method": "awq", "bits": 8}, "4 bits, not 8"),
    "group": ({"group_size": 252}, "group_size of .* not 252"),
    "awq group": ({"method": "awq", "group_size": 256}, "not 256"),
    "damp": ({"damp_percent": 1.0}, "damp_percent is 1"),
}


@pytest.mark.parametrize("case", IMPOSSIBLE)
def test_options_that_gptqmodel_does_not_know(case: str) -> None:
    options, words = IMPOSSIBLE[case]
    with pytest.raises(RecipeError, match=words):
        Options(**options)


def test_order_of_inputs() -> None:
    assert Options().config()["act_group_aware"] and not Options().config()["desc_act"]
    assert not Options(group_size=0).config()["act_group_aware"]
    ordered = Options(act_order=True).config()
    assert ordered["desc_act"] and ordered["static_groups"] and not ordered["act_group_aware"]


@pytest.mark.parametrize(
    ("source", "options", "words"),
    [
        (model(ffn_dim=80), Options(bits=3, group_size=16), "gate_proj.*80 outputs.*32 and 32"),
        (model(ffn_dim=96), Options("awq", group_size=32), "gate_proj.*96 outputs.*64 and 32"),
        (replace(model(), patterns={"x": (2, 4)}), Options(), "pruned weights"),
        (replace(model(), branches={"x": LowRank(np.ones((1, 1)), np.ones((1, 1)))}), Options(), "branches"),
    ],
)
def test_models_that_gptqmodel_cannot_take(source: Checkpoint, options: Options, words: str, work: Work) -> None:
    with pytest.raises(RecipeError, match=words):
        quantize(source, options, work)


@needs_gptqmodel
@pytest.mark.parametrize(
    ("options", "words"),
    [(Options("awq", group_size=32), ".*80.*32"), (Options(bits=3, group_size=16), "IndexError.*80")],
)
def test_a_failure_is_one_sentence(options: Options, words: str, work: Work, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gptqmodel_backend, "_check_shapes", lambda *_: None)
    with pytest.raises(ToolError, match=rf"^GPTQModel failed: {words}[^\n]*\.$"):
        quantize(model(hidden_dim=80), options, work)


def test_without_gptqmodel(work: Work, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gptqmodel_backend, "find_spec", lambda name: None)
    with pytest.raises(EdgecError, match="not installed"):
        quantize(model(), Options(), work)
