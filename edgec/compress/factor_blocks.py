"""Factors of a model's matrices in any basis, block after block, with the inputs' statistics where the basis has some.

Inputs come through the blocks before as they were before this stage: ranks are chosen when all singular values are
known. A matrix that several places share is factored once, for the inputs of all of them.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from edgec.compress.eora import input_moments
from edgec.compress.low_rank import Factors, Fit, asvd, drone, fisher, plain, whitened
from edgec.compress.sensitivity import Floats, Groups, fisher_sums, input_mean_abs, loss_of_removal
from edgec.compress.stage import Tokens, Work, layers_of
from edgec.compress.token_weights import squared_gradients
from edgec.compress.torch_model import load_torch
from edgec.frontend.checkpoint import Checkpoint

MOMENTS = ("whitened", "drone")  # bases that are made from the inputs' second moments


@dataclass
class Statistics:
    """Statistics of a group, over the blocks that have been run."""

    moment: Any = 0.0
    mean_abs: Any = 0.0
    removal: float = 0.0


def factor_blocks(
    model: Checkpoint, groups: Groups, bounds: Mapping[str, int], fit: Fit, tokens: Tokens | None, work: Work
) -> tuple[dict[str, Factors], dict[str, float]]:
    """Factors of each group's matrix up to rank bounds[name], and the mean loss's estimated rise without it.

    What is done is kept in work.partial block by block.
    """
    if not fit.needs_text or tokens is None:
        made = {}
        for number, name in enumerate(groups):
            work.say("matrices", number, len(groups))
            made[name] = plain(model.effective(name), bounds[name])
        return made, dict.fromkeys(groups, 0.0)
    layers = model.config.n_layers
    last = {name: max(int(user.split(".")[2]) for user in users) for name, users in groups.items()}
    owners = {user: name for name, users in groups.items() for user in users}
    found = {layer: work.load(f"block{layer}") for layer in sorted(set(last.values()))}
    finished = {name for name in groups if found[last[name]] is not None}
    module = load_torch(model)
    gradients = squared_gradients(module, tokens, work) if fit.removal or (fit.guided and fit.basis in MOMENTS) else {}
    sums = fisher_sums(module, tokens, groups, work) if fit.basis == "fisher" else {}
    statistics = {name: Statistics() for name in groups}
    with torch.no_grad():
        hidden = [module.embed(window) for window in torch.from_numpy(tokens).split(1)]
        for layer in range(layers):
            work.say("blocks", layer, layers)
            if len(finished) == len(groups):
                break
            names = [name for name in layers_of(list(owners), layer) if owners[name] not in finished]
            if fit.basis in MOMENTS:
                weights = {name: gradients[name] for name in names} if fit.guided else {}
                for name, moment in input_moments(module, layer, hidden, names, weights).items():
                    statistics[owners[name]].moment = statistics[owners[name]].moment + moment.numpy()
            if fit.basis == "asvd":
                for name, mean in input_mean_abs(module, layer, hidden, names).items():
                    statistics[owners[name]].mean_abs = statistics[owners[name]].mean_abs + mean
            if fit.removal:
                for name, loss in loss_of_removal(module, layer, hidden, names, gradients).items():
                    statistics[owners[name]].removal += loss / tokens.size
            here = [name for name in groups if last[name] == layer and name not in finished]
            if here:
                done: dict[str, Any] = {}
                for name in here:
                    each = statistics.pop(name)
                    factors = factored(model.effective(name), each, sums.get(name), fit, bounds[name])
                    done |= {f"{name}.a": factors.a, f"{name}.b": factors.b, f"{name}.sizes": factors.sizes}
                    done[f"{name}.removal"] = np.float64(each.removal)
                work.save(f"block{layer}", done)
                found[layer] = done
                finished |= set(here)
            hidden = [module.block(layer, part) for part in hidden]
    made, removal = {}, {}
    for name in groups:
        kept = found[last[name]] or {}
        made[name] = Factors(kept[f"{name}.a"], kept[f"{name}.b"], kept[f"{name}.sizes"])
        removal[name] = float(kept[f"{name}.removal"])
    return made, removal


def factored(w: Any, sums: Statistics, weights: tuple[Floats, Floats] | None, fit: Fit, bound: int) -> Factors:
    """The factors of a matrix in the fit's basis, up to a rank; weights: Fisher information of rows and of columns."""
    if fit.basis == "whitened":
        return whitened(w, sums.moment, fit.damp, bound)
    if fit.basis == "drone":
        return drone(w, sums.moment, bound)
    if fit.basis == "asvd":
        return asvd(w, sums.mean_abs, fit.alpha, bound)
    if weights is not None:
        rows, columns = weights
        return fisher(w, None if fit.side == "inputs" else rows, None if fit.side == "outputs" else columns, bound)
    return plain(w, bound)
