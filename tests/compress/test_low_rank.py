"""Every basis is optimal for its own measure: against Eckart and Young's sum of dropped squares and against descent."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from edgec.compress.low_rank import Factors, asvd, cholesky, drone, fisher, plain, whitened

Array = np.ndarray
SHAPES = [(20, 24), (24, 20), (7, 31), (33, 5), (16, 16), (1, 9), (9, 1)]


def inputs(k: int, tokens: int, seed: int = 0) -> Array:
    """Correlated inputs [k, tokens] whose directions differ a hundredfold in size."""
    rng = np.random.default_rng(seed)
    turn = np.linalg.qr(rng.standard_normal((k, k)))[0]
    return turn @ (rng.standard_normal((k, tokens)) * np.logspace(-1, 1, k)[:, None])


def product(factors: Factors, rank: int) -> Array:
    made = factors.of_rank(rank)
    return made.b.astype(np.float64) @ made.a


@pytest.mark.parametrize("shape", SHAPES)
def test_plain_loses_the_dropped_squares_at_every_rank(shape: tuple[int, int]) -> None:
    w = np.random.default_rng(sum(shape)).standard_normal(shape).astype(np.float32)
    sizes = np.linalg.svd(w.astype(np.float64), compute_uv=False)
    factors = plain(w, min(shape))
    for rank in range(1, min(shape) + 1):
        made = factors.of_rank(rank)
        assert made.a.shape == (rank, shape[1]) and made.b.shape == (shape[0], rank)
        lost = float(((w - product(factors, rank)) ** 2).sum())
        assert lost == pytest.approx(float((sizes[rank:] ** 2).sum()), rel=1e-4, abs=1e-10)
        assert factors.kept(rank) == pytest.approx(1 - (sizes[rank:] ** 2).sum() / (sizes**2).sum(), abs=1e-12)
        # Both factors carry the square root of the singular values.
        assert np.allclose(np.linalg.norm(made.a, axis=1), np.linalg.norm(made.b, axis=0), rtol=1e-4)


def all_bases(w: Array, seed: int) -> dict[str, tuple[Factors, Callable[[Array], float]]]:
    """Factors in each basis, and the measure of an error [n, k] that the basis claims to minimise."""
    n, k = w.shape
    rng = np.random.default_rng(seed)
    x = inputs(k, 5 * k, seed)
    moment, mean_abs = x @ x.T, np.abs(x).mean(axis=1)
    rows, columns = rng.uniform(0.1, 10, n), rng.uniform(0.1, 10, k)
    bound = min(n, k)
    damped = moment + 0.03 * np.trace(moment) / k * np.eye(k)
    return {
        "plain": (plain(w, bound), lambda e: float((e**2).sum())),
        "asvd": (asvd(w, mean_abs, 0.5, bound), lambda e: float((e**2 * mean_abs).sum())),
        "asvd, alpha 1": (asvd(w, mean_abs, 1.0, bound), lambda e: float(((e * mean_abs) ** 2).sum())),
        "whitened": (whitened(w, moment, 0.0, bound), lambda e: float(((e @ x) ** 2).sum())),
        "whitened, damped": (whitened(w, moment, 0.03, bound), lambda e: float((e @ damped * e).sum())),
        "drone": (drone(w, moment, bound), lambda e: float(((e @ x) ** 2).sum())),
        "fisher inputs": (fisher(w, None, columns, bound), lambda e: float((e**2 * columns).sum())),
        "fisher outputs": (fisher(w, rows, None, bound), lambda e: float((e**2 * rows[:, None]).sum())),
        "fisher both": (fisher(w, rows, columns, bound), lambda e: float((e**2 * np.outer(rows, columns)).sum())),
    }


@pytest.mark.parametrize("shape", [(20, 24), (24, 15)])
@pytest.mark.parametrize("rank", [1, 4, 11])
def test_every_basis_loses_its_dropped_squares_and_no_other_product_loses_less(
    shape: tuple[int, int], rank: int
) -> None:
    w = np.random.default_rng(rank).standard_normal(shape).astype(np.float32)
    rng = np.random.default_rng(0)
    bases = all_bases(w, rank)
    for name, (factors, measure) in bases.items():
        made = factors.of_rank(rank)
        lost = measure(w - product(factors, rank))
        dropped = float((factors.sizes[rank:] ** 2).sum())
        assert lost == pytest.approx(dropped, rel=1e-3), name
        assert measure(w) == pytest.approx(float((factors.sizes**2).sum()), rel=1e-6), name
        for other, (theirs, _) in bases.items():
            assert lost <= measure(w - product(theirs, rank)) * (1 + 1e-5), (name, other)
        for _ in range(10):
            b = made.b * (1 + 0.03 * rng.standard_normal(made.b.shape))
            a = made.a * (1 + 0.03 * rng.standard_normal(made.a.shape))
            assert measure(w - b @ a) > lost, name


def test_alternating_least_squares_finds_no_better_factors_for_the_inputs() -> None:
    """Brute force for |(W - B A) X|: from ten random starts, B for A and A for B in turn until nothing moves."""
    w = np.random.default_rng(3).standard_normal((12, 10)).astype(np.float32)
    x = inputs(10, 60)
    best = float((np.linalg.svd(w @ x, compute_uv=False)[3:] ** 2).sum())
    found = []
    for seed in range(10):
        a = np.random.default_rng(seed).standard_normal((3, 10))
        for _ in range(300):
            b = np.linalg.lstsq((a @ x).T, (w @ x).T, rcond=None)[0].T
            a = np.linalg.lstsq(b, w, rcond=None)[0]  # X has full row rank: the inputs cancel
        found.append(float((((w - b @ a) @ x) ** 2).sum()))
    for factors in (whitened(w, x @ x.T, 0.0, 3), drone(w, x @ x.T, 3)):
        lost = float((((w - product(factors, 3)) @ x) ** 2).sum())
        assert lost == pytest.approx(best, rel=1e-4)
        assert lost <= min(found) * (1 + 1e-4)
    assert float((((w - product(plain(w, 3), 3)) @ x) ** 2).sum()) > 1.1 * best


def test_inputs_of_a_subspace_need_no_damping_in_drone_and_some_in_whitened() -> None:
    rng = np.random.default_rng(0)
    x = rng.standard_normal((24, 4)) @ rng.standard_normal((4, 100))
    w = rng.standard_normal((20, 24)).astype(np.float32)
    moment = x @ x.T
    factors = drone(w, moment, 8)
    assert len(factors.sizes) == 4
    made = factors.of_rank(6)
    assert made.a.shape == (6, 24) and made.b.shape == (20, 6) and not made.a[4:].any() and not made.b[:, 4:].any()
    assert np.linalg.norm((w - product(factors, 4)) @ x) < 1e-5 * np.linalg.norm(w @ x)
    outside = np.linalg.qr(np.concatenate([x[:, :4], rng.standard_normal((24, 20))], axis=1))[0][:, 4:]
    assert np.abs(product(factors, 4) @ outside).max() < 1e-5 * np.abs(w).max()
    spread = whitened(w, moment, 0.0, 8)  # the factor exists only with some damping, which it finds
    assert np.isfinite(spread.a).all()
    assert np.linalg.norm((w - product(spread, 4)) @ x) < 1e-3 * np.linalg.norm(w @ x)


def test_dead_inputs_and_zero_matrices_stay_finite() -> None:
    rng = np.random.default_rng(0)
    w = rng.standard_normal((6, 8)).astype(np.float32)
    mean_abs = rng.uniform(1, 2, 8)
    mean_abs[3] = 0
    for factors in (
        asvd(w, mean_abs, 0.5, 4),
        asvd(w, np.zeros(8), 0.5, 4),
        fisher(w, np.zeros(6), mean_abs, 4),
        whitened(w, np.zeros((8, 8)), 0.01, 4),
        plain(np.zeros_like(w), 4),
    ):
        assert np.isfinite(factors.a).all() and np.isfinite(factors.b).all()
        assert np.abs(product(factors, 4)).max() < 100
    assert plain(np.zeros_like(w), 4).kept(1) == 1.0
    empty = drone(w, np.zeros((8, 8)), 4)
    assert not empty.of_rank(2).product().any() and empty.of_rank(2).a.shape == (2, 8)


def test_damping_is_a_share_of_the_mean_and_grows_until_the_factor_exists() -> None:
    x = inputs(6, 30)
    moment = x @ x.T
    mean = np.trace(moment) / 6
    root = cholesky(moment, 0.25)
    assert np.allclose(root @ root.T, moment + 0.25 * mean * np.eye(6)) and np.allclose(root, np.tril(root))
    values, vectors = np.linalg.eigh(moment)
    values[0] = -1e-5 * mean  # as rounding leaves it
    indefinite = (vectors * values) @ vectors.T
    root = cholesky(indefinite, 0.0)
    assert np.allclose(root @ root.T, indefinite, atol=1e-3 * mean)
