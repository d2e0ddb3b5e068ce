"""The best product B A in place of a matrix W [n, k], by five measures of what is lost. One function a measure.

Every measure is |L (W - B A) S| (Frobenius norm) for some L [n, n] and S [k, k], so by Eckart and Young (1936) the
optimum of every rank comes from one singular value decomposition:

    L W S = U diag(sizes) V^T      B = L^-1 U_r sqrt(sizes_r)      A = sqrt(sizes_r) V_r^T S^-1

and what is lost is the sum of the dropped squared sizes. The singular values are split evenly between both factors, so
that neither needs a wide range of codes, and the factors of a lower rank are the first rows and columns of a higher's.

    basis      L                             S                          source
    plain      1                             1
    asvd       1                             diag(mean |x_j|^alpha)     Yuan et al. 2023, arXiv 2312.05821
    whitened   1                             Cholesky factor of X X^T   SVD-LLM: Wang et al. 2024, arXiv 2403.07378
    fisher     diag(sqrt(Fisher of rows))    1, or that of columns      FWSVD: Hsu et al. 2022, arXiv 2207.00112
    drone      1                             square root of X X^T in    DRONE: Chen et al. 2021, NeurIPS 34
                                             the inputs' own subspace

All is computed in float64; the factors are rounded to float32 once.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from edgec.frontend.checkpoint import FloatArray, LowRank

Floats = NDArray[np.float64]
Root = tuple[Floats, Floats]
BASES = ("plain", "asvd", "whitened", "fisher", "drone")
SMALLEST = 1e-6  # of a weight or a channel's size, relative to the largest: division by a dead channel stays finite


@dataclass(frozen=True)
class Fit:
    """What factors are to be best for; compress/svd.py says what each option means."""

    basis: str = "whitened"
    alpha: float = 0.5
    damp: float = 0.01
    guided: bool = True
    side: str = "outputs"
    removal: bool = False  # find loss_of_removal for every matrix too

    @property
    def needs_text(self) -> bool:
        """Whether a calibration text has to run."""
        return self.basis != "plain" or self.removal


@dataclass(frozen=True)
class Factors:
    """Factors of every rank up to some bound, and the singular values in the basis's measure, largest first."""

    a: FloatArray  # [bound, k]
    b: FloatArray  # [n, bound]
    sizes: Floats  # [min(n, k)], or fewer where the inputs span less

    def of_rank(self, rank: int) -> LowRank:
        """The best factors of this rank; zeros where the rank is more than W, seen through the basis, has."""
        missing = max(0, rank - len(self.a))
        a, b = self.a[:rank], self.b[:, :rank]
        return (
            LowRank(np.pad(a, ((0, missing), (0, 0))), np.pad(b, ((0, 0), (0, missing)))) if missing else LowRank(a, b)
        )

    def kept(self, rank: int) -> float:
        """The share of the energy (squared singular values) that this rank keeps; 1 for a matrix of zeros."""
        energy = self.sizes**2
        total = float(energy.sum())
        return float(energy[:rank].sum()) / total if total else 1.0


def plain(w: FloatArray, bound: int) -> Factors:
    """The least |W - B A|: truncated SVD (Eckart and Young 1936)."""
    return _factors(np.linalg.svd(_exact(w), full_matrices=False), bound)


def asvd(w: FloatArray, mean_abs: Floats, alpha: float, bound: int) -> Factors:
    """The least |(W - B A) diag(s)|, s = mean |x_j|^alpha [k]: channels with large inputs count more."""
    scale = _at_least_some(np.asarray(mean_abs, np.float64)) ** alpha
    left, sizes, right = np.linalg.svd(_exact(w) * scale, full_matrices=False)
    return _factors((left, sizes, right / scale), bound)


def whitened(w: FloatArray, moment: Floats, damp: float, bound: int) -> Factors:
    """The least |(W - B A) X|^2 + lambda |W - B A|^2 for the inputs' second moment X X^T [k, k].

    lambda is `damp` times the mean of the moment's diagonal, and ten times as much as often as its Cholesky factor
    needs to exist.
    """
    root = cholesky(moment, damp)
    left, sizes, right = np.linalg.svd(_exact(w) @ root, full_matrices=False)
    return _factors((left, sizes, np.linalg.solve(root.T, right[: min(bound, len(right))].T).T), bound)


def fisher(w: FloatArray, rows: Floats | None, columns: Floats | None, bound: int) -> Factors:
    """The least sum of rows_i columns_j (W - B A)_ij^2, weights of outputs [n] and inputs [k]; None: all alike.

    Weights that are such a product are the most for which the optimum is a singular value decomposition. FWSVD sums the
    Fisher information of every row of W.
    """
    n, k = w.shape
    left_scale = np.ones(n) if rows is None else np.sqrt(_at_least_some(rows))
    right_scale = np.ones(k) if columns is None else np.sqrt(_at_least_some(columns))
    left, sizes, right = np.linalg.svd(left_scale[:, None] * _exact(w) * right_scale, full_matrices=False)
    return _factors((left / left_scale[:, None], sizes, right / right_scale), bound)


def drone(w: FloatArray, moment: Floats, bound: int) -> Factors:
    """The least |(W - B A) X| for inputs that may span less than all of their space; A is zero outside of it."""
    return in_subspace(w, square_root(moment), bound)


def in_subspace(w: FloatArray, inputs: Root, bound: int) -> Factors:
    """The same for the square root of X X^T, see square_root."""
    root, vectors = inputs
    left, sizes, right = np.linalg.svd((_exact(w) @ vectors) * root, full_matrices=False)
    half = np.sqrt(sizes[:bound])
    a, b = (half[:, None] * right[:bound] / root) @ vectors.T, left[:, :bound] * half
    return Factors(a.astype(np.float32), b.astype(np.float32), sizes)


def square_root(moment: Floats) -> Root:
    """sqrt(L) [d] and U [k, d] of moment = U L U^T, without the directions that inputs (nearly) never take.

    Their eigenvalues are rounding noise, below the largest one times k times float64's epsilon.
    """
    values, vectors = np.linalg.eigh(np.asarray(moment, np.float64))
    kept = values > max(values[-1], 0.0) * len(values) * np.finfo(np.float64).eps
    return np.sqrt(values[kept]), vectors[:, kept]


def cholesky(moment: Floats, damp: float) -> Floats:
    """Lower triangular S with S S^T = moment + lambda I; lambda as in `whitened`."""
    moment = (moment + moment.T) / 2
    mean = float(np.trace(moment)) / len(moment)
    if not mean > 0:  # a dead input: all errors are alike
        return np.eye(len(moment))
    share = damp
    while True:
        try:
            return np.asarray(np.linalg.cholesky(moment + share * mean * np.eye(len(moment))))
        except np.linalg.LinAlgError:
            share = max(10 * share, 1e-9)


def _factors(parts: tuple[Floats, Floats, Floats], bound: int) -> Factors:
    """Factors from L^-1 U [n, d], sizes [d] and V^T S^-1 [d or more than bound, k]."""
    left, sizes, right = parts
    half = np.sqrt(sizes[:bound])
    a, b = half[:, None] * right[:bound], left[:, :bound] * half
    return Factors(a.astype(np.float32), b.astype(np.float32), sizes)


def _exact(w: FloatArray) -> Floats:
    return w.astype(np.float64)


def _at_least_some(weights: Floats) -> Floats:
    weights = np.asarray(weights, np.float64)
    largest = float(weights.max(initial=0.0))
    return np.maximum(weights, SMALLEST * largest) if largest else np.ones_like(weights)
