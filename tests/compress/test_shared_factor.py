"""GlobaL Fact's starts against their definitions, the stacked optimum against all of them, rounds that never rise."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from edgec.compress.shared_factor import (
    STARTS,
    aligned_mean,
    alternate,
    best_permutation,
    cluster,
    left_factors,
    right_vectors,
    shared_for_outputs,
    squared_error,
    stacked,
    start,
)

Array = np.ndarray


def family(seed: int, count: int = 5, n: int = 12, k: int = 18, common: int = 4) -> list[Array]:
    """Matrices whose rows lie near a common subspace."""
    rng = np.random.default_rng(seed)
    basis = rng.standard_normal((common, k))
    return [rng.standard_normal((n, common)) @ basis + 0.4 * rng.standard_normal((n, k)) for _ in range(count)]


def moments(seed: int, count: int = 5, k: int = 18) -> list[Array]:
    rng = np.random.default_rng(seed)
    return [(x := rng.standard_normal((k, 90)) * np.logspace(-0.5, 0.5, k)[:, None]) @ x.T for _ in range(count)]


def error(matrices: list[Array], g: Array) -> float:
    return squared_error(matrices, g, left_factors(matrices, g))


def same_space(a: Array, b: Array) -> bool:
    qa, qb = np.linalg.qr(a.T)[0], np.linalg.qr(b.T)[0]
    return bool(np.allclose(qa @ qa.T, qb @ qb.T, atol=1e-8))


@pytest.mark.parametrize("seed", range(8))
@pytest.mark.parametrize("rank", [1, 3, 7, 12])
def test_no_start_loses_less_than_the_stacked_one(seed: int, rank: int) -> None:
    matrices = family(seed, n=12 if seed % 2 else 20)
    sizes = np.linalg.svd(np.concatenate(matrices), compute_uv=False)
    best = float((sizes[rank:] ** 2).sum())
    lost = {by: error(matrices, start(by, matrices, rank, seed)) for by in STARTS}
    assert lost["stacked"] == pytest.approx(best)  # Eckart and Young for the stack
    for by, each in lost.items():
        assert each >= best * (1 - 1e-9), by
    rng = np.random.default_rng(seed)
    g = stacked(matrices, rank)
    assert error(matrices, g + 0.05 * rng.standard_normal(g.shape)) > best


def test_stacked_does_not_depend_on_how_the_stack_is_read() -> None:
    matrices = family(2, n=9)
    assert same_space(stacked(matrices, 5), np.linalg.svd(np.concatenate(matrices))[2][:5])
    assert same_space(stacked(matrices[::-1], 5), stacked(matrices, 5))
    uneven = [matrices[0][:2], matrices[1], matrices[2][:5]]
    assert same_space(stacked(uneven, 5), np.linalg.svd(np.concatenate(uneven))[2][:5])
    assert stacked([matrices[0][:2], matrices[1][:1]], 5).shape == (5, 18)


def test_sum_is_its_definition() -> None:
    matrices = family(3)
    total = matrices[0] + matrices[1] + matrices[2] + matrices[3] + matrices[4]
    values, vectors = np.linalg.eigh(total.T @ total)
    wanted = vectors[:, np.argsort(-values)[:6]].T
    got = start("sum", matrices, 6)
    assert np.allclose(np.abs((got * wanted).sum(axis=1)), 1)
    assert np.allclose(got @ got.T, np.eye(6))


def test_mean_is_the_mean_of_aligned_vectors() -> None:
    matrices = family(4, count=3)
    sets = [right_vectors(w, 3) for w in matrices]
    total = sets[0].copy()
    for vectors in sets[1:]:  # by brute force: the permutation and signs with the largest summed inner product
        options = []
        for order in itertools.permutations(range(3)):
            for signs in itertools.product((1, -1), repeat=3):
                moved = np.array(signs)[:, None] * vectors[list(order)]
                options.append((float((moved * sets[0]).sum()), moved))
        total += max(options, key=lambda option: option[0])[1]
    assert np.allclose(start("mean", matrices, 3), total / 3)


def test_mean_does_not_see_signs_or_order() -> None:
    """What the public code gets wrong: the mean of v and -v is nothing."""
    rng = np.random.default_rng(0)
    vectors = np.linalg.qr(rng.standard_normal((18, 4)))[0].T
    turned = [vectors, -vectors, vectors[::-1], vectors[[2, 0, 3, 1]] * np.array([1, -1, -1, 1])[:, None]]
    assert np.allclose(aligned_mean(turned), vectors)
    assert np.linalg.norm(np.mean(turned, axis=0)) < 0.8 * np.linalg.norm(vectors)


@pytest.mark.parametrize("seed", range(5))
def test_the_permutation_is_the_best(seed: int) -> None:
    gain = np.random.default_rng(seed).random((6, 6))
    best = max(sum(gain[i, order[i]] for i in range(6)) for order in itertools.permutations(range(6)))
    order = best_permutation(gain)
    assert sorted(order) == list(range(6))
    assert gain[np.arange(6), order].sum() == pytest.approx(best, abs=1e-5)


def test_clusters_find_directions_whatever_the_sign() -> None:
    rng = np.random.default_rng(1)
    axes = np.linalg.qr(rng.standard_normal((18, 5)))[0].T
    vectors = np.repeat(axes, 12, axis=0) + 0.05 * rng.standard_normal((60, 18))
    vectors *= rng.choice([-1.0, 1.0], 60)[:, None] / np.linalg.norm(vectors, axis=1, keepdims=True)
    vectors = vectors[rng.permutation(60)]
    centres = cluster(vectors, 5, 0)
    assert np.allclose(np.linalg.norm(centres, axis=1), 1)
    nearness = np.abs(centres @ axes.T)
    assert sorted(nearness.argmax(axis=1)) == list(range(5)) and nearness.max(axis=1).min() > 0.99
    flipped = cluster(-vectors, 5, 0)
    assert np.allclose(np.abs((centres * flipped).sum(axis=1)), 1)


@pytest.mark.parametrize("seed", range(5))
def test_clusters_are_a_fixed_point_of_both_steps(seed: int) -> None:
    vectors = np.concatenate([right_vectors(w, 4) for w in family(seed)])
    centres = cluster(vectors, 4, seed)
    inner = vectors @ centres.T
    labels = np.abs(inner).argmax(axis=1)
    assert len(set(labels)) == 4
    for label in range(4):
        mine = vectors[labels == label] * np.sign(inner[labels == label, label])[:, None]
        mean = mine.sum(axis=0)
        assert np.allclose(mean / np.linalg.norm(mean), centres[label], atol=1e-9)
    assert np.array_equal(cluster(vectors, 4, seed), centres)


def test_as_many_clusters_as_vectors_and_equal_vectors() -> None:
    vectors = np.eye(4)
    assert np.allclose(np.sort(np.abs(cluster(vectors, 4, 0)) @ np.arange(4)), np.arange(4))
    assert np.isfinite(cluster(np.ones((6, 4)) / 2, 3, 0)).all()


def test_left_factors_are_least_squares() -> None:
    matrices = family(5)
    inputs = moments(5)
    g = np.random.default_rng(5).standard_normal((4, 18))
    g[3] = g[0] - g[1]  # a direction twice: an inverse would fail
    for w, left in zip(matrices, left_factors(matrices, g), strict=True):
        assert np.allclose((w - left @ g) @ g.T, 0, atol=1e-8)
    for w, h, left in zip(matrices, inputs, left_factors(matrices, g, inputs), strict=True):
        assert np.allclose((w - left @ g) @ h @ g.T, 0, atol=1e-6 * np.abs(w @ h).max())


@pytest.mark.parametrize("by", ["sum", "mean", "cluster"])
def test_rounds_never_raise_the_error_and_reach_the_optimum_of_weights(by: str) -> None:
    matrices = family(6)
    g = start(by, matrices, 4, 0)
    best = error(matrices, stacked(matrices, 4))
    lost = [squared_error(matrices, *alternate(matrices, g, steps)) for steps in (0, 1, 2, 5, 10, 40)]
    assert lost[0] == pytest.approx(error(matrices, g))
    assert all(after <= before * (1 + 1e-9) for before, after in itertools.pairwise(lost))
    assert lost[0] > 1.05 * best and lost[-1] == pytest.approx(best, rel=1e-3)


@pytest.mark.parametrize("by", STARTS)
def test_rounds_on_outputs_fit_outputs(by: str) -> None:
    matrices, inputs = family(7), moments(7)
    roots = [np.linalg.cholesky(h) for h in inputs]
    g = start(by, matrices, 4, 0)
    lost = []
    for steps in (0, 1, 2, 5, 20):
        fitted, lefts = alternate(matrices, g, steps, inputs)
        lost.append(squared_error(matrices, fitted, lefts, inputs))
        outputs = sum(
            float((((w - left @ fitted) @ root) ** 2).sum())
            for w, left, root in zip(matrices, lefts, roots, strict=True)
        )
        assert lost[-1] == pytest.approx(outputs)
    assert all(after <= before * (1 + 1e-9) for before, after in itertools.pairwise(lost))
    on_weights, plain = alternate(matrices, g, 20)
    assert lost[-1] < squared_error(matrices, on_weights, plain, inputs)


def test_outputs_with_equal_inputs_reach_the_whitened_optimum() -> None:
    """With one moment for all, the optimum is known: the stacked matrices' own, seen through its root."""
    matrices = family(8)
    h = moments(8)[0]
    root = np.linalg.cholesky(h)
    sizes = np.linalg.svd(np.concatenate(matrices) @ root, compute_uv=False)
    g, lefts = alternate(matrices, stacked(matrices, 4), 60, [h] * 5)
    assert squared_error(matrices, g, lefts, [h] * 5) == pytest.approx(float((sizes[4:] ** 2).sum()), rel=1e-3)


def test_the_shared_factor_for_outputs_solves_its_normal_equations() -> None:
    """sum L_j^T L_j G H_j = sum L_j^T W_j H_j as one system of rank * k unknowns."""
    rng = np.random.default_rng(9)
    matrices, inputs = family(9, count=3, k=6, common=2), moments(9, count=3, k=6)
    lefts = [rng.standard_normal((12, 2)) for _ in matrices]
    system = sum(np.kron(left.T @ left, h) for left, h in zip(lefts, inputs, strict=True))
    wanted = sum(left.T @ w @ h for left, w, h in zip(lefts, matrices, inputs, strict=True))
    exact = np.linalg.solve(system, wanted.ravel()).reshape(2, 6)
    assert np.allclose(shared_for_outputs(matrices, lefts, inputs, rng.standard_normal((2, 6)), steps=30), exact)
