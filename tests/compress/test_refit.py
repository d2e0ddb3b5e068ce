"""Left factors fitted to what reaches them: the least squares they claim, sharing, resuming."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edgec.compress.stage import Calibration
from edgec.compress.svd import Svd
from edgec.frontend.checkpoint import Checkpoint
from edgec.frontend.structure import factor_names
from tests.tiny_models import checkpoint, config
from tests.traced_models import inputs_of, product, work_for

torch = pytest.importorskip("torch", reason="torch runs the calibration text")


SHAPE: dict[str, Any] = {"hidden_dim": 32, "n_heads": 4, "head_dim": 8, "ffn_dim": 64, "n_layers": 3}
Q0 = "model.layers.0.self_attn.q_proj.weight"
DOWN = "model.layers.1.mlp.down_proj.weight"


@pytest.fixture(scope="module")
def source() -> Checkpoint:
    return checkpoint(config(**SHAPE))


def outputs_missed(model: Checkpoint, made: Checkpoint, tokens: np.ndarray, name: str) -> float:
    """|W X - B A X'|^2 for the inputs X of the model and X' of what became of it."""
    wanted = inputs_of(model, tokens)[name] @ model.tensor(name).T.astype(np.float64)
    return float(((wanted - inputs_of(made, tokens)[factor_names(name)[0]] @ product(made, name).T) ** 2).sum())


def test_refitted_left_factors_are_the_best_for_what_reaches_them(source: Checkpoint, calibration: Calibration) -> None:
    options: dict[str, Any] = {"rank": 6, "guided": False, "roles": ("q", "v", "down")}
    model = checkpoint(config(**SHAPE), biases=True)
    plain_cut = Svd(damp=0.0, **options).run(model, work_for(model, calibration))
    made = Svd(refit=True, damp=0.0, **options).run(model, work_for(model, calibration))
    tokens = work_for(model, calibration).tokens(model, 64, at_most=True)
    assert made.structure == plain_cut.structure
    first = "model.layers.0.self_attn.q_proj.weight"
    assert np.allclose(product(made, first), product(plain_cut, first), atol=1e-3)  # nothing before it has changed
    rng = np.random.default_rng(0)
    for name in ("model.layers.1.self_attn.q_proj.weight", "model.layers.2.self_attn.v_proj.weight"):
        a, b = (made.tensor(part) for part in factor_names(name))
        assert np.allclose(a, plain_cut.tensor(factor_names(name)[0]), atol=1e-5)
        missed = outputs_missed(model, made, tokens, name)
        for _ in range(3):
            other = made.with_tensors(
                {factor_names(name)[1]: b + 0.01 * rng.standard_normal(b.shape).astype(np.float32)}
            )
            assert outputs_missed(model, other, tokens, name) > missed
        old = made.with_tensors({factor_names(name)[1]: plain_cut.tensor(factor_names(name)[1])})
        assert missed < 0.99 * outputs_missed(model, old, tokens, name)
    stiff = Svd(refit=True, damp=1e9, **options).run(model, work_for(model, calibration))
    kept = Svd(damp=1e9, **options).run(model, work_for(model, calibration))
    assert all(np.allclose(product(stiff, name), product(kept, name), atol=1e-5) for name in made.factors)


def test_a_refitted_shared_matrix_fits_all_its_users(source: Checkpoint, calibration: Calibration) -> None:
    names = [f"model.layers.{i}.mlp.down_proj.weight" for i in range(3)]
    model = source.with_shared({names[1]: names[0], names[2]: names[0]})
    options: dict[str, Any] = {"rank": 6, "roles": ("down",), "guided": False}
    cut = Svd(damp=0.0, **options).run(model, work_for(model, calibration))
    made = Svd(refit=True, damp=0.0, **options).run(model, work_for(model, calibration))
    assert made.structure == cut.structure
    tokens = work_for(model, calibration).tokens(model, 64, at_most=True)
    x, now = inputs_of(model, tokens), inputs_of(cut, tokens)
    z = np.concatenate([now[factor_names(name)[0]].reshape(-1, 64) for name in names]) @ cut.tensor(
        factor_names(names[0])[0]
    ).T.astype(np.float64)
    wanted = np.concatenate([x[name].reshape(-1, 64) for name in names]) @ model.tensor(names[0]).T
    best = np.linalg.lstsq(z, wanted, rcond=None)[0].T
    assert np.allclose(made.tensor(factor_names(names[2])[1]), best, atol=2e-3 * np.abs(best).max())


def test_a_run_killed_while_it_refits_goes_on(source: Checkpoint, calibration: Calibration, tmp_path: Path) -> None:
    source = source.with_shared({"model.layers.2.mlp.up_proj.weight": "model.layers.0.mlp.up_proj.weight"})
    options: dict[str, Any] = {"rank": 8, "refit": True}
    whole = Svd(**options).run(source, work_for(source, calibration))

    def kill(message: str, done: int, total: int) -> None:
        if message.startswith("left factors") and done == 2:
            raise KeyboardInterrupt

    killed = work_for(source, calibration, tmp_path)
    killed.say = kill
    with pytest.raises(KeyboardInterrupt):
        Svd(**options).run(source, killed)
    stamp = (tmp_path / "refit1.npz").stat().st_mtime_ns
    again = Svd(**options).run(source, work_for(source, calibration, tmp_path))
    assert stamp == (tmp_path / "refit1.npz").stat().st_mtime_ns
    for name in whole.stored_tensors():
        assert whole.tensor(name).tobytes() == again.tensor(name).tobytes(), name
