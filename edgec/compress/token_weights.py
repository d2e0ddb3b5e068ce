"""How much the loss minds an error at a token: the squared gradient at each matrix's outputs.

Plain GPTQ minimises the mean squared error of a matrix's outputs over all tokens alike, so the few tokens with massive
activations (the first of a window, mostly) rule the second moments although later norms undo them. Weighting token t by
mean_n (dL/dy_tn)^2, the diagonal of the output's Fisher information, asks for small loss instead
(as GuidedQuant does, Kim et al. 2025, arXiv 2505.07004, with one group of output channels).
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor

from edgec.compress.stage import Tokens, Work
from edgec.compress.torch_model import TorchModel

BATCH = 2


def token_weights(model: TorchModel, tokens: Tokens, work: Work) -> dict[str, Tensor]:
    """For every matrix of the blocks, by every name that it is applied under, float32 [samples, length] of mean 1.

    From one pass forward and back.
    """
    found = squared_gradients(model, tokens, work)
    return {name: each / each.mean().clamp_min(1e-30) for name, each in found.items()}


def squared_gradients(model: TorchModel, tokens: Tokens, work: Work) -> dict[str, Tensor]:
    """For every matrix float32 [samples, length]: the mean over its outputs of (dL/dy)^2, L the summed loss."""
    kept = work.load("squared_gradients")
    if kept is not None:
        return {name: torch.from_numpy(array) for name, array in kept.items()}
    ids = torch.from_numpy(tokens)
    samples, length = ids.shape
    found = {name: torch.zeros(samples, length) for name, _ in model.matrices()}
    start = 0

    def watch(name: str) -> Any:
        def forward(module: Any, inputs: Any, output: Tensor) -> None:
            def backward(gradient: Tensor) -> None:
                found[name][start : start + len(gradient)] = gradient.pow(2).mean(-1)

            output.register_hook(backward)

        return forward

    hooks = [module.register_forward_hook(watch(name)) for name, module in model.matrices()]
    try:
        for start in range(0, samples, BATCH):  # the hooks read `start`
            work.say("weights of tokens", start, samples)
            batch = ids[start : start + BATCH]
            hidden = model.embed(batch).requires_grad_(True)
            for layer in range(model.config.n_layers):
                hidden = model.block(layer, hidden)
            logits = model.head(hidden)[:, :-1]
            wanted = batch[:, 1:].reshape(-1)
            torch.nn.functional.cross_entropy(logits.reshape(len(wanted), -1), wanted, reduction="sum").backward()
    finally:
        for hook in hooks:
            hook.remove()
    work.save("squared_gradients", {name: each.numpy().astype(np.float32) for name, each in found.items()})
    return found
