"""How much the loss minds what a factorisation drops: statistics for data-aware bases and for the choice of ranks.

fisher_sums         the Fisher information of weights, summed over rows and columns
loss_of_removal     by gradient: what the loss would rise by, to second order, if a matrix's outputs went
loss_of_probe       measured: what it rises by with a matrix in its factored form
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from edgec.compress.block_scores import summed_loss
from edgec.compress.head_loss import Head, next_token_loss
from edgec.compress.stage import Tokens, Work, layers_of
from edgec.compress.torch_model import TorchModel, load_torch
from edgec.errors import RecipeError
from edgec.frontend.checkpoint import Checkpoint, LowRank

Floats = NDArray[np.float64]
Groups = Mapping[str, Sequence[str]]  # by stored matrix: the matrices that it stands for, itself first


def fisher_sums(module: TorchModel, tokens: Tokens, groups: Groups, work: Work) -> dict[str, tuple[Floats, Floats]]:
    """For every group sum_j F_ij [n] and sum_i F_ij [k], where F_ij is the mean over windows of (dL/dW_ij)^2.

    L is a window's mean loss. Backwards block by block, so that one block's gradients exist at a time.
    """
    kept = work.load("fisher")
    if kept is not None:
        return {name: (kept[f"{name}.rows"], kept[f"{name}.columns"]) for name in groups}
    owners = {user: owner for owner, users in groups.items() for user in users}
    rows: dict[str, Floats] = {}
    columns: dict[str, Floats] = {}
    head = Head.of(module, torch.float32)
    windows = torch.from_numpy(tokens).split(1)
    for done, window in enumerate(windows):
        work.say("gradients of weights", done, len(windows))
        with torch.no_grad():
            inputs = [module.embed(window)]
            for layer in range(module.config.n_layers):
                inputs.append(module.block(layer, inputs[-1]))
        _, slope = next_token_loss(head, inputs.pop(), window)
        open_groups: dict[str, tuple[Tensor, int]] = {}  # gradients of matrices with uses in earlier blocks
        for layer in reversed(range(module.config.n_layers)):
            uses = Counter(owners[name] for name in layers_of(list(owners), layer))
            # Matrices of a group are one parameter, so its gradient is that of all its uses in the block.
            weights = [module.linear(_user_in(groups[owner], layer)).weight.requires_grad_(True) for owner in uses]
            leaf = inputs.pop().requires_grad_(True)
            with torch.enable_grad():
                slope, *found = torch.autograd.grad(module.block(layer, leaf), [leaf, *weights], slope)
            for owner, weight, gradient in zip(uses, weights, found, strict=True):
                weight.requires_grad_(False)
                before, seen = open_groups.pop(owner, (torch.zeros(()), 0))
                if seen + uses[owner] < len(groups[owner]):
                    open_groups[owner] = before + gradient, seen + uses[owner]
                    continue
                square = (before + gradient).double().square() / len(windows)
                rows[owner] = rows.get(owner, 0.0) + square.sum(1).numpy()
                columns[owner] = columns.get(owner, 0.0) + square.sum(0).numpy()
    for name, each in rows.items():
        if not np.isfinite(each).all():
            raise RecipeError(f"the gradients of {name} overflow on the calibration text; the checkpoint is damaged.")
    work.save("fisher", {f"{n}.rows": rows[n] for n in rows} | {f"{n}.columns": columns[n] for n in columns})
    return {name: (rows[name], columns[name]) for name in groups}


def _user_in(users: Sequence[str], layer: int) -> str:
    return layers_of(users, layer)[0]


def input_mean_abs(module: TorchModel, layer: int, hidden: list[Tensor], names: list[str]) -> dict[str, Floats]:
    """Mean |x_j| over all tokens, float64 [k], of the inputs of a block's matrices."""
    tokens = sum(part.shape[0] * part.shape[1] for part in hidden)
    sums = _summed(module, layer, hidden, names, lambda name, window, x, y: x.abs().sum(0, dtype=torch.float64))
    return {name: each / tokens for name, each in sums.items()}


def loss_of_removal(
    module: TorchModel, layer: int, hidden: list[Tensor], names: list[str], gradients: Mapping[str, Tensor]
) -> dict[str, float]:
    """1/2 sum_t g_t |W x_t|^2 over all tokens, for each of a block's matrices; hidden: one window each.

    g_t is the mean squared gradient at token t's outputs (compress/token_weights.py): the diagonal of the loss's second
    derivative as the Fisher information estimates it.
    """

    def power(name: str, window: int, x: Tensor, y: Tensor) -> Tensor:
        bias = module.linear(name).bias
        plain = y if bias is None else y - bias
        return 0.5 * (plain.square().sum(1, dtype=torch.float64) * gradients[name][window]).sum()

    return {name: float(each) for name, each in _summed(module, layer, hidden, names, power).items()}


def loss_of_probe(
    model: Checkpoint, tokens: Tokens, groups: Groups, probes: Mapping[str, LowRank], work: Work
) -> dict[str, float]:
    """What the mean loss rises by if one group alone has the probe's product in place of its matrix.

    Hidden states before a block are computed once. Every loss is kept in work.partial.
    """
    kept = {name: float(value) for name, value in (work.load("probes") or {}).items()}
    module, ids = load_torch(model), torch.from_numpy(tokens)
    count = len(ids) * (ids.shape[1] - 1)
    first = {name: int(users[0].split(".")[2]) for name, users in groups.items()}
    with torch.no_grad():
        hidden = module.embed(ids)
        for layer in range(module.config.n_layers):
            for name in (name for name in groups if first[name] == layer and name not in kept):
                work.say("loss with one matrix factored", len(kept), len(groups))
                before = [module.linear(user).weight.data for user in groups[name]]
                for user in groups[name]:
                    module.linear(user).weight.data = torch.from_numpy(probes[name].product())
                kept[name] = _loss_from(module, layer, hidden, ids) / count
                for user, weight in zip(groups[name], before, strict=True):
                    module.linear(user).weight.data = weight
                work.save("probes", {each: np.asarray(loss) for each, loss in kept.items()})
            hidden = module.block(layer, hidden)
        dense = summed_loss(module, hidden, ids) / count
    return {name: kept[name] - dense for name in groups}


def _loss_from(module: TorchModel, layer: int, hidden: Tensor, ids: Tensor) -> float:
    for later in range(layer, module.config.n_layers):
        hidden = module.block(later, hidden)
    return summed_loss(module, hidden, ids)


def _summed(module: TorchModel, layer: int, hidden: list[Tensor], names: list[str], of: Any) -> dict[str, Any]:
    """The sum over windows of of(name, window, inputs [tokens, k], outputs [tokens, n]), as NumPy has it."""
    found: dict[str, Tensor] = {}

    def watch(name: str) -> Any:
        def hook(matrix: Any, inputs: Any, output: Tensor) -> None:
            found[name] = found.get(name, 0) + of(name, window, inputs[0].flatten(0, -2), output.flatten(0, -2))

        return hook

    hooks = [module.linear(name).register_forward_hook(watch(name)) for name in names]
    try:
        for window, part in enumerate(hidden if names else []):  # noqa: B007 - the hooks read it
            module.block(layer, part)
    finally:
        for each in hooks:
            each.remove()
    for name, value in found.items():
        if not torch.isfinite(value).all():
            raise RecipeError(f"the values at {name} overflow on the calibration text; the checkpoint is damaged.")
    return {name: value.numpy() for name, value in found.items()}
