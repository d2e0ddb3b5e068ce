"""Statistics behind bases and budgets, gathered block by block, against hooks and autograd on the whole model."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from edgec.compress.low_rank import asvd, drone, fisher, plain, whitened
from edgec.compress.stage import Calibration
from edgec.compress.svd import Svd
from edgec.frontend.checkpoint import Checkpoint
from edgec.frontend.structure import factor_names
from tests.tiny_models import checkpoint, config
from tests.traced_models import gradients_of, inputs_of, product, work_for

torch = pytest.importorskip("torch", reason="torch runs the calibration text")

from edgec.compress.torch_model import load_torch  # noqa: E402

SHAPE: dict[str, Any] = {"hidden_dim": 32, "n_heads": 4, "head_dim": 8, "ffn_dim": 64, "n_layers": 3}
Q0 = "model.layers.0.self_attn.q_proj.weight"
DOWN = "model.layers.1.mlp.down_proj.weight"


@pytest.fixture(scope="module")
def source() -> Checkpoint:
    return checkpoint(config(**SHAPE))


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
            "fisher": lambda: fisher(w, (by_weight**2).mean(0).sum(1), None, 6),  # noqa: B023
        }[basis]().of_rank(6)
        assert np.allclose(product(made, name), wanted.product(), atol=2e-3 * np.abs(wanted.product()).max()), name
    assert not np.allclose(product(made, Q0), plain(source.tensor(Q0), 6).of_rank(6).product(), atol=1e-3)


def test_fisher_sides(source: Checkpoint, calibration: Calibration) -> None:
    tokens = work_for(source, calibration).tokens(source, 64, at_most=True)
    square = (gradients_of(source, tokens, DOWN)[0] ** 2).mean(0)
    w = source.tensor(DOWN)
    for side, rows, columns in (("inputs", None, square.sum(0)), ("both", square.sum(1), square.sum(0))):
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
    rows = (together**2).mean(0).sum(1)
    wanted = fisher(model.tensor(names[0]), rows, None, 6).of_rank(6).product()
    assert np.allclose(product(fisher_made, names[2]), wanted, atol=2e-3 * np.abs(wanted).max())


def gradients_of_each(model: Checkpoint, tokens: np.ndarray, names: list[str]) -> list[np.ndarray]:
    """The gradient of every use of a shared matrix, from a model in which each has a copy."""
    copies = model.with_tensors({name: model.tensor(name) for name in names[1:]})
    return [gradients_of(copies, tokens, name)[0] for name in names]
