"""The svd stage: every basis on its own statistics, ranks by each rule, shared and packed matrices, resuming."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edgec.compress.folder import write_folder
from edgec.compress.low_rank import asvd, drone, fisher, plain, whitened
from edgec.compress.ranks import break_even, rank_of_energy, rank_of_ratio
from edgec.compress.rtn import quantize_matrix
from edgec.compress.stage import Calibration, Work
from edgec.compress.svd import Svd
from edgec.errors import RecipeError
from edgec.frontend.checkpoint import Checkpoint, LowRank
from edgec.frontend.load import load_checkpoint
from edgec.frontend.structure import factor_names
from tests.tiny_models import checkpoint, config

torch = pytest.importorskip("torch", reason="torch runs the calibration text")

from edgec.compress.torch_model import load_torch  # noqa: E402

SHAPE: dict[str, Any] = {"hidden_dim": 32, "n_heads": 4, "head_dim": 8, "ffn_dim": 64, "n_layers": 3}
Q0 = "model.layers.0.self_attn.q_proj.weight"
DOWN = "model.layers.1.mlp.down_proj.weight"


@pytest.fixture(scope="module")
def source() -> Checkpoint:
    return checkpoint(config(**SHAPE))


def work_for(model: Checkpoint, calibration: Calibration | None = None, partial: Path | None = None) -> Work:
    return Work(lambda: model, calibration or Calibration(), partial=partial)


def product(model: Checkpoint, name: str) -> np.ndarray:
    a, b = (model.tensor(part) for part in factor_names(name))
    return b.astype(np.float64) @ a


def inputs_of(model: Checkpoint, tokens: np.ndarray) -> dict[str, np.ndarray]:
    """Inputs [windows, length, k] of every matrix when the whole model runs."""
    module, found = load_torch(model), {}
    for name, matrix in module.matrices():
        matrix.register_forward_hook(lambda m, x, y, name=name: found.update({name: x[0].double().numpy()}))
    with torch.no_grad():
        module(torch.from_numpy(tokens))
    return found


def gradients_of(model: Checkpoint, tokens: np.ndarray, name: str) -> tuple[np.ndarray, np.ndarray]:
    """By autograd on the whole model: dL/dW of each window [windows, n, k], L its mean loss, and dL/dy of the summed
    loss at the outputs [windows, length, n]."""
    module = load_torch(model)
    weight = module.linear(name).weight.requires_grad_(True)
    kept: list[Any] = []
    module.linear(name).register_forward_hook(lambda m, x, y: (y.retain_grad(), kept.append(y))[0])
    weights, outputs = [], []
    for window in torch.from_numpy(tokens).split(1):
        logits = module(window)[0, :-1]
        loss = torch.nn.functional.cross_entropy(logits, window[0, 1:], reduction="sum")
        weight.grad = None
        loss.backward()
        weights.append(weight.grad.double().numpy() / (window.shape[1] - 1))
        outputs.append(kept[-1].grad[0].double().numpy())
    return np.stack(weights), np.stack(outputs)


@pytest.mark.parametrize("rank", [1, 5, 12])
def test_plain_is_the_truncated_svd_and_needs_no_text(source: Checkpoint, rank: int) -> None:
    work = work_for(source)
    made = Svd(rank=rank, basis="plain").run(source, work)
    for name in source.matrix_names():
        w = source.tensor(name).astype(np.float64)
        sizes = np.linalg.svd(w, compute_uv=False)
        if rank > break_even(*w.shape):
            assert name not in made.factors and np.array_equal(made.tensor(name), source.tensor(name))
            assert name in work.notes["dense"]
            continue
        a, b = (made.tensor(part) for part in factor_names(name))
        assert a.shape == (rank, w.shape[1]) and b.shape == (w.shape[0], rank) and a.dtype == b.dtype == np.float32
        lost = float(((w - product(made, name)) ** 2).sum())
        assert lost == pytest.approx(float((sizes[rank:] ** 2).sum()), rel=1e-4)
        assert work.notes["relative_error"][name] == pytest.approx((lost / (sizes**2).sum()) ** 0.5, rel=1e-3)
        assert work.notes["energy_kept"][name] == pytest.approx(1 - lost / (sizes**2).sum(), rel=1e-4)
    for name in source.config.tensor_shapes():
        if name not in source.matrix_names():
            assert np.array_equal(made.tensor(name), source.tensor(name)), name


@pytest.mark.parametrize("basis", ["asvd", "whitened", "drone", "fisher"])
@pytest.mark.parametrize("guided", [False, True])
def test_each_basis_is_fed_its_own_statistics(
    source: Checkpoint, calibration: Calibration, basis: str, guided: bool
) -> None:
    work = work_for(source, calibration)
    options = Svd(rank=6, basis=basis, guided=guided, damp=0.02, alpha=0.7)
    made = options.run(source, work)
    tokens = work.tokens(source, 64, at_most=True)
    assert work.notes["samples"] == len(tokens) > 12
    inputs = inputs_of(source, tokens)
    for name in (Q0, DOWN):
        w, x = source.tensor(name), inputs[name]
        by_weight, by_output = gradients_of(source, tokens, name)
        trust = (by_output**2).mean(-1, keepdims=True) if guided else 1.0
        flat, moment = x.reshape(-1, x.shape[-1]), np.einsum("wti,wtj->ij", x, x * trust)
        wanted = {
            "asvd": lambda: asvd(w, np.abs(flat).mean(0), 0.7, 6),  # noqa: B023
            "whitened": lambda: whitened(w, moment, 0.02, 6),  # noqa: B023
            "drone": lambda: drone(w, moment, 6),  # noqa: B023
            "fisher": lambda: fisher(w, None, (by_weight**2).mean(0).sum(0), 6),  # noqa: B023
        }[basis]().of_rank(6)
        assert np.allclose(product(made, name), wanted.product(), atol=2e-3 * np.abs(wanted.product()).max()), name
    assert not np.allclose(product(made, Q0), plain(source.tensor(Q0), 6).of_rank(6).product(), atol=1e-3)


def test_fisher_sides(source: Checkpoint, calibration: Calibration) -> None:
    tokens = work_for(source, calibration).tokens(source, 64, at_most=True)
    square = (gradients_of(source, tokens, DOWN)[0] ** 2).mean(0)
    w = source.tensor(DOWN)
    for side, rows, columns in (("outputs", square.sum(1), None), ("both", square.sum(1), square.sum(0))):
        made = Svd(rank=6, basis="fisher", side=side, roles=("down",)).run(source, work_for(source, calibration))
        wanted = fisher(w, rows, columns, 6).of_rank(6).product()
        assert np.allclose(product(made, DOWN), wanted, atol=2e-3 * np.abs(wanted).max())


def test_data_aware_factors_come_nearer_to_the_models_outputs(source: Checkpoint, calibration: Calibration) -> None:
    tokens = work_for(source, calibration).tokens(source, 64, at_most=True)
    inputs = inputs_of(source, tokens)
    missed = {}
    for basis in ("plain", "asvd", "whitened", "drone"):
        made = Svd(rank=8, basis=basis, guided=False, damp=0.0).run(source, work_for(source, calibration))
        missed[basis] = sum(
            float((((source.tensor(n) - product(made, n)) @ inputs[n].reshape(-1, inputs[n].shape[-1]).T) ** 2).sum())
            for n in made.factors
        )
    assert missed["whitened"] == pytest.approx(missed["drone"], rel=1e-3)
    assert missed["whitened"] < missed["asvd"] < missed["plain"]


def test_ranks_by_ratio_energy_and_multiples(source: Checkpoint) -> None:
    shapes = source.config.tensor_shapes()
    work = work_for(source)
    Svd(ratio=0.6, basis="plain").run(source, work)
    assert work.notes["ranks"] == {n: rank_of_ratio(*shapes[n], 0.6) for n in source.matrix_names()}
    work = work_for(source)
    Svd(ratio=0.6, basis="plain", multiple=4).run(source, work)
    assert {rank % 4 for rank in work.notes["ranks"].values()} == {0}
    work = work_for(source)
    made = Svd(energy=0.88, basis="plain").run(source, work)
    for name in source.matrix_names():
        sizes = np.linalg.svd(source.tensor(name).astype(np.float64), compute_uv=False)
        rank = rank_of_energy(sizes, 0.88)
        if rank > break_even(*shapes[name]):
            assert name in work.notes["dense"] and name not in made.factors
        else:
            assert made.factors[name] == rank and work.notes["energy_kept"][name] >= 0.88
    assert work.notes["dense"] and work.notes["ranks"]  # the tiny model has both kinds


def spread(source: Checkpoint) -> Checkpoint:
    """q and k nearly of rank 4, the others as they are: what a budget should find out."""
    made = {}
    for name in source.matrix_names():
        if name.endswith(("q_proj.weight", "k_proj.weight")):
            w = source.tensor(name)
            made[name] = (plain(w, 4).of_rank(4).product() + 0.02 * w).astype(np.float32)
    return source.with_tensors(made)


@pytest.mark.parametrize("sensitivity", ["gradient", "measured", "none"])
@pytest.mark.parametrize("basis", ["plain", "whitened"])
def test_a_budget_is_kept_and_spent_where_it_matters(
    source: Checkpoint, calibration: Calibration, sensitivity: str, basis: str
) -> None:
    model = spread(source)
    work = work_for(model, calibration)
    made = Svd(budget=0.7, basis=basis, sensitivity=sensitivity).run(model, work)
    shapes = model.config.tensor_shapes()
    dense = sum(int(np.prod(shapes[name])) for name in model.matrix_names())
    stored = sum(int(np.prod(made.tensor(name).shape)) for name in made.stored_matrices())
    figures = work.notes["budget"]
    assert figures["dense_parameters"] == dense and figures["parameters"] == stored
    assert 0.66 * dense < stored <= 0.7 * dense
    assert 0 <= figures["least_possible"] <= figures["estimated_loss"]
    assert figures["estimated_loss"] <= 1.1 * figures["least_possible"] + 1e-9
    ranks = work.notes["ranks"]
    low = [rank for name, rank in ranks.items() if name.endswith(("q_proj.weight", "k_proj.weight"))]
    if sensitivity != "measured":  # what a random model predicts of a random text tells little of its matrices
        assert len(low) == 6 and max(low) <= 6
    assert work.notes["dense"]


def test_the_gradient_estimate_is_the_losses_second_order(source: Checkpoint, calibration: Calibration) -> None:
    """1/2 sum_t mean_n (dL/dy_tn)^2 |W x_t|^2 over tokens, from gradients of the whole model."""
    from edgec.compress.factor_blocks import factor_blocks
    from edgec.compress.low_rank import Fit

    model = checkpoint(config(**SHAPE), biases=True)
    work = work_for(model, calibration)
    tokens = work.tokens(model, 64, at_most=True)
    found = factor_blocks(model, {Q0: [Q0], DOWN: [DOWN]}, {Q0: 4, DOWN: 4}, Fit("plain", removal=True), tokens, work)[
        1
    ]
    inputs = inputs_of(model, tokens)
    for name in (Q0, DOWN):
        outputs = inputs[name] @ model.tensor(name).T
        trust = (gradients_of(model, tokens, name)[1] ** 2).mean(-1)
        assert found[name] == pytest.approx(0.5 * float((trust * (outputs**2).sum(-1)).sum()) / tokens.size, rel=1e-3)


def test_a_measured_loss_is_the_models_own(source: Checkpoint, calibration: Calibration) -> None:
    from edgec.compress.sensitivity import loss_of_probe

    work = work_for(source, calibration)
    tokens = work.tokens(source, 4, at_most=True)
    probes = {name: plain(source.tensor(name), 3).of_rank(3) for name in (Q0, DOWN)}
    found = loss_of_probe(source, tokens, {name: [name] for name in probes}, probes, work)

    def loss(model: Checkpoint) -> float:
        with torch.no_grad():
            logits = load_torch(model)(torch.from_numpy(tokens))[:, :-1].flatten(0, 1)
        return float(torch.nn.functional.cross_entropy(logits, torch.from_numpy(tokens)[:, 1:].flatten()))

    for name, probe in probes.items():
        rise = loss(source.with_tensors({name: probe.product()})) - loss(source)
        assert found[name] == pytest.approx(rise, abs=1e-5)
        assert abs(rise) > 1e-4


def test_roles_and_blocks(source: Checkpoint) -> None:
    made = Svd(rank=4, basis="plain", roles=("q", "down"), blocks=("0:1", "2:3")).run(source, work_for(source))
    wanted = [f"model.layers.{i}.{r}_proj.weight" for i in (0, 2) for r in ("self_attn.q", "mlp.down")]
    assert list(made.factors) == wanted


def test_biases_stay_and_packed_pruned_and_branched_matrices_become_float_factors() -> None:
    model = checkpoint(config(**SHAPE), biases=True)
    w = model.tensor(Q0)
    pruned = np.where(np.arange(32) % 2, w, np.float32(0))
    model = model.with_tensors({Q0: pruned}, patterns={Q0: (1, 2)})
    model = model.with_packed({DOWN: quantize_matrix(model.tensor(DOWN), 4, 16)[0]})
    gate = "model.layers.1.mlp.gate_proj.weight"
    rng = np.random.default_rng(0)
    branch = LowRank(*(rng.standard_normal(s).astype(np.float32) for s in ((2, 32), (64, 2))))
    model = replace(model, branches={gate: branch})
    made = Svd(rank=6, basis="plain").run(model, work_for(model))
    assert not made.patterns and not made.packed and not made.branches
    for name in (Q0, DOWN, gate):
        exact = plain(model.effective(name), 6).of_rank(6).product()
        assert np.allclose(product(made, name), exact, atol=1e-5)
    bias = Q0.replace("weight", "bias")
    assert np.array_equal(made.tensor(bias), model.tensor(bias))


def test_a_shared_matrix_becomes_shared_factors_for_all_its_inputs(
    source: Checkpoint, calibration: Calibration
) -> None:
    names = [f"model.layers.{i}.mlp.down_proj.weight" for i in range(3)]
    model = source.with_shared({names[1]: names[0], names[2]: names[0]})
    work = work_for(model, calibration)
    made = Svd(rank=6, roles=("down",), blocks=("1:2",), guided=False).run(model, work)
    assert set(made.factors) == set(names)
    inputs = inputs_of(model, work.tokens(model, 64, at_most=True))
    x = np.concatenate([inputs[name].reshape(-1, 64) for name in names])
    wanted = whitened(model.tensor(names[0]), x.T @ x, 0.01, 6).of_rank(6).product()
    for name in names:
        assert np.allclose(product(made, name), wanted, atol=2e-3 * np.abs(wanted).max())
    assert {made.owner(factor_names(name)[0]) for name in names} == {factor_names(names[0])[0]}
    fisher_made = Svd(rank=6, roles=("down",), basis="fisher").run(model, work_for(model, calibration))
    together = sum(gradients_of_each(model, work.tokens(model, 64, at_most=True), names))
    columns = (together**2).mean(0).sum(0)
    wanted = fisher(model.tensor(names[0]), None, columns, 6).of_rank(6).product()
    assert np.allclose(product(fisher_made, names[2]), wanted, atol=2e-3 * np.abs(wanted).max())


def gradients_of_each(model: Checkpoint, tokens: np.ndarray, names: list[str]) -> list[np.ndarray]:
    """The gradient of every use of a shared matrix, from a model in which each has a copy."""
    copies = model.with_tensors({name: model.tensor(name) for name in names[1:]})
    return [gradients_of(copies, tokens, name)[0] for name in names]


def test_what_is_a_product_already_stays(source: Checkpoint) -> None:
    once = Svd(rank=6, basis="plain", roles=("q",)).run(source, work_for(source))
    twice = Svd(rank=4, basis="plain").run(once, work_for(once))
    assert twice.factors[Q0] == 6 and twice.factors[DOWN] == 4
    assert np.array_equal(product(twice, Q0), product(once, Q0))
    with pytest.raises(RecipeError, match="products already"):
        Svd(rank=4, basis="plain", roles=("q",)).run(once, work_for(once))


def test_the_structure_is_known_without_weights(source: Checkpoint) -> None:
    for options in ({"rank": 7}, {"ratio": 0.5}, {"rank": 13}, {"ratio": 0.5, "roles": ("k", "up"), "multiple": 4}):
        stage = Svd(basis="plain", **options)  # type: ignore[arg-type]
        assert stage.structure(source.structure) == stage.run(source, work_for(source)).structure
        assert stage.shape(source.config) == source.config
    for rule in ("energy", "budget"):
        with pytest.raises(RecipeError, match=f"svd.{rule} gives ranks that depend on the weights; give rank or ratio"):
            Svd(**{rule: 0.5}).structure(source.structure)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "options", [{"budget": 0.6}, {"ratio": 0.5, "basis": "fisher"}, {"ratio": 0.5, "basis": "asvd"}]
)
def test_same_data_same_bytes_and_a_killed_run_goes_on(
    source: Checkpoint, calibration: Calibration, tmp_path: Path, options: dict[str, Any]
) -> None:
    shared = {"model.layers.2.mlp.up_proj.weight": "model.layers.0.mlp.up_proj.weight"}
    source = source.with_shared(shared)  # its statistics reach over the block at which the run is killed
    whole = Svd(**options).run(source, work_for(source, calibration))

    def kill(message: str, done: int, total: int) -> None:
        if message == "blocks" and done == 2:
            raise KeyboardInterrupt

    killed = work_for(source, calibration, tmp_path)
    killed.say = kill
    with pytest.raises(KeyboardInterrupt):
        Svd(**options).run(source, killed)
    kept = [tmp_path / f"block{layer}.npz" for layer in range(2)]
    stamps = [path.stat().st_mtime_ns for path in kept]
    again = Svd(**options).run(source, work_for(source, calibration, tmp_path))
    assert stamps == [path.stat().st_mtime_ns for path in kept]
    assert whole.factors == again.factors and whole.shared == again.shared
    for name in whole.stored_tensors():
        assert whole.tensor(name).tobytes() == again.tensor(name).tobytes(), name


def test_a_folder_gives_the_factors_back(source: Checkpoint, tmp_path: Path) -> None:
    made = Svd(ratio=0.5, basis="plain").run(source, work_for(source))
    write_folder(tmp_path, made)
    loaded = load_checkpoint(str(tmp_path))
    assert loaded.structure == made.structure
    for name in made.stored_tensors():
        assert np.array_equal(loaded.tensor(name), made.tensor(name)), name


def test_the_model_computes_with_the_products(source: Checkpoint) -> None:
    made = Svd(ratio=0.7, basis="plain").run(source, work_for(source))
    multiplied = source.with_tensors({name: made.tensor(name) for name in made.factors})
    tokens = torch.arange(24)[None] % 97
    with torch.no_grad():
        theirs, mine = load_torch(multiplied)(tokens), load_torch(made)(tokens)
    assert torch.allclose(theirs, mine, atol=1e-3 * float(theirs.abs().max()))


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({}, "one of rank, ratio, energy and budget, not none"),
        ({"rank": 4, "ratio": 0.5}, "not rank and ratio"),
        ({"rank": -4}, "at least 1"),
        ({"ratio": 1.0}, "svd.ratio is 1.0; it is a share"),
        ({"energy": -0.5}, "svd.energy is -0.5"),
        ({"budget": 1.5}, "svd.budget is 1.5"),
        ({"rank": 4, "multiple": 0}, "at least 1"),
        ({"rank": 4, "basis": "pca"}, "known: plain, asvd, whitened, fisher, drone"),
        ({"rank": 4, "sensitivity": "guess"}, "known: gradient, measured, none"),
        ({"rank": 4, "side": "top"}, "known: inputs, outputs, both"),
        ({"rank": 4, "samples": 0}, "at least 1 sample"),
        ({"rank": 4, "damp": -0.1}, "at least 0"),
        ({"rank": 4, "roles": ("head",)}, "no role 'head'"),
        ({"rank": 4, "roles": ("q+k",)}, "no role 'q+k'"),
        ({"rank": 4, "roles": ()}, "at least one role"),
        ({"rank": 4, "roles": ("q", "q")}, "each once"),
        ({"rank": 4, "blocks": ("4",)}, 'not "first:end"'),
        ({"rank": 4, "blocks": ("4:4",)}, 'not "first:end"'),
        ({"rank": 4, "blocks": ("0:2", "1:3")}, "0:2 and 1:3 overlap"),
    ],
)
def test_impossible_options_are_one_sentence(options: dict[str, Any], words: str) -> None:
    with pytest.raises(RecipeError, match=re.escape(words)) as caught:
        Svd(**options)
    assert "\n" not in str(caught.value)


def test_what_a_model_cannot_have_is_one_sentence(source: Checkpoint, tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match=r"rank 17 is more than .*k_proj.weight \[16, 32\] has: at most 16"):
        Svd(rank=17).shape(source.config)
    with pytest.raises(RecipeError, match="no matrix that svd takes is smaller at rank 16"):
        Svd(rank=16, roles=("q", "k")).shape(source.config)
    with pytest.raises(RecipeError, match="no matrix that svd takes is smaller at rank 64"):
        Svd(ratio=0.5, multiple=64).shape(source.config)
    with pytest.raises(RecipeError, match=r"svd.blocks 1:4 is outside the model, which has 3 blocks: 0:3"):
        Svd(rank=4, blocks=("1:4",)).shape(source.config)
    with pytest.raises(RecipeError, match="needs a calibration text"):
        Svd(rank=4).run(source, work_for(source))
    with pytest.raises(RecipeError, match=r"raise svd.budget"):
        Svd(budget=0.01, basis="plain", sensitivity="none").run(source, work_for(source))
    (tmp_path / "long.txt").write_text("the cat sat " * 60)
    up = "model.layers.1.mlp.up_proj.weight"
    broken = source.with_tensors({up: np.full_like(source.tensor(up), 3e38)})
    for options in ({"basis": "whitened", "guided": False}, {"basis": "fisher"}, {"basis": "asvd"}):
        with pytest.raises(RecipeError, match="overflow"):
            Svd(rank=4, **options).run(broken, work_for(broken, Calibration(str(tmp_path / "long.txt"), 2, 32)))
