"""WANDA's choice of weights (Sun et al. 2023, arXiv 2306.11695): |W_ij| * ||X_j||_2 compared along each output row.

Block after block: the inputs X of block i come through the blocks before it as they are already pruned.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor

from edgec.compress.masks import Mask, keep_highest
from edgec.compress.stage import Tokens, Work, layers_of
from edgec.compress.torch_model import TorchModel, load_torch
from edgec.errors import RecipeError
from edgec.frontend.checkpoint import Checkpoint

BATCH = 4  # windows of a forward pass


def wanda_masks(
    model: Checkpoint, patterns: dict[str, tuple[int, int]], tokens: Tokens, work: Work
) -> tuple[dict[str, Mask], dict[str, float]]:
    """Masks by name, and the share of each matrix's squared scores that they remove.

    What is done is kept in work.partial block by block.
    """
    module = load_torch(model)
    last = model.config.n_layers - 1
    kept: dict[str, Mask] = {}
    lost: dict[str, float] = {}
    with torch.no_grad():
        hidden = [module.embed(part) for part in torch.from_numpy(tokens).split(BATCH)]
        for layer in range(model.config.n_layers):
            work.say("blocks", layer, model.config.n_layers)
            names = layers_of(list(patterns), layer)
            done = work.load(f"block{layer}")
            if done is None:
                done = {}
                for name, norm in input_norms(module, layer, hidden, names).items():
                    score = np.abs(module.linear(name).weight.numpy()) * norm
                    chosen = keep_highest(score, *patterns[name])
                    done |= {name: np.packbits(chosen, axis=1), f"{name}.lost": np.asarray(share(score, chosen))}
                work.save(f"block{layer}", done)
            for name in names:
                matrix = module.linear(name)
                kept[name] = np.unpackbits(done[name], axis=1, count=matrix.in_features).astype(np.bool_)
                lost[name] = float(done[f"{name}.lost"])
                matrix.weight.data.masked_fill_(torch.from_numpy(~kept[name]), 0.0)
            if layer < last:
                hidden = [module.block(layer, part) for part in hidden]
    return kept, lost


def share(score: Any, kept: Mask) -> float:
    """The part of the squared scores that is removed."""
    power = np.square(score, dtype=np.float64)
    total = float(power.sum())
    return float(power[~kept].sum()) / total if total else 0.0


def input_norms(module: TorchModel, layer: int, hidden: list[Tensor], names: list[str]) -> dict[str, Any]:
    """||X_j||_2 over all tokens, float32 [k], for every input j of these matrices of a block.

    Raises RecipeError if an input is not finite.
    """
    sums: dict[str, Tensor] = {}
    last: list[Any] = [None, None]  # the input seen last and its sums: q, k, v read the same one

    def watch(name: str) -> Any:
        def hook(matrix: Any, inputs: Any, output: Any) -> None:
            if last[0] is not inputs[0]:
                last[:] = [inputs[0], inputs[0].flatten(0, -2).square().sum(0, dtype=torch.float64)]
            sums[name] = sums[name] + last[1] if name in sums else last[1]

        return hook

    hooks = [module.linear(name).register_forward_hook(watch(name)) for name in names]
    try:
        for part in hidden if names else []:
            module.block(layer, part)
    finally:
        for hook in hooks:
            hook.remove()
    for name, each in sums.items():
        if not torch.isfinite(each).all():
            raise RecipeError(f"the inputs of {name} overflow on the calibration text; the checkpoint is damaged.")
    return {name: each.sqrt().float().numpy() for name, each in sums.items()}
