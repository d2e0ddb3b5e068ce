"""Which neurons, heads and attentions go: scores by definition, the least first."""

from __future__ import annotations

import numpy as np
import pytest

from edgec.compress.coupled import matrix, without_attention
from edgec.compress.neurons import Neurons, highest
from edgec.compress.stage import Calibration, Work
from edgec.frontend.checkpoint import Checkpoint
from tests.compress.neuron_cases import TOKENS, logits, loss, with_branches, zeroed
from tests.tiny_models import checkpoint, config
from tests.traced_models import work_for

torch = pytest.importorskip("torch", reason="torch runs the calibration text")

from edgec.compress.block_scores import first_order  # noqa: E402
from edgec.compress.coupled_scores import structure_scores  # noqa: E402
from edgec.compress.torch_model import load_torch  # noqa: E402


@pytest.fixture(scope="module")
def source() -> Checkpoint:
    return with_branches()


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
