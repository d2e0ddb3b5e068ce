"""Neurons, heads and attentions: scores by definition, removing is zeroing, the smaller model everywhere the same."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edgec.compress.blocks import with_blocks
from edgec.compress.counts import dry_run
from edgec.compress.coupled import matrix, narrowed, without_attention
from edgec.compress.depth import Depth
from edgec.compress.folder import hf_config, write_folder
from edgec.compress.neurons import Neurons, highest
from edgec.compress.rtn import quantize_matrix, quantize_model
from edgec.compress.shapes import planned_model
from edgec.compress.sizes import size_of
from edgec.compress.skip import Skip
from edgec.compress.smooth_keys import SmoothKeys
from edgec.compress.stage import Calibration, Work
from edgec.compress.width import Width
from edgec.errors import ModelError, RecipeError
from edgec.frontend.checkpoint import Checkpoint, LowRank
from edgec.frontend.load import load_checkpoint
from edgec.frontend.structure import Structure
from edgec.ir.text import print_graph
from edgec.lower.llama import constants, lower
from edgec.recipe import Quantize, Recipe
from edgec.verify.chain import verify
from tests import tiny_models
from tests.tiny_models import checkpoint, config

torch = pytest.importorskip("torch", reason="torch runs the calibration text")

from edgec.compress.block_scores import first_order  # noqa: E402
from edgec.compress.coupled_scores import structure_scores  # noqa: E402
from edgec.compress.torch_model import load_torch  # noqa: E402

TOKENS = np.random.default_rng(5).integers(0, 97, (3, 20))


@pytest.fixture(scope="module")
def source() -> Checkpoint:
    """Three groups of two heads, 52 neurons, biases and key centres, a branch beside every matrix of block 1."""
    model = checkpoint(config(n_layers=4, family="qwen2", n_heads=6, n_kv_heads=3), biases=True)
    rng = np.random.default_rng(1)
    branches = {}
    for name in [n for n in model.matrix_names() if n.startswith("model.layers.1.")]:
        n, k = model.config.tensor_shapes()[name]
        branches[name] = LowRank(*(0.2 * rng.standard_normal(s).astype(np.float32) for s in ((3, k), (n, 3))))
    return SmoothKeys(power=0).run(replace(model, branches=branches), work_of(model, TOKENS))


@pytest.fixture(scope="module")
def factored(source: Checkpoint) -> Checkpoint:
    """The same with products in block 2, but for gate and o."""
    rng = np.random.default_rng(2)
    products = {}
    for role in ("q", "k", "v", "up", "down"):
        n, k = source.config.tensor_shapes()[matrix(2, role)]
        products[matrix(2, role)] = LowRank(
            *(0.4 * rng.standard_normal(s).astype(np.float32) for s in ((5, k), (n, 5)))
        )
    return source.with_factors(products)


def work_of(model: Checkpoint, tokens: np.ndarray) -> Work:
    """A stage's work on these tokens, whatever it asks for."""
    work = Work(lambda: model)
    work.tokens = lambda m, samples=None, length=None, at_most=False: tokens  # type: ignore[method-assign]
    return work


def work_for(model: Checkpoint, calibration: Calibration, partial: Path | None = None) -> Work:
    return Work(lambda: model, calibration, partial=partial)


def logits(model: Checkpoint, tokens: np.ndarray = TOKENS) -> torch.Tensor:
    with torch.no_grad():
        return load_torch(model)(torch.from_numpy(tokens))


def loss(model: Checkpoint, tokens: np.ndarray = TOKENS) -> float:
    predicted = logits(model, tokens)[:, :-1].flatten(0, 1)
    return float(torch.nn.functional.cross_entropy(predicted, torch.from_numpy(tokens)[:, 1:].flatten()))


def zeroed(model: Checkpoint, gone: dict[str, np.ndarray]) -> Checkpoint:
    """The model with columns of these matrices zero, in their branches too: what goes has no effect any more."""
    tensors, branches = {}, dict(model.branches)
    for matrix_name, columns in gone.items():
        name = model.structure.parts(matrix_name)[0]
        tensors[name] = model.tensor(name).copy()
        tensors[name][:, columns] = 0
        if name in branches:
            a = branches[name].a.copy()
            a[:, columns] = 0
            branches[name] = LowRank(a, branches[name].b)
    return model.with_tensors(tensors, branches=branches)


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


def hidden_of(model: Checkpoint, role: str, tokens: np.ndarray) -> list[np.ndarray]:
    """What goes into down or o of every block, [windows, tokens, k]."""
    module, found = load_torch(model), []
    for i in range(model.config.n_layers):
        module.linear(matrix(i, role)).register_forward_hook(lambda m, x, y: found.append(x[0].double().numpy()))
    with torch.no_grad():
        module(torch.from_numpy(tokens))
    return found


def test_activation_is_the_mean_norm_over_windows(source: Checkpoint, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("edgec.compress.coupled_scores.BATCH", 2)
    scores = structure_scores(source, "activation", "element", TOKENS, Work(lambda: source))
    for i, (h, a) in enumerate(zip(hidden_of(source, "down", TOKENS), hidden_of(source, "o", TOKENS), strict=True)):
        assert scores["neurons"][i] == pytest.approx(np.linalg.norm(h, axis=1).mean(0), rel=1e-4)
        heads = a.reshape(3, 20, 3, 16)  # windows, tokens, groups, 2 heads of 8
        assert scores["groups"][i] == pytest.approx(np.sqrt((heads**2).sum((1, 3))).mean(0), rel=1e-4)


@pytest.mark.parametrize("aggregate", ["element", "vector"])
def test_taylor_is_autograds(source: Checkpoint, aggregate: str) -> None:
    scores = structure_scores(source, "taylor", aggregate, TOKENS, Work(lambda: source))
    module, ids = load_torch(source).requires_grad_(True), torch.from_numpy(TOKENS)
    torch.nn.functional.cross_entropy(module(ids)[:, :-1].flatten(0, 1), ids[:, 1:].flatten()).backward()

    def change(layer: int, role: str) -> tuple[np.ndarray, np.ndarray]:
        m = module.linear(matrix(layer, role))
        bias = m.bias.detach() * m.bias.grad if m.bias is not None else torch.zeros(len(m.weight))
        return (m.weight.detach() * m.weight.grad).double().numpy(), bias.double().numpy()

    def size(*parts: np.ndarray) -> float:
        if aggregate == "element":
            return float(sum(np.abs(part).sum() for part in parts))
        return float(abs(sum(part.sum() for part in parts)))

    for layer in range(4):
        for j in (0, 1, 30, 51):
            wanted = sum(size(change(layer, r)[0][j], change(layer, r)[1][j : j + 1]) for r in ("gate", "up"))
            wanted += size(change(layer, "down")[0][:, j])
            assert scores["neurons"][layer][j] == pytest.approx(wanted, rel=1e-3, abs=1e-7)
        for g in range(3):
            wanted = size(change(layer, "o")[0][:, 16 * g : 16 * g + 16])
            for role, rows in (("q", slice(16 * g, 16 * g + 16)), ("k", slice(8 * g, 8 * g + 8))):
                wanted += size(*(part[rows] for part in change(layer, role)))
            wanted += size(*(part[8 * g : 8 * g + 8] for part in change(layer, "v")))
            assert scores["groups"][layer][g] == pytest.approx(wanted, rel=1e-3, abs=1e-7)


def test_the_first_order_change_is_what_removing_a_small_neuron_costs() -> None:
    """Its loss is -sum w dL/dw of down's column, and of up's row, as both are h dL/dh summed over tokens."""
    model = checkpoint(config(n_layers=2))
    name, j = matrix(1, "down"), 7
    small = model.tensor(name).copy()
    small[:, j] *= 0.05
    model = model.with_tensors({name: small})
    work = Work(lambda: model)
    changes = dict(first_order(load_torch(model), torch.from_numpy(TOKENS), [0, 1], 1, work, "gradients"))
    assert list(changes) == [1]
    of_down = float(changes[1][name][:, j].sum())
    assert float(changes[1][matrix(1, "up")][j].sum()) == pytest.approx(of_down, rel=1e-3)
    cost = loss(zeroed(model, {name: np.array([j])})) - loss(model)
    assert abs(cost) > 1e-4 and cost == pytest.approx(-of_down, rel=0.05)


def test_magnitude_is_the_sum_of_all_weights_that_go() -> None:
    model = checkpoint(config(n_layers=2, family="qwen2"), biases=True)
    scores = structure_scores(model, "magnitude", "element", None, Work(lambda: model))
    gate, up, down = (np.abs(model.tensor(matrix(1, role))) for role in ("gate", "up", "down"))
    assert scores["neurons"][1] == pytest.approx(gate.sum(1) + up.sum(1) + down.sum(0), rel=1e-5)
    q, k, v, o = (np.abs(model.tensor(matrix(0, role))) for role in "qkvo")
    wanted = [q[16 * g : 16 * g + 16].sum() + o[:, 16 * g : 16 * g + 16].sum() for g in range(2)]
    for g in range(2):
        wanted[g] += k[8 * g : 8 * g + 8].sum() + v[8 * g : 8 * g + 8].sum()
        for role, size in (("q", 16), ("k", 8), ("v", 8)):
            bias = np.abs(model.tensor(matrix(0, role).replace("weight", "bias")))
            wanted[g] += bias[size * g : size * g + size].sum()
    assert scores["groups"][0] == pytest.approx(wanted, rel=1e-5)


def test_the_highest_stay_in_their_order() -> None:
    assert highest(np.array([3.0, 1.0, 2.0, 1.0, 5.0]), 3).tolist() == [0, 2, 4]
    assert highest(np.array([1.0, 1.0, 1.0]), 2).tolist() == [1, 2]


@pytest.mark.parametrize("metric", ["activation", "taylor", "magnitude"])
def test_what_is_dead_goes_first(metric: str, calibration: Calibration) -> None:
    """Neurons and a group whose inputs and outputs are zero in a model: the smaller one computes the same."""
    model = checkpoint(config(n_layers=3, n_heads=6, n_kv_heads=3))
    rng = np.random.default_rng(2)
    tensors = {}
    for i in range(3):
        dead = rng.choice(52, 16, replace=False)
        for role in ("gate", "up", "down"):
            w = model.tensor(matrix(i, role)).copy()
            w[(slice(None), dead) if role == "down" else dead] = 0
            tensors[matrix(i, role)] = w
        for role, size in (("q", 16), ("k", 8), ("v", 8), ("o", 16)):
            w = model.tensor(matrix(i, role)).copy()
            part = (
                (slice(None), slice(16 * (i % 3), 16 * (i % 3) + 16))
                if role == "o"
                else slice(size * i, size * i + size)
            )
            w[part] = 0
            tensors[matrix(i, role)] = w
    model = model.with_tensors(tensors)
    work = work_for(model, calibration)
    made = Neurons(ffn=0.3, heads=0.34, metric=metric).run(model, work)
    assert (made.config.ffn_dim, made.config.n_kv_heads) == (36, 2)
    assert work.notes["groups"] == [[1, 2], [0, 2], [0, 1]]
    assert work.notes["lost"] == {"neurons": [0.0] * 3, "groups": [0.0] * 3}
    assert torch.allclose(logits(made), logits(model), atol=2e-5)


def test_attentions_go_one_by_one_by_the_loss_without(source: Checkpoint, calibration: Calibration) -> None:
    work = work_for(source, calibration)
    made = Neurons(attention=2, search=6, length=24).run(source, work)
    tokens = work_for(source, calibration).tokens(source, 6, 24)
    first, second = ({int(la): value for la, value in ranking} for ranking in work.notes["rankings"])
    assert first == {la: pytest.approx(loss(without_attention(source, [la]), tokens), rel=1e-5) for la in range(4)}
    gone = min(first, key=lambda la: first[la])
    assert second == {
        la: pytest.approx(loss(without_attention(source, [gone, la]), tokens), rel=1e-5)
        for la in range(4)
        if la != gone
    }
    assert work.notes["removed"] == [gone, min(second, key=lambda la: second[la])]
    assert made.config.without_attention == tuple(sorted(work.notes["removed"]))
    again = Neurons(attention=1, search=6, length=24).run(made, work_for(made, calibration))
    assert set(made.config.without_attention) < set(again.config.without_attention)


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


def test_sizes_are_known_without_weights(calibration: Calibration) -> None:
    source = checkpoint(config(n_layers=4, n_heads=6, n_kv_heads=3))
    for options in ({"ffn": 0.25}, {"heads": 0.34}, {"attention": 2}, {"ffn": 0.3, "attention": 1, "multiple": 12}):
        stages = (Neurons(**options), Width(pattern="1:4", metric="magnitude"))  # type: ignore[arg-type]
        model = source
        for stage, size in zip(stages, dry_run(source.config, Recipe(stages=stages))[1:], strict=True):
            model = stage.run(model, work_for(source, calibration))  # type: ignore[attr-defined]
            found = size_of(model)
            for key in ("parameters", "nonzero", "bytes", "block_bits_per_weight"):
                assert getattr(size, key) == found[key], (options, stage.method, key)
    assert Neurons(ffn=0.3, multiple=12).shape(source.config).ffn_dim == 36


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


def test_packed_matrices_leave_their_grid_unless_a_stage_made_it() -> None:
    model = checkpoint(config())
    grids = {matrix(0, role): quantize_matrix(model.tensor(matrix(0, role)), 4, 16)[0] for role in ("up", "q")}
    model = model.with_packed(grids)
    work = Work(lambda: model)
    made = Neurons(ffn=0.25, metric="magnitude").run(model, work)
    assert set(made.packed) == {matrix(0, "q")} and work.notes["dequantised"] == [matrix(0, "up")]
    by_stage = replace(model, stages=({"method": "quantize"},))
    with pytest.raises(RecipeError, match="put it before quantize"):
        Neurons(ffn=0.25, metric="magnitude").run(by_stage, Work(lambda: model))


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


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({}, "a share of ffn or heads"),
        ({"ffn": 1.0}, "a share below 1"),
        ({"heads": -0.1}, "a share below 1"),
        ({"attention": 1, "remove_attention": (1,)}, "either attention"),
        ({"remove_attention": (1, 1)}, "each block once"),
        ({"remove_attention": (-1,)}, "each block once"),
        ({"ffn": 0.1, "metric": "sum"}, "known: activation, taylor, magnitude"),
        ({"ffn": 0.1, "aggregate": "vector"}, 'for the metric "taylor"'),
        ({"ffn": 0.1, "metric": "taylor", "aggregate": "max"}, 'for the metric "taylor"'),
        ({"ffn": 0.1, "multiple": 0}, "at least 1"),
        ({"ffn": 0.1, "length": 1}, "windows of 2 tokens"),
    ],
)
def test_impossible_options_are_one_sentence(options: dict[str, Any], words: str) -> None:
    with pytest.raises(RecipeError, match=re.escape(words)) as caught:
        Neurons(**options)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"ffn": 0.95}, "leaves 0 of 52 neurons in multiples of 4"),
        ({"ffn": 0.1, "multiple": 252}, "leaves 0 of 52 neurons in multiples of 252"),
        ({"ffn": 0.001, "multiple": 1}, "leaves 52 of 52"),
        ({"heads": 0.1}, "leaves 2 of 2 groups of 2 heads"),
        ({"heads": 0.9}, "leaves 0 of 2 groups"),
        ({"attention": 2}, "attention of 2 of 2 blocks; 2 have one, and one must stay"),
        ({"remove_attention": (5,)}, "blocks [5] of 2 blocks"),
    ],
)
def test_what_cannot_go_is_one_sentence(options: dict[str, Any], words: str) -> None:
    with pytest.raises(RecipeError, match=re.escape(words)) as caught:
        Neurons(**options).shape(config())
    assert "\n" not in str(caught.value)


def test_patterns_that_would_break_are_refused_with_and_without_weights() -> None:
    model = checkpoint(config())
    for role, options in (("down", {"ffn": 0.25}), ("o", {"heads": 0.5})):
        stages = (Width(sparsity=0.5, metric="magnitude", roles=(role,)), Neurons(metric="magnitude", **options))
        with pytest.raises(RecipeError, match=f"{role}_proj.weight is pruned .* put neurons before"):
            dry_run(model.config, Recipe(stages=stages))
        with pytest.raises(RecipeError, match=f"{role}_proj.weight is pruned .* put neurons before"):
            stages[1].run(stages[0].run(model, Work(lambda: model)), Work(lambda: model))
    Neurons(heads=0.5).check_patterns(Structure(model.config), {matrix(0, "o"): (2, 4), matrix(0, "down"): (1, 4)})


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


def test_blocks_that_share_are_refused() -> None:
    model = with_blocks(checkpoint(config()), [0, 1, 1])
    for stage in (Neurons(ffn=0.25, metric="magnitude"), Neurons(remove_attention=(1,))):
        with pytest.raises(RecipeError, match="before the stage that shares them"):
            stage.structure(model.structure)
        with pytest.raises(RecipeError, match="before the stage that shares them"):
            stage.run(model, Work(lambda: model))


def test_depth_and_configurations_refuse_what_they_cannot_know() -> None:
    bare = replace(config(n_layers=4), without_attention=(1,))
    with pytest.raises(RecipeError, match="put it before neurons"):
        Depth(blocks=1, protect_first=0, protect_last=0).shape(bare)
    assert Depth(remove=(0, 1)).shape(bare).without_attention == ()
    for wrong in ((4,), (2, 1), (0, 1, 2, 3)):
        with pytest.raises(ModelError, match="cannot be those without attention"):
            replace(bare, without_attention=wrong)


@pytest.mark.parametrize("gone", [(0,), (0, 2, 3)])
def test_a_plan_without_weights_is_the_models(source: Checkpoint, gone: tuple[int, ...]) -> None:
    """The same constants and graph, layer 0 without attention, biases, key centres and a repeated block included."""
    options: dict[str, Any] = {"ffn": 0.25, "heads": 0.34, "metric": "magnitude", "remove_attention": gone}
    stages = (SmoothKeys(power=0), Neurons(**options), Skip(order=(0, 1, 1)))
    model = replace(source, branches={}, key_centres={})
    extras = [f"self_attn.{role}_proj.bias" for role in "qkv"]
    planned = planned_model(model.config, extras, Recipe(Quantize("rtn", 4, 16), stages=stages))
    for stage in stages:
        model = stage.run(model, work_of(model, TOKENS))  # type: ignore[attr-defined]
    made = quantize_model(model, Quantize("rtn", 4, 16))
    consts = [constants(each, 8) for each in (planned, made)]
    known, wanted = ({name: (a.shape, a.dtype) for name, a in each.items()} for each in consts)
    assert known == wanted
    graphs = [lower(each, c, "decode", 1, 8) for each, c in zip((planned, made), consts, strict=True)]
    assert print_graph(graphs[0]) == print_graph(graphs[1])
    assert sum(node.op == "attention" for node in graphs[0].nodes) == 2
    assert sum(node.op == "attention" for node in lower(made, consts[1], "decode", 1, 8, layers=1).nodes) == 1


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
