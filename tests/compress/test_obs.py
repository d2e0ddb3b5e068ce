"""The optimal brain surgeon on one matrix: by definition, in closed forms, at a share of every block."""

from __future__ import annotations

import pytest

from edgec.compress.masks import keep_highest

torch = pytest.importorskip("torch", reason="torch runs the calibration text")

from edgec.compress.gptq import damped  # noqa: E402
from edgec.compress.obs import prune  # noqa: E402


def problem(n: int = 20, k: int = 48, seed: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
    """A matrix and the damped second moment of correlated inputs."""
    draw = torch.Generator().manual_seed(seed)
    w = torch.randn(n, k, generator=draw)
    x = torch.randn(400, k, generator=draw, dtype=torch.float64) @ torch.randn(k, k, generator=draw).double()
    return w, damped(x.T @ x / 400, 0.01)


def surgeon(w: torch.Tensor, h: torch.Tensor, alive: torch.Tensor) -> torch.Tensor:
    """Hassibi and Stork's update, column by column, with the inverse of what is left of H made anew each time."""
    w = w.double().clone()
    for j in range(w.shape[1]):
        inverse = torch.linalg.inv(h[j:, j:])
        w[:, j:] -= torch.where(alive[:, j], 0.0, w[:, j] / inverse[0, 0])[:, None] * inverse[0]
    return w


def chosen_slowly(w: torch.Tensor, h: torch.Tensor, removed: int, of: int) -> torch.Tensor:
    """Windows from the left by w^2 / [inverse of the rest of H]_00, w as corrected so far."""
    alive = torch.ones_like(w, dtype=torch.bool)
    for start in range(0, w.shape[1], of):
        now = surgeon(w, h, alive)
        cost = torch.stack([now[:, j] ** 2 / torch.linalg.inv(h[j:, j:])[0, 0] for j in range(start, start + of)], 1)
        alive[:, start : start + of].scatter_(1, cost.argsort(dim=1, stable=True)[:, :removed], False)
    return alive


@pytest.mark.parametrize("pattern", [(1, 2), (2, 4), (6, 8), (5, 12), (24, 48)])
@pytest.mark.parametrize("block", [1, 8, 20, 128])
def test_the_definition(pattern: tuple[int, int], block: int) -> None:
    w, h = problem()
    alive = chosen_slowly(w, h, *pattern)
    made = prune(w, h, *pattern, block=block)
    assert torch.equal(made != 0, alive)
    assert torch.allclose(made.double(), surgeon(w, h, alive), atol=1e-5)


def test_one_weight_is_removed_in_closed_form() -> None:
    """From the first column: w - w_0 / [H^-1]_00 * H^-1_0, the least error that a row without its first weight has."""
    w, h = problem(n=3, k=8)
    kept = torch.ones(3, 8, dtype=torch.bool)
    kept[:, 0] = False
    made = prune(w, h, 1, 8, kept=kept)
    rest = torch.linalg.solve(h[1:, 1:], h[1:] @ w.T.double()).T
    assert torch.allclose(made[:, 1:].double(), rest, atol=1e-5) and not made[:, 0].any()


def test_without_correlation_it_is_wanda() -> None:
    w, h = problem()
    h = torch.diag(h.diagonal())
    kept = torch.from_numpy(keep_highest((w.abs() * h.diagonal().sqrt()).numpy(), 2, 4))
    assert torch.equal(prune(w, h, 2, 4), w * kept)


@pytest.mark.parametrize("block", [7, 16, 128])
def test_unstructured_zeros_are_a_share_of_each_block_over_all_rows(block: int) -> None:
    w, h = problem()
    zeros = prune(w, h, 19, 48, windows=False, block=block) == 0
    assert int(zeros.sum()) == 20 * 19
    for part in zeros.split(block, dim=1):
        assert abs(int(part.sum()) - part.numel() * 19 / 48) < 1
    assert len(set(zeros.sum(1).tolist())) > 1
    # The first block is chosen before anything was corrected: exactly the lowest costs of the matrix's columns.
    unit = torch.stack([torch.linalg.inv(h[j:, j:])[0, 0] for j in range(block if block < 48 else 48)])
    cost = w[:, : len(unit)].double() ** 2 / unit
    first = zeros[:, : len(unit)]
    assert cost[first].max() < cost[~first].min()


def test_zeros_that_were_there_stay_and_count() -> None:
    w, h = problem()
    kept = torch.from_numpy(keep_highest(w.abs().numpy(), 1, 4))
    made = prune(w * kept, h, 2, 4, kept=kept)
    assert not made[~kept].any()
    assert ((made.reshape(-1, 4) == 0).sum(1) == 2).all()
    stricter = prune(w * kept, h, 1, 8, kept=kept)
    assert torch.equal(stricter != 0, kept) and torch.equal(stricter, w * kept)
