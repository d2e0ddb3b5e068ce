"""The rank of every matrix: by number, by share of its parameters, by energy, or for the least loss under one budget.

A product of rank r stores r (n + k) numbers in place of n k: at and above the break-even rank n k / (n + k) the matrix
stays dense.

The budget's choice minimises sum_m loss_m(r_m) subject to sum_m cost_m(r_m) <= budget. Dropped singular values shrink,
so a matrix's loss over its cost is convex, but for the last step to the dense matrix, which loses nothing; the lower
convex hull of its points is. Steps on the hulls are taken in the order of loss saved per parameter. Whatever has been
taken before the first step that does not fit minimises loss + price * cost for that step's price, so no choice of equal
cost loses less (Everett 1963, Operations Research 11:399), and no choice at all within the budget loses less than

    bound = loss - price * (budget - cost)

which the result carries as proof of how near it is. What is left of the budget then goes to the best steps that fit.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from edgec.errors import RecipeError

Floats = NDArray[np.float64]
TINY = 1e-300  # against division by zero


def break_even(n: int, k: int) -> int:
    """The highest rank at which a product stores less than the matrix; 0: none does."""
    return (n * k - 1) // (n + k)


def rank_of_ratio(n: int, k: int, ratio: float, multiple: int = 1) -> int:
    """The highest rank (a multiple, at least one) that stores at most this share of the matrix's parameters."""
    return max(int(ratio * n * k / (n + k)) // multiple, 1) * multiple


def rank_of_energy(sizes: Floats, energy: float, multiple: int = 1) -> int:
    """The lowest rank (a multiple, at least one) that keeps this share of the squared singular values."""
    kept = np.cumsum(sizes**2)
    # The sum's own rounding must not ask for one more: all of the energy is kept by all that are not zero.
    rank = int(np.searchsorted(kept, energy * kept[-1] * (1 - 1e-12))) + 1 if kept[-1] > 0 else 1
    return -(-rank // multiple) * multiple


@dataclass(frozen=True)
class Curve:
    """What a matrix loses at each rank: weight times the dropped squared singular values."""

    shape: tuple[int, ...]  # [n, k]
    sizes: Floats  # singular values, largest first
    weight: float = 1.0  # loss of a unit of energy

    def points(self, multiple: int) -> list[tuple[int, int, float]]:
        """(rank, parameters, loss) by parameters; rank 0 stands for the dense matrix, the last point."""
        energy = self.sizes**2
        dropped = np.append(np.cumsum(energy[::-1])[::-1], 0.0)  # by rank: of rank 0 all
        n, k = self.shape
        ranks = range(multiple, break_even(n, k) + 1, multiple)
        made = [(r, r * (n + k), self.weight * float(dropped[min(r, len(energy))])) for r in ranks]
        return [*made, (0, n * k, 0.0)]


@dataclass(frozen=True)
class Allocation:
    """Ranks by matrix (0: it stays dense), what they lose and store, and the least that any choice must lose."""

    ranks: dict[str, int]
    loss: float
    parameters: int
    bound: float


def allocate(curves: dict[str, Curve], budget: int, multiple: int = 1) -> Allocation:
    """The ranks of least summed loss that store at most `budget` parameters.

    Raises RecipeError if even the lowest ranks store more.
    """
    points = {name: curve.points(multiple) for name, curve in curves.items()}
    chosen = {name: each[0] for name, each in points.items()}
    cost = sum(point[1] for point in chosen.values())
    if cost > budget:
        raise RecipeError(
            f"a budget of {budget:,} parameters is less than the {cost:,} that {len(curves)} matrices store at rank "
            f"{multiple}; raise svd.budget."
        )
    steps = []  # (price, matrix, point after the step); sorted by price, a matrix's own steps stay in order
    for name, each in points.items():
        hull = _hull(each)
        for before, after in pairwise(hull):
            steps.append((_price(before, after), name, after))
    steps.sort(key=lambda step: -step[0])
    bound = float("inf")
    for price, name, after in steps:
        if price <= 0:  # the rest saves nothing
            break
        more = after[1] - chosen[name][1]
        if cost + more > budget:
            loss = sum(point[2] for point in chosen.values())
            bound = max(0.0, loss - price * (budget - cost))
            cost = _fill(points, chosen, budget, cost)
            break
        chosen[name], cost = after, cost + more
    loss = sum(point[2] for point in chosen.values())
    return Allocation({name: point[0] for name, point in chosen.items()}, loss, cost, min(bound, loss))


def _hull(points: list[tuple[int, int, float]]) -> list[tuple[int, int, float]]:
    """The lower convex hull of points in ascending order of cost."""
    hull: list[tuple[int, int, float]] = []
    for point in points:
        while len(hull) > 1 and _price(hull[-2], hull[-1]) < _price(hull[-1], point):
            hull.pop()
        hull.append(point)
    return hull


def _price(before: tuple[int, int, float], after: tuple[int, int, float]) -> float:
    """Loss saved by each parameter of a step."""
    return (before[2] - after[2]) / (after[1] - before[1])


def _fill(
    points: dict[str, list[tuple[int, int, float]]],
    chosen: dict[str, tuple[int, int, float]],
    budget: int,
    cost: int,
) -> int:
    """Spend what is left on the best single steps that fit, hull or not; the cost then."""
    while True:
        best = (0.0, "", (0, 0, 0.0))
        for name, each in points.items():
            now = chosen[name]
            for point in each[each.index(now) + 1 :]:
                if cost + point[1] - now[1] > budget:
                    break
                best = max(best, (_price(now, point), name, point))
        if not best[1]:
            return cost
        cost += best[2][1] - chosen[best[1]][1]
        chosen[best[1]] = best[2]
