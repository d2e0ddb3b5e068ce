"""Neurons, heads and attentions: removing is zeroing, the smaller model everywhere the same."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edgec.compress.coupled import matrix, narrowed, without_attention
from edgec.compress.depth import Depth
from edgec.compress.folder import hf_config, write_folder
from edgec.compress.neurons import Neurons
from edgec.compress.rtn import quantize_matrix
from edgec.compress.smooth_keys import SmoothKeys
from edgec.compress.stage import Calibration, Work
from edgec.errors import RecipeError
from edgec.frontend.checkpoint import Checkpoint
from edgec.frontend.load import load_checkpoint
from edgec.recipe import Recipe
from edgec.verify.chain import verify
from tests import tiny_models
from tests.compress.neuron_cases import TOKENS, logits, with_branches, with_products, work_of, zeroed
from tests.tiny_models import checkpoint, config
from tests.traced_models import work_for

torch = pytest.importorskip("torch", reason="torch runs the calibration text")

from edgec.compress.coupled_scores import structure_scores  # noqa: E402


@pytest.fixture(scope="module")
def source() -> Checkpoint:
    return with_branches()


@pytest.fixture(scope="module")
def factored() -> Checkpoint:
    return with_products()


@pytest.mark.parametrize("kind", ["source", "factored"])
def test_removing_neurons_and_groups_is_zeroing_them(kind: str, request: pytest.FixtureRequest) -> None:
    source: Checkpoint = request.getfixturevalue(kind)
    rng = np.random.default_rng(0)
    neurons = {i: np.sort(rng.choice(52, 36, replace=False)) for i in range(4)}
    groups = {i: np.sort(rng.choice(3, 2, replace=False)) for i in range(4)}
    made = narrowed(source, neurons, groups)
    assert (made.config.ffn_dim, made.config.n_heads, made.config.n_kv_heads) == (36, 4, 2)
    gone = {matrix(i, "down"): np.setdiff1d(np.arange(52), kept) for i, kept in neurons.items()}
    gone |= {matrix(i, "o"): np.repeat(~np.isin(np.arange(3), kept), 16).nonzero()[0] for i, kept in groups.items()}
    wanted = logits(zeroed(source, gone))
    assert torch.allclose(logits(made), wanted, atol=2e-5)
    assert not torch.allclose(logits(source), wanted, atol=0.1)
    for i, kept in groups.items():
        centre = source.key_centres[f"model.layers.{i}.self_attn"].reshape(3, 8)[kept].reshape(-1)
        assert np.array_equal(made.key_centres[f"model.layers.{i}.self_attn"], centre)


def test_removing_an_attention_is_zeroing_o(source: Checkpoint) -> None:
    made = without_attention(source, [0, 2])
    gone = {matrix(i, "o"): np.arange(48) for i in (0, 2)}
    assert torch.allclose(logits(made), logits(zeroed(source, gone)), atol=2e-5)
    assert made.config.without_attention == (0, 2) and made.config.attention_layers == [1, 3]
    left = [*made.readers, *made.branches, *made.key_centres]
    assert not [n for n in left if n.startswith(("model.layers.0.self_attn", "model.layers.2.input_layernorm"))]
    assert {n for n in source.readers if "mlp" in n} <= set(made.readers)
    assert without_attention(made, [1]).config.without_attention == (0, 1, 2)


GEMMA: dict[str, Any] = {
    **{
        "activation": "gelu_tanh",
        "double_norms": True,
        "embed_scale": 6.0,
        "query_scale": 0.2,
        "tied_embeddings": True,
    },
    **{"windows": (9, 0, 9), "score_softcap": 2.0, "logit_softcap": 3.0},
}

FORMS: list[tuple[dict[str, Any], dict[str, Any]]] = [
    ({}, {"ffn": 0.3, "heads": 0.34, "metric": "magnitude", "remove_attention": (0, 2)}),
    ({"family": "qwen2"}, {"heads": 0.34, "metric": "magnitude", "remove_attention": (1,)}),
    ({"family": "qwen3", "tied_embeddings": True}, {"ffn": 0.5, "metric": "magnitude", "remove_attention": (0,)}),
    ({"family": "gemma2", **GEMMA}, {"ffn": 0.3, "heads": 0.34, "metric": "magnitude", "remove_attention": (0,)}),
    ({"hidden_dim": 32, "n_heads": 8, "n_kv_heads": 4}, {"heads": 0.25, "metric": "magnitude"}),  # 6 heads: not of 32
]


@pytest.mark.parametrize(("shape", "options"), FORMS)
def test_a_folder_gives_back_the_model_and_transformers_its_function(
    shape: dict[str, Any], options: dict[str, Any], tmp_path: Path
) -> None:
    from transformers import AutoModelForCausalLM

    made = config(n_layers=3, **{"n_heads": 6, "n_kv_heads": 3, **shape})
    model = checkpoint(made, biases=made.family == "qwen2", qk_norms=made.family == "qwen3")
    model = Neurons(**options).run(model, Work(lambda: model))
    model = model.with_packed({(q := matrix(1, "down")): quantize_matrix(model.tensor(q), 4, 16)[0]})
    write_folder(tmp_path / "m", model)
    again = load_checkpoint(str(tmp_path / "m"))
    assert again.config == model.config
    assert set(again.readers) == {
        n for n in model.readers if n in model.config.tensor_shapes() | model.config.optional_shapes()
    }
    for name in again.readers:  # gains of Gemma are stored less one
        assert np.allclose(again.tensor(name), model.tensor(name), atol=1e-7 if made.double_norms else 0), name
    theirs = AutoModelForCausalLM.from_pretrained(tmp_path / "m").float().eval()
    with torch.no_grad():
        found = theirs(torch.from_numpy(TOKENS)).logits
    assert torch.allclose(found, logits(model), atol=5e-5)
    (tmp_path / "m" / "edgec.json").unlink()  # what any other tool makes of it
    other = load_checkpoint(str(tmp_path / "m"))
    assert torch.allclose(logits(other), logits(model), atol=5e-5)


def test_heads_that_divide_need_no_idle_ones() -> None:
    model = checkpoint(config(hidden_dim=32, n_heads=8, n_kv_heads=4))
    for share, stored in ((0.25, 8), (0.5, 4)):
        made = Neurons(heads=share, metric="magnitude").run(model, Work(lambda: model))
        assert hf_config(made)["num_attention_heads"] == stored


def test_what_the_blocks_have_moves_with_them(source: Checkpoint) -> None:
    """Rows may leave a pattern's matrix, whole windows of columns too; depth and a second stage know bare blocks."""
    patterns = {matrix(1, "up"): (2, 4), matrix(2, "o"): (2, 4)}
    model = replace(source, patterns=patterns)
    made = Neurons(ffn=0.25, heads=0.34, metric="magnitude", remove_attention=(1,)).run(model, Work(lambda: model))
    assert made.patterns == patterns
    shorter = Depth(remove=(0,)).run(made, Work(lambda: model))
    assert shorter.config.without_attention == (0,) and shorter.config.n_layers == 3
    assert set(shorter.key_centres) == {"model.layers.1.self_attn", "model.layers.2.self_attn"}
    other = Depth(remove=(0,)).run(model, Work(lambda: model))
    options = Neurons(ffn=0.25, heads=0.34, metric="magnitude", remove_attention=(0,))
    assert torch.allclose(logits(shorter), logits(options.run(other, Work(lambda: model))), atol=2e-5)
    assert set(SmoothKeys().run(replace(made, branches={}), work_of(made, TOKENS)).key_centres) == {
        f"model.layers.{i}.self_attn" for i in (0, 2, 3)
    }


def test_a_killed_run_goes_on_to_the_same_bytes(source: Checkpoint, calibration: Calibration, tmp_path: Path) -> None:
    options = Neurons(ffn=0.25, heads=0.34, attention=2, metric="taylor", search=4, samples=4, length=16)
    whole_work = work_for(source, calibration)
    whole = options.run(source, whole_work)

    def kill(message: str, done: int, total: int) -> None:
        if "round 2" in message:
            raise KeyboardInterrupt

    killed = work_for(source, calibration, tmp_path)
    killed.say = kill
    with pytest.raises(KeyboardInterrupt):
        options.run(source, killed)
    said: list[str] = []
    work = work_for(source, calibration, tmp_path)
    work.say = lambda message, done, total: said.append(message)
    again = options.run(source, work)
    assert not any("gradients" in message or "round 1" in message for message in said)
    assert work.notes == whole_work.notes and again.config == whole.config
    for name in again.readers:
        assert again.tensor(name).tobytes() == whole.tensor(name).tobytes()


def test_products_are_cut_at_their_sides(factored: Checkpoint, calibration: Calibration) -> None:
    """gate and up by rows of factor_b, down by columns of factor_a; scored so, and counted without weights."""
    stage = Neurons(ffn=0.3, heads=0.34, metric="taylor", aggregate="vector", remove_attention=(2, 3))
    made = stage.run(factored, work_for(factored, calibration))
    assert set(made.factors) == {matrix(2, role) for role in ("up", "down")}
    up, down = (made.structure.parts(matrix(2, role)) for role in ("up", "down"))
    shapes = [made.tensor(name).shape for name in (*up, *down)]
    assert shapes == [(5, 36), (36, 5), (5, 36), (36, 5)]
    assert made.structure == stage.structure(factored.structure)
    scores = structure_scores(factored, "magnitude", "element", None, Work(lambda: factored))["neurons"][2]
    gate, b, a = (
        np.abs(factored.tensor(n))
        for n in (
            matrix(2, "gate"),
            factored.structure.parts(matrix(2, "up"))[1],
            factored.structure.parts(matrix(2, "down"))[0],
        )
    )
    assert scores == pytest.approx(gate.sum(1) + b.sum(1) + a.sum(0), rel=1e-5)
    with pytest.raises(RecipeError, match="attentions differ in rank"):
        Neurons(attention=1).structure(factored.structure)
    assert (
        len(Neurons(attention=1, search=2).run(factored, work_for(factored, calibration)).config.without_attention) == 1
    )


@pytest.mark.parametrize("seed", [0, 1])
def test_built_and_exact_on_the_host(seed: int, calibration: Calibration, tmp_path: Path, objects: Path) -> None:
    shape = config(n_layers=3, n_heads=6, n_kv_heads=3, hidden_dim=48, tied_embeddings=bool(seed), family="qwen2")
    stage = Neurons(
        ffn=0.25,
        heads=0.34,
        attention=1 if seed else 0,
        remove_attention=() if seed else (0, 2),
        metric="taylor" if seed else "activation",
        samples=4,
        search=4,
    )
    recipe = tiny_models.recipe(4, 32)
    made = Recipe(recipe.quantize, recipe.build, (stage,), calibration)
    artifact = tiny_models.built(checkpoint(shape, biases=True), tmp_path / "out", objects, made=made)
    facts = artifact.meta["model"]
    assert (facts["ffn_dim"], facts["n_heads"], facts["n_kv_heads"]) == (36, 4, 2)
    attending = 3 - len(facts["without_attention"])
    caches = [v for v in artifact.graphs["decode"].values if v.endswith(".k_cache")]
    assert len(caches) == attending == (2 if seed else 1)
    with tiny_models.quick(checkpoint(shape), objects):
        found = verify(artifact, ("simulator", "host"))["backends"]
    assert found["simulator"]["mismatches"] == found["host"]["mismatches"] == 0
