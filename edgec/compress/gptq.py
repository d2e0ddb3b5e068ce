"""Rounding a matrix for its inputs: codes and scales that minimise tr (W - Q) H (W - Q)^T, H a second moment of inputs.

Four steps, each a plain function on torch tensors:

    search_scales   per group the scale with the least error weighted by diag(H), over both grids of compress/rtn.py
    gptq            column by column, the rounding error of each fed to the columns not yet rounded (Frantar et al.,
                    2023, arXiv 2210.17323): columns of large H first (act-order), with scales that are fixed before,
                    so that groups stay consecutive; Cholesky of the damped inverse
    refit_scales    least squares for all scales of a row at once, codes fixed
    descend         coordinate descent on codes, scales fixed: every step lowers the error or leaves the code

W float32 [n, k], H float64 or float32 [k, k], scales [n, groups], codes float [n, k] in [-2^(b-1), 2^(b-1) - 1].
`kept`, where given, is bool [n, k]: codes elsewhere are exactly 0, and their error is fed on like any other.
"""

from __future__ import annotations

import torch
from torch import Tensor

BLOCK = 64  # columns whose updates of the rest are made as one product


def damped(h: Tensor, share: float) -> Tensor:
    """H with `share` of its mean diagonal added; dead inputs (zero moment) get 1, so that H is invertible."""
    h = h.clone()
    diagonal = h.diagonal()
    dead = diagonal <= 0
    diagonal[dead] = 1.0
    diagonal += share * diagonal[~dead].mean() if bool((~dead).any()) else 0.0
    return h


def expand(scale: Tensor, group_size: int, k: int) -> Tensor:
    """Scales [n, groups] for every column, [n, k]."""
    return scale.repeat_interleave(group_size, dim=1)[:, :k]


def to_half(scale: Tensor) -> Tensor:
    """Scales as the device stores them, rounded to binary16."""
    return scale.half().float()


def round_codes(w: Tensor, scale: Tensor, bits: int) -> Tensor:
    """Nearest codes; a scale of zero gives code 0."""
    low, high = -(2 ** (bits - 1)), 2 ** (bits - 1) - 1
    inverse = torch.where(scale == 0, 0, 1 / torch.where(scale == 0, 1, scale))
    return (w * inverse).round_().clamp_(low, high)


def search_scales(w: Tensor, importance: Tensor, bits: int, group_size: int, steps: int = 24) -> Tensor:
    """Scales [n, groups], binary16 values: the best of `steps` shrinkages of absmax on both grids.

    importance [k] or [n, k] weights the squared errors.
    """
    n, k = w.shape
    pad = -k % group_size
    grouped = torch.nn.functional.pad(w, (0, pad)).view(n, -1, group_size)
    weight = torch.nn.functional.pad(importance.expand(n, k) if importance.ndim == 1 else importance, (0, pad))
    weight = weight.view(n, -1, group_size)
    low, high = grouped.amin(-1), grouped.amax(-1)
    extreme = torch.where(high > -low, high, low)
    half = 2 ** (bits - 1)
    best = torch.full_like(extreme, float("inf"))
    scale = torch.zeros_like(extreme)
    widest = 1.12 if bits <= 4 else 1.0
    for base in (extreme.abs() / (half - 1), -extreme / half):
        for factor in torch.linspace(0.45 if bits == 2 else 0.65 if bits <= 4 else 0.9, widest, steps).tolist():
            trial = to_half(base * factor)
            codes = round_codes(grouped, trial[..., None], bits)
            error = ((grouped - codes * trial[..., None]) ** 2 * weight).sum(-1)
            better = error < best
            best = torch.where(better, error, best)
            scale = torch.where(better, trial, scale)
    return scale


def gptq(w: Tensor, h: Tensor, columns: Tensor, bits: int, kept: Tensor | None = None) -> Tensor:
    """Codes [n, k] for scales `columns` [n, k]; h is damped already."""
    order = torch.argsort(h.diagonal(), descending=True, stable=True)
    upper = upper_inverse(h[order][:, order])
    # Transposed, so that a column of W is contiguous: this is what the loop walks along.
    rest, scales = w.T[order].contiguous(), columns.T[order].contiguous()
    mask = None if kept is None else kept.T[order]
    codes = torch.empty_like(rest)
    k = w.shape[1]
    for start in range(0, k, BLOCK):
        stop = min(start + BLOCK, k)
        block, u = rest[start:stop], upper[start:stop, start:stop]
        errors = torch.empty_like(block)
        for i in range(stop - start):
            code = round_codes(block[i], scales[start + i], bits)
            if mask is not None:
                code = code * mask[start + i]
            codes[start + i] = code
            errors[i] = (block[i] - code * scales[start + i]) / u[i, i]
            block[i + 1 :].addr_(u[i, i + 1 :], errors[i], alpha=-1)
        rest[stop:] -= upper[start:stop, stop:].T @ errors
    return codes[torch.argsort(order)].T.contiguous()


def upper_inverse(h: Tensor) -> Tensor:
    """Upper Cholesky factor of H^-1, float32, computed in float64."""
    lower = torch.linalg.cholesky(h.double())
    return torch.linalg.cholesky(torch.cholesky_inverse(lower), upper=True).float()


def refit_scales(w: Tensor, codes: Tensor, h: Tensor, group_size: int) -> Tensor:
    """Scales [n, groups], binary16 values, that minimise the error for these codes."""
    n, k = w.shape
    groups = -(-k // group_size)
    pad = groups * group_size - k
    target = torch.nn.functional.pad(codes, (0, pad)).view(n, groups, group_size)
    right = torch.nn.functional.pad(w @ h, (0, pad)).view(n, groups, group_size)
    b = (target * right).sum(-1)
    a = torch.empty(n, groups, groups)
    for g in range(groups):
        rows = slice(g * group_size, min((g + 1) * group_size, k))
        product = torch.nn.functional.pad(codes[:, rows] @ h[rows], (0, pad)).view(n, groups, group_size)
        a[:, g] = (product * target).sum(-1)
    # A group whose codes are all zero has no say: its row would make the system singular.
    empty = a.diagonal(dim1=1, dim2=2) <= 0
    a.diagonal(dim1=1, dim2=2)[empty] = 1.0
    ridge = 1e-6 * a.diagonal(dim1=1, dim2=2).mean(1)
    a.diagonal(dim1=1, dim2=2).add_(ridge[:, None])
    solved = torch.linalg.solve(a.double(), b.double()[..., None])[..., 0].float()
    return to_half(torch.where(empty, 0, solved))


def descend(
    w: Tensor, codes: Tensor, h: Tensor, columns: Tensor, bits: int, kept: Tensor | None = None, sweeps: int = 1
) -> Tensor:
    """Codes after `sweeps` passes over all columns."""
    low, high = -(2 ** (bits - 1)), 2 ** (bits - 1) - 1
    codes, scales = codes.T.contiguous(), columns.T.contiguous()
    mask = None if kept is None else kept.T
    inverse = torch.where(scales == 0, 0, 1 / torch.where(scales == 0, 1, scales)) / h.diagonal()[:, None]
    for _ in range(sweeps):
        gradient = h @ (w.T - codes * scales)
        for start in range(0, w.shape[1], BLOCK):
            stop = min(start + BLOCK, w.shape[1])
            inside, steps = gradient[start:stop], torch.empty_like(gradient[start:stop])
            for i in range(stop - start):
                j = start + i
                new = (codes[j] + (inside[i] * inverse[j]).round_()).clamp_(low, high)
                if mask is not None:
                    new = new * mask[j]
                steps[i] = (new - codes[j]) * scales[j]
                codes[j] = new
                inside[i + 1 :].addr_(h[j, j + 1 : stop], steps[i], alpha=-1)
            gradient[stop:] -= h[stop:, start:stop] @ steps
    return codes.T.contiguous()


def error(w: Tensor, q: Tensor, h: Tensor) -> float:
    """tr (W - Q) H (W - Q)^T over tr W H W^T."""
    miss = w - q
    return float(((miss @ h) * miss).sum() / ((w @ h) * w).sum())
