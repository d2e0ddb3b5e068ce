"""Ranks by share, energy and budget: definitions, and the budget's choice against every other."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest

from edgec.compress.ranks import Curve, allocate, break_even, rank_of_energy, rank_of_ratio
from edgec.errors import RecipeError


@pytest.mark.parametrize(("n", "k"), [(768, 768), (192, 576), (1536, 576), (5, 7), (1, 9), (2, 2)])
def test_break_even_is_the_last_rank_that_stores_less(n: int, k: int) -> None:
    rank = break_even(n, k)
    assert rank * (n + k) < n * k <= (rank + 1) * (n + k)


def test_the_square_of_768_breaks_even_at_384() -> None:
    assert break_even(768, 768) == 383  # 384 stores exactly as much as the matrix


@pytest.mark.parametrize("ratio", [0.05, 0.3, 0.5, 0.9, 0.999])
def test_ratio_is_the_highest_rank_within_its_share(ratio: float) -> None:
    for n, k in ((192, 576), (1536, 576), (100, 100)):
        rank = rank_of_ratio(n, k, ratio)
        assert 1 <= rank <= break_even(n, k)
        assert rank * (n + k) <= ratio * n * k < (rank + 1) * (n + k)
        in_eights = rank_of_ratio(n, k, ratio, 8)
        assert in_eights % 8 == 0 and in_eights in (max(rank // 8 * 8, 8), 8)
    assert rank_of_ratio(10, 10, 0.01) == 1


def test_energy_is_the_lowest_rank_that_keeps_its_share() -> None:
    sizes = np.sqrt(np.array([5.0, 3.0, 1.0, 1.0, 0.0]))
    wanted = {0.4: 1, 0.5: 1, 0.51: 2, 0.8: 2, 0.81: 3, 0.9: 3, 0.95: 4, 0.999999: 4}
    assert {share: rank_of_energy(sizes, share) for share in wanted} == wanted
    assert rank_of_energy(sizes, 0.51, 4) == 4
    assert rank_of_energy(np.zeros(4), 0.9) == 1
    rng = np.random.default_rng(0)
    for _ in range(20):
        sizes = np.sort(rng.exponential(size=30))[::-1]
        rank = rank_of_energy(sizes, 0.9)
        assert (sizes[:rank] ** 2).sum() >= 0.9 * (sizes**2).sum() > (sizes[: rank - 1] ** 2).sum()


def random_curves(seed: int, matrices: int, high: int = 10) -> dict[str, Curve]:
    rng = np.random.default_rng(seed)
    made = {}
    for i in range(matrices):
        n, k = (int(each) for each in rng.integers(4, high, 2))
        sizes = np.sort(rng.exponential(size=min(n, k)))[::-1] * rng.uniform(0.3, 3)
        made[f"m{i}"] = Curve((n, k), sizes, float(rng.uniform(0.1, 5)))
    return made


def best_by_trying(curves: dict[str, Curve], budget: int, multiple: int = 1) -> float:
    """The least loss of all choices within a budget."""
    losses = [
        sum(point[2] for point in choice)
        for choice in itertools.product(*(curve.points(multiple) for curve in curves.values()))
        if sum(point[1] for point in choice) <= budget
    ]
    return min(losses)


def test_points_are_the_definition() -> None:
    curve = Curve((6, 4), np.array([3.0, 2.0, 1.0, 0.5]), 2.0)
    assert break_even(6, 4) == 2
    assert curve.points(1) == [(1, 10, 2 * (4 + 1 + 0.25)), (2, 20, 2 * 1.25), (0, 24, 0.0)]
    assert curve.points(2) == [(2, 20, 2.5), (0, 24, 0.0)]
    assert curve.points(3) == [(0, 24, 0.0)]


@pytest.mark.parametrize("seed", range(12))
@pytest.mark.parametrize("share", [0.5, 0.7, 0.85, 0.97])
def test_no_choice_within_the_budget_beats_the_bound_and_few_the_choice(seed: int, share: float) -> None:
    curves = random_curves(seed, 4)
    budget = int(share * sum(math.prod(curve.shape) for curve in curves.values()))
    lowest = sum(curve.points(1)[0][1] for curve in curves.values())
    if budget < lowest:
        with pytest.raises(RecipeError, match=f"less than the {lowest}"):
            allocate(curves, budget)
        return
    found = allocate(curves, budget)
    best = best_by_trying(curves, budget)
    assert found.bound <= best * (1 + 1e-9) <= found.loss * (1 + 1e-9) + 1e-12
    points = {name: {p[0]: p for p in curve.points(1)} for name, curve in curves.items()}
    chosen = [points[name][rank] for name, rank in found.ranks.items()]
    assert sum(point[1] for point in chosen) == found.parameters <= budget
    assert sum(point[2] for point in chosen) == pytest.approx(found.loss)
    # Exactly what was taken before the budget ran short is optimal for its own cost: no gap at all.
    again = allocate(curves, found.parameters)
    assert again.loss <= found.loss * (1 + 1e-12)


@pytest.mark.parametrize("seed", range(6))
def test_convex_curves_of_equal_steps_are_chosen_optimally(seed: int) -> None:
    """All ranks cost the same and none is dense: the greedy choice is the optimum, and its own bound proves it."""
    rng = np.random.default_rng(seed)
    curves = {f"m{i}": Curve((64, 64), np.sort(rng.exponential(size=64))[::-1], rng.uniform(1, 3)) for i in range(3)}
    energies = {name: curve.weight * curve.sizes**2 for name, curve in curves.items()}
    for ranks in (3, 10, 25):
        found = allocate(curves, ranks * 128)
        largest = sorted((e for name in curves for e in energies[name][1:]), reverse=True)[: ranks - 3]
        total = sum(float(each.sum()) for each in energies.values())
        assert sum(found.ranks.values()) == ranks
        wanted = total - sum(float(each[0]) for each in energies.values()) - sum(map(float, largest))
        assert found.loss == pytest.approx(wanted)
        assert found.bound == pytest.approx(found.loss)


def test_room_for_all_leaves_all_dense_and_nothing_lost() -> None:
    curves = random_curves(1, 5)
    found = allocate(curves, sum(math.prod(curve.shape) for curve in curves.values()))
    assert found.loss == found.bound == 0 and set(found.ranks.values()) == {0}


def test_parameters_that_save_nothing_are_not_spent() -> None:
    sizes = np.array([2.0, 1.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0])
    found = allocate({"m": Curve((8, 8), sizes)}, 64)
    assert found.ranks == {"m": 2} and found.loss == found.bound == 0 and found.parameters == 32


def test_what_no_whole_step_of_the_hull_fits_into_is_still_spent() -> None:
    """Flat singular values: from rank 1 the hull goes straight to the dense matrix, which 50 parameters do not hold."""
    curve = Curve((8, 8), np.ones(8))
    assert curve.points(1) == [(1, 16, 7.0), (2, 32, 6.0), (3, 48, 5.0), (0, 64, 0.0)]
    found = allocate({"m": curve}, 50)
    assert found.ranks == {"m": 3} and found.parameters == 48 and found.loss == 5
    assert found.bound == pytest.approx(7 - 7 / 48 * 34)


def test_heavier_matrices_get_higher_ranks_and_multiples_are_kept() -> None:
    sizes = np.linspace(3, 0.1, 64)
    curves = {"light": Curve((64, 64), sizes, 1.0), "heavy": Curve((64, 64), sizes, 4.0)}
    found = allocate(curves, 32 * 128, 4)
    assert found.ranks["heavy"] > found.ranks["light"] >= 4
    assert all(rank % 4 == 0 for rank in found.ranks.values())
