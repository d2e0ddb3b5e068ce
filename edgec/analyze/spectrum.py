"""Explained variance of a model's matrices, alone and joined by role.

With singular values s_1 >= s_2 >= ... of a matrix, EV_r = sum_{i <= r} s_i^2 / sum s_i^2 is the share of its energy
that the best product of rank r keeps. The approximate rank at a share is the least r whose EV_r reaches it.

A role's matrices W_j [n, k] of all blocks are joined in two ways:

    rows       [W_1; W_2; ...]   one input space for all: what a shared right factor could keep
    columns    [W_1, W_2, ...]   one output space for all: what a shared left factor could keep

Squared singular values are the eigenvalues of the smaller Gram matrix, in float64; joined matrices' Gram matrices are
sums, so none is ever held as a whole.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgec.compress.ranks import break_even, rank_of_energy
from edgec.frontend.checkpoint import Checkpoint
from edgec.frontend.structure import BLOCK_ROLES, role_of

SHARES = (0.8, 0.9, 0.95)
Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Spectrum:
    """Singular values of a matrix, or of a role's matrices joined; layer is None for those."""

    role: str
    layer: int | None
    joined: str  # "", "rows" or "columns"
    shape: tuple[int, int]  # [n, k]
    sizes: Floats  # singular values, largest first

    @property
    def explained(self) -> Floats:
        """EV_1 ... EV_min(n, k)."""
        energy = np.cumsum(self.sizes**2)
        return energy / energy[-1] if energy[-1] > 0 else np.ones_like(energy)

    def rank(self, share: float) -> int:
        """The approximate rank at a share."""
        return rank_of_energy(self.sizes, share)

    def row(self) -> dict[str, Any]:
        """What a table says of it."""
        n, k = self.shape
        ranks = {f"rank_{share:g}": self.rank(share) for share in SHARES}
        return {
            "role": self.role,
            "layer": self.layer,
            "joined": self.joined,
            "n": n,
            "k": k,
            "full_rank": min(n, k),
            "break_even": break_even(n, k),
            **ranks,
        }


def spectra(
    model: Checkpoint, roles: tuple[str, ...] = BLOCK_ROLES, say: Callable[[str, int, int], None] = lambda *_: None
) -> Iterator[Spectrum]:
    """Of every matrix of these roles, then of each role's matrices joined by rows and by columns."""
    names = [name for name in model.matrix_names() if role_of(name) in roles]
    by_role: dict[str, list[str]] = {}
    for done, name in enumerate(names):
        say("matrices", done, len(names))
        role = role_of(name)
        by_role.setdefault(role, []).append(name)
        w = model.effective(name).astype(np.float64)
        shape = (w.shape[0], w.shape[1])
        yield Spectrum(
            role, int(name.split(".")[2]), "", shape, _sizes(w @ w.T if w.shape[0] <= w.shape[1] else w.T @ w)
        )
    for done, (role, members) in enumerate(by_role.items()):
        say("joined", done, len(by_role))
        n, k = model.config.tensor_shapes()[members[0]]
        grams = {"rows": np.zeros((k, k)), "columns": np.zeros((n, n))}
        for name in members:
            w = model.effective(name).astype(np.float64)
            grams["rows"] += w.T @ w
            grams["columns"] += w @ w.T
        for joined, shape in (("rows", (len(members) * n, k)), ("columns", (n, len(members) * k))):
            yield Spectrum(role, None, joined, shape, _sizes(grams[joined])[: min(shape)])


def _sizes(gram: Floats) -> Floats:
    """Singular values from a Gram matrix; what rounding made negative is zero."""
    sizes: Floats = np.sqrt(np.maximum(np.linalg.eigvalsh(gram)[::-1], 0))
    return sizes
