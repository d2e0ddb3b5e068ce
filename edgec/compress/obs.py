"""Optimal brain surgeon on one matrix: weights become zero and the rest of their row makes up for them.

SparseGPT (Frantar and Alistarh 2023, arXiv 2301.00774). Columns are visited from left to right; with U the upper
Cholesky factor of H^-1 (H^-1 = U^T U), row j of U holds what the inverse of H without the columns before j says:

    cost of removing w_ij       w_ij^2 / U_jj^2
    correction of its row       w_i,l -= w_ij / U_jj * U_jl        for all l > j

so all rows share one factorisation. Which weights go is decided a few columns ahead, when the corrections of everything
before have arrived: a window of an N:M pattern when its first column is reached, and unstructured zeros a block of
columns at a time, over all rows together.
"""

from __future__ import annotations

import torch
from torch import Tensor

from edgec.compress.gptq import upper_inverse


def prune(
    w: Tensor, h: Tensor, removed: int, of: int, windows: bool = True, block: int = 128, kept: Tensor | None = None
) -> Tensor:
    """The pruned matrix, float32 [n, k].

    w float32 [n, k]; h [k, k], damped: the second moment of the inputs. With `windows`, `removed` of every `of`
    consecutive weights of a row are exactly zero; without, that share of each block of columns, over all rows together.
    kept, where given, is bool [n, k]: what is False there is zero already, stays so, and counts among the removed.
    """
    n, k = w.shape
    upper = upper_inverse(h)
    width = max(of, block // of * of) if windows else block  # no window lies across two blocks
    # Transposed, so that a column of W is contiguous: this is what the loop walks along.
    rest = w.T.contiguous()
    alive = torch.ones_like(rest, dtype=torch.bool) if kept is None else kept.T.contiguous()
    for start in range(0, k, width):
        stop = min(start + width, k)
        part, u, mask = rest[start:stop], upper[start:stop, start:stop], alive[start:stop]
        unit = u.diagonal()[:, None]
        if not windows:
            count = n * removed * stop // of - n * removed * start // of  # sums up to the share of the whole matrix
            _remove(mask.view(1, -1), _cost(part, unit, mask).view(1, -1), count)
        errors = torch.empty_like(part)
        for i in range(stop - start):
            if windows and i % of == 0:
                window = slice(i, i + of)
                chosen = mask[window].T.contiguous()
                _remove(chosen, _cost(part[window], unit[window], mask[window]).T, removed)
                mask[window] = chosen.T
            errors[i] = part[i].masked_fill(mask[i], 0.0) / u[i, i]
            part[i].masked_fill_(~mask[i], 0.0)
            part[i + 1 :].addr_(u[i, i + 1 :], errors[i], alpha=-1)
        rest[stop:] -= upper[start:stop, stop:].T @ errors
    return rest.T.contiguous()


def _cost(part: Tensor, unit: Tensor, mask: Tensor) -> Tensor:
    """What removing each weight costs; what is gone already comes before everything else."""
    return ((part / unit) ** 2).masked_fill_(~mask, -1.0)


def _remove(mask: Tensor, cost: Tensor, count: int) -> None:
    """Set the mask of the `count` lowest costs of every row to False; among equals the one further left goes first."""
    lowest = torch.argsort(cost, dim=1, stable=True)[:, :count]
    mask.scatter_(1, lowest, False)
