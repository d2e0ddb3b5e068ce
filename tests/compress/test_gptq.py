"""The rounding's four steps against brute force and against their own definitions."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from edgec.compress.gptq import (  # noqa: E402
    damped,
    descend,
    error,
    expand,
    gptq,
    refit_scales,
    round_codes,
    search_scales,
)
from edgec.compress.rtn import quantize_matrix  # noqa: E402
from edgec.compress.sequential import Fit, fit_matrix, packed_tensor  # noqa: E402


def problem(n: int = 24, k: int = 96, seed: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
    """Weights and the second moment of correlated inputs with a few large columns."""
    rng = torch.Generator().manual_seed(seed)
    mix = torch.randn(k, k, generator=rng) * torch.logspace(1, -1, k)
    x = torch.randn(4 * k, k, generator=rng) @ mix
    return torch.randn(n, k, generator=rng), damped(x.T @ x / len(x), 0.01)


@pytest.mark.parametrize("bits", [2, 3, 4, 8])
@pytest.mark.parametrize("group_size", [16, 96, 40])
def test_every_step_lowers_the_error(bits: int, group_size: int) -> None:
    w, h = problem()
    k = w.shape[1]
    plain = torch.from_numpy(quantize_matrix(w.numpy(), bits, group_size)[0].dequantized())
    scale = search_scales(w, h.diagonal(), bits, group_size)
    columns = expand(scale, group_size, k)
    searched = round_codes(w, columns, bits)
    solved = gptq(w, h, columns, bits)
    scale_again = refit_scales(w, solved, h, group_size)
    refitted = expand(scale_again, group_size, k)
    descended = descend(w, solved, h, refitted, bits, sweeps=2)
    errors = [
        error(w, plain, h),
        error(w, searched * columns, h),
        error(w, solved * columns, h),
        error(w, solved * refitted, h),
        error(w, descended * refitted, h),
    ]
    diagonal = torch.diag(h.diagonal())
    assert error(w, searched * columns, diagonal) <= error(w, plain, diagonal) * 1.001  # what the search minimises
    assert errors[2] < 0.8 * errors[1]
    assert errors[3] <= errors[2] * 1.0005  # binary16 may cost a little
    assert errors[4] <= errors[3]


def test_the_search_finds_the_best_of_its_candidates() -> None:
    rng = np.random.default_rng(1)
    w = torch.from_numpy(rng.normal(size=(3, 8)).astype(np.float32))
    weight = torch.from_numpy(rng.random((3, 8)).astype(np.float32))
    found = search_scales(w, weight, 3, 8, steps=9)
    for row in range(3):
        best = np.inf
        extreme = float(w[row][w[row].abs().argmax()])
        for base, factor in itertools.product((abs(extreme) / 3, -extreme / 4), np.linspace(0.65, 1.12, 9)):
            scale = np.float32(np.float16(np.float32(base) * np.float32(factor)))
            codes = np.clip(np.rint(w[row].numpy() / scale), -4, 3)
            best = min(best, float(((w[row].numpy() - codes * scale) ** 2 * weight[row].numpy()).sum()))
        codes = round_codes(w[row : row + 1], found[row : row + 1], 3)
        assert float(((w[row] - codes[0] * found[row]) ** 2 * weight[row]).sum()) == pytest.approx(best, rel=1e-4)


def test_descent_ends_where_no_single_code_helps() -> None:
    w, h = problem(4, 12)
    scale = search_scales(w, h.diagonal(), 3, 12)
    columns = expand(scale, 12, 12)
    codes = descend(w, gptq(w, h, columns, 3), h, columns, 3, sweeps=30)
    end = error(w, codes * columns, h)
    for row, column, step in itertools.product(range(4), range(12), (-1, 1)):
        other = codes.clone()
        other[row, column] = (other[row, column] + step).clamp(-4, 3)
        assert error(w, other * columns, h) >= end - 1e-7


def test_gptq_is_the_published_algorithm() -> None:
    """Column by column with the inverse of the remaining Hessian, written out (Frantar et al., eq. 2 and 3)."""
    w, h = problem(6, 70)
    scale = torch.full((6, 1), 0.4)
    columns = expand(scale, 70, 70)
    rest, codes = w.double().clone(), torch.zeros(6, 70, dtype=torch.float64)
    left = torch.argsort(h.diagonal(), descending=True, stable=True).tolist()
    while left:
        j = left[0]
        inverse = torch.linalg.inv(h.double()[left][:, left])
        codes[:, j] = (rest[:, j] / 0.4).round().clamp(-8, 7)
        miss = (rest[:, j] - codes[:, j] * 0.4) / inverse[0, 0]
        rest[:, left] -= miss[:, None] * inverse[0]
        left = left[1:]
    ours = gptq(w, h, columns, 4)
    assert (ours.double() != codes).double().mean() < 0.01  # ties of float32 against float64
    assert error(w, ours * columns, h) == pytest.approx(error(w, codes.float() * columns, h), rel=1e-3)


def test_pruned_weights_stay_zero() -> None:
    w, h = problem()
    kept = torch.rand(w.shape, generator=torch.Generator().manual_seed(5)) < 0.5
    codes, scale = fit_matrix(w * kept, h, 4, 16, Fit(), kept)
    assert (codes[~kept] == 0).all() and (codes[kept] != 0).float().mean() > 0.8
    tensor = packed_tensor(codes, scale, 4, 16)
    assert (torch.from_numpy(tensor.dequantized())[~kept] == 0).all()


def test_packing_keeps_every_value() -> None:
    w, h = problem(5, 50)
    codes, scale = fit_matrix(w, h, 3, 16, Fit())
    tensor = packed_tensor(codes, scale, 3, 16)
    assert np.array_equal(tensor.dequantized(), (codes * expand(scale, 16, 50)).numpy())


def test_dead_inputs_and_dead_rows_are_harmless() -> None:
    w, h = problem(6, 32)
    w[2] = 0
    h[:, 5] = 0
    h[5] = 0
    codes, scale = fit_matrix(w, h, 4, 16, Fit())
    assert torch.isfinite(scale).all() and (codes[2] == 0).all()
    assert error(w, codes * expand(scale, 16, 32), damped(h, 0.01)) < 0.02
