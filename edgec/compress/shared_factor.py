"""GlobaL Fact's mathematics: W_j ~ L_j G, one G [rank, k] for a group of matrices W_j [n_j, k].

Four starting points for G:

    sum      the top right singular vectors of the sum of the W_j (equal shapes)
    mean     the mean of each W_j's top right singular vectors. Singular vectors have no sign and no order that would
             mean the same in two matrices, so each set is first permuted and flipped towards the first matrix's:
             the permutation with the largest summed |inner product|
    cluster  the centres of all those vectors, clustered on the projective sphere (v and -v alike)
    stacked  the top right singular vectors of all W_j on top of each other: the least summed squared error there is

Given G, each L_j is the least-squares solution (by an orthogonal decomposition, no inverse). `alternate` goes on from
any start: G for the L_j, L_j for G, each the least-squares solution, so that the error never rises. All in float64.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
STARTS = ("stacked", "sum", "mean", "cluster")
ROUNDS = 50  # of one run of clustering, at most
RUNS = 5


def start(by: str, matrices: Sequence[Floats], rank: int, seed: int = 0) -> Floats:
    """G [rank, k] by one of STARTS. rank: at most k, and for `mean` and `cluster` at most the rows of each matrix."""
    if by == "stacked":
        return stacked(matrices, rank)
    if by == "sum":
        return right_vectors(np.sum(matrices, axis=0), rank)
    sets = [right_vectors(w, rank) for w in matrices]
    return aligned_mean(sets) if by == "mean" else cluster(np.concatenate(sets), rank, seed)


def right_vectors(w: Floats, rank: int) -> Floats:
    """The top right singular vectors [rank, k]; of more than w has rows, some that complete the basis."""
    return np.asarray(np.linalg.svd(w, full_matrices=rank > len(w))[2][:rank])


def stacked(matrices: Sequence[Floats], rank: int) -> Floats:
    """The top right singular vectors [rank, k] of the matrices on top of each other.

    Only the triangle of a QR decomposition is carried from matrix to matrix, so the stack never exists.
    """
    triangle = np.zeros((0, matrices[0].shape[1]))
    for w in matrices:
        triangle = np.asarray(np.linalg.qr(np.concatenate([triangle, w]), mode="r"))
    return right_vectors(triangle, rank)


def aligned_mean(sets: Sequence[Floats]) -> Floats:
    """The mean of sets of unit vectors [rank, k], permuted and flipped towards the first set's."""
    total = sets[0].copy()
    for vectors in sets[1:]:
        inner = sets[0] @ vectors.T
        order = best_permutation(np.abs(inner))
        signs = np.where(inner[np.arange(len(order)), order] < 0, -1.0, 1.0)
        total += signs[:, None] * vectors[order]
    return total / len(sets)


def best_permutation(gain: Floats) -> NDArray[np.int64]:
    """The column for each row, all different, with the largest summed gain (in steps of a millionth)."""
    from ortools.graph.python import linear_sum_assignment  # type: ignore[import-untyped]

    solver = linear_sum_assignment.SimpleLinearSumAssignment()
    rows, columns = np.indices(gain.shape)
    cost = np.rint((gain.max() - gain) * 1e6).astype(np.int64)
    solver.add_arcs_with_cost(rows.ravel(), columns.ravel(), cost.ravel())
    solver.solve()
    return np.array([solver.right_mate(row) for row in range(len(gain))])


def cluster(vectors: Floats, count: int, seed: int) -> Floats:
    """Centres [count, k] of unit vectors, v and -v alike: spherical k-means on the absolute inner product.

    A centre is the mean of its vectors, each flipped to the centre's side, at length 1: neither step lowers the summed
    |inner product|. Of a few runs, from centres that are drawn far apart (k-means++), the one with the highest sum.
    """
    rng = np.random.default_rng(seed)
    runs = [_settled(vectors, _far_apart(vectors, count, rng)) for _ in range(RUNS)]
    return max(runs, key=lambda run: run[1])[0]


def _far_apart(vectors: Floats, count: int, rng: np.random.Generator) -> Floats:
    """Some of the vectors, each drawn with the square of its sine to the nearest one before."""
    centres = vectors[[int(rng.integers(len(vectors)))]]
    nearness = np.abs(vectors @ centres[0])
    while len(centres) < count:
        chance = np.maximum(1 - nearness**2, 0)
        if not chance.sum():
            chance = np.ones(len(vectors))
        chosen = vectors[rng.choice(len(vectors), p=chance / chance.sum())]
        centres = np.concatenate([centres, chosen[None]])
        nearness = np.maximum(nearness, np.abs(vectors @ chosen))
    return centres


def _settled(vectors: Floats, centres: Floats) -> tuple[Floats, float]:
    """The centres when no vector changes its cluster any more, and the summed |inner product|.

    A cluster that empties gets the vector that is served worst.
    """
    every = np.arange(len(vectors))
    labels = np.full(len(vectors), -1)
    for _ in range(ROUNDS):
        inner = vectors @ centres.T
        fresh = np.abs(inner).argmax(axis=1)
        served = np.abs(inner)[every, fresh]
        for empty in np.setdiff1d(np.arange(len(centres)), fresh):
            worst = int(served.argmin())
            fresh[worst], served[worst] = empty, np.inf
        if np.array_equal(fresh, labels):
            break
        labels = fresh
        signs = np.where(inner[every, labels] < 0, -1.0, 1.0)
        sums = np.zeros_like(centres)
        np.add.at(sums, labels, signs[:, None] * vectors)
        centres = sums / np.linalg.norm(sums, axis=1, keepdims=True)
    return centres, float(np.abs(vectors @ centres.T).max(axis=1).sum())


def left_factors(matrices: Sequence[Floats], g: Floats, moments: Sequence[Floats] | None = None) -> list[Floats]:
    """For each matrix the L [n, rank] with the least |W - L G|, or with input moments the least |(W - L G) X|.

    Directions that G repeats are left out, as no inverse would.
    """
    if moments is None:
        return [_least_squares(g.T, w.T).T for w in matrices]
    pairs = zip(matrices, moments, strict=True)
    return [_least_squares(g @ moment @ g.T, g @ moment @ w.T).T for w, moment in pairs]


def _least_squares(a: Floats, b: Floats) -> Floats:
    """x with the least |a x - b|, the shortest of them."""
    return np.asarray(np.linalg.lstsq(a, b, rcond=None)[0])


def squared_error(
    matrices: Sequence[Floats], g: Floats, lefts: Sequence[Floats], moments: Sequence[Floats] | None = None
) -> float:
    """sum |W_j - L_j G|^2, or sum |(W_j - L_j G) X_j|^2."""
    total = 0.0
    for j, (w, left) in enumerate(zip(matrices, lefts, strict=True)):
        miss = w - left @ g
        total += float((miss * (miss if moments is None else miss @ moments[j])).sum())
    return total


def alternate(
    matrices: Sequence[Floats],
    g: Floats,
    steps: int,
    moments: Sequence[Floats] | None = None,
    say: Callable[[int], None] = lambda step: None,
) -> tuple[Floats, list[Floats]]:
    """G and the L_j after so many rounds of alternating least squares from G."""
    lefts = left_factors(matrices, g, moments)
    for step in range(steps):
        say(step)
        if moments is None:
            gram = sum(left.T @ left for left in lefts)
            wanted = sum(left.T @ w for left, w in zip(lefts, matrices, strict=True))
            g = _least_squares(np.asarray(gram), np.asarray(wanted))
        else:
            g = shared_for_outputs(matrices, lefts, moments, g)
        lefts = left_factors(matrices, g, moments)
    return g, lefts


def shared_for_outputs(
    matrices: Sequence[Floats], lefts: Sequence[Floats], moments: Sequence[Floats], g: Floats, steps: int = 20
) -> Floats:
    """G nearer to the least sum |(W_j - L_j G) X_j|^2: conjugate gradients on sum L_j^T L_j G H_j = sum L_j^T W_j H_j.

    The error falls at each of their steps, so it needs no end.
    """
    grams = [left.T @ left for left in lefts]
    wanted = sum(left.T @ (w @ h) for left, w, h in zip(lefts, matrices, moments, strict=True))

    def apply(x: Floats) -> Floats:
        return np.asarray(sum(gram @ x @ h for gram, h in zip(grams, moments, strict=True)))

    residual = np.asarray(wanted) - apply(g)
    direction, power = residual, float((residual**2).sum())
    first = power
    for _ in range(steps):
        if power <= 1e-24 * first or not power:
            break
        image = apply(direction)
        curvature = float((direction * image).sum())
        if curvature <= 0:
            break
        length = power / curvature
        g, residual = g + length * direction, residual - length * image
        before, power = power, float((residual**2).sum())
        direction = residual + power / before * direction
    return g
