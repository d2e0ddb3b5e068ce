"""Left factors fitted anew to what really reaches them, block after block.

A product B A that is best for a matrix's own inputs X gets other inputs X' in the finished model, as the blocks before
it are products too. SVD-LLM's closed-form update (Wang et al. 2024, arXiv 2403.07378v4, section 3.3) keeps A and takes
the B with the least |W X - B A X'|, so that each block takes back what it can of the errors before it. Here with a
ridge towards the old B, of `damp` times the mean power of A X', as a short text determines B badly:

    B = (W X Z^T + lambda B_old) (Z Z^T + lambda I)^-1,   Z = A X'

Solved in float64. B of a product that several places share is fitted to all of them, after the block of the last.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor

from edgec.compress.stage import Tokens, Work, layers_of
from edgec.compress.torch_model import TorchModel, load_torch
from edgec.errors import RecipeError
from edgec.frontend.checkpoint import Checkpoint, LowRank
from edgec.frontend.structure import factor_names


def refitted(
    model: Checkpoint, products: Mapping[str, LowRank], tokens: Tokens, damp: float, work: Work
) -> dict[str, LowRank]:
    """The products of a model's stored matrices with other left factors. What is done is kept block by block."""
    original, made = load_torch(model), load_torch(model.with_factors(products))
    owners = {user: name for name in products for user in model.structure.users(name)}
    last = {name: max(int(user.split(".")[2]) for user, owner in owners.items() if owner == name) for name in products}
    found: dict[str, LowRank] = {}
    sums: dict[str, tuple[Tensor, Tensor]] = {}
    with torch.no_grad():
        before = [original.embed(window) for window in torch.from_numpy(tokens).split(1)]
        now = list(before)
        for layer in range(model.config.n_layers):
            work.say("left factors, blocks", layer, model.config.n_layers)
            ending = [name for name in products if last[name] == layer]
            kept = work.load(f"refit{layer}")
            users = [u for u in layers_of(list(owners), layer) if kept is None or owners[u] not in ending]
            for user, (cross, square) in _correlations(original, made, layer, before, now, users).items():
                a, b = sums.get(owners[user], (torch.zeros(()), torch.zeros(())))
                sums[owners[user]] = a + cross, b + square
            if kept is None:
                kept = {name: _solved(products[name], *sums.pop(name), damp) for name in ending}
                work.save(f"refit{layer}", kept)
            for name in ending:
                found[name] = LowRank(products[name].a, kept[name])
                made.linear(factor_names(name)[1]).weight.data = torch.from_numpy(kept[name])
            before = [original.block(layer, part) for part in before]
            now = [made.block(layer, part) for part in now]
    return {name: found[name] for name in products}


def _correlations(
    original: TorchModel, made: TorchModel, layer: int, before: list[Tensor], now: list[Tensor], names: list[str]
) -> dict[str, tuple[Tensor, Tensor]]:
    """W X Z^T [n, rank] and Z Z^T [rank, rank] over all tokens for a block's matrices; one window a part."""
    wanted: dict[str, Tensor] = {}
    found: dict[str, tuple[Tensor, Tensor]] = {}

    def outputs(name: str) -> Any:
        def hook(matrix: Any, inputs: Any, y: Tensor) -> None:
            wanted[name] = (y if matrix.bias is None else y - matrix.bias).flatten(0, -2)

        return hook

    def inner(name: str) -> Any:
        def hook(matrix: Any, inputs: Any, z: Tensor) -> None:
            rows = z.flatten(0, -2)
            cross, square = (wanted[name].T @ rows).double(), (rows.T @ rows).double()
            old = found.get(name, (0, 0))
            found[name] = old[0] + cross, old[1] + square

        return hook

    hooks = [original.linear(name).register_forward_hook(outputs(name)) for name in names]
    hooks += [made.linear(factor_names(name)[0]).register_forward_hook(inner(name)) for name in names]
    try:
        for one, other in zip(before, now, strict=True) if names else ():
            original.block(layer, one)
            made.block(layer, other)
    finally:
        for each in hooks:
            each.remove()
    for name, pair in found.items():
        if not all(torch.isfinite(each).all() for each in pair):
            raise RecipeError(f"the values at {name} overflow on the calibration text; the checkpoint is damaged.")
    return found


def _solved(product: LowRank, cross: Tensor, square: Tensor, damp: float) -> Any:
    ridge = damp * float(square.diagonal().mean())
    if not ridge > 0:  # inputs are all zero, or nothing ties B to its old value
        ridge = float(np.finfo(np.float32).tiny)
    eye = np.eye(len(square))
    left = cross.numpy() + ridge * product.b.astype(np.float64)
    return np.linalg.solve(square.numpy() + ridge * eye, left.T).T.astype(np.float32)
