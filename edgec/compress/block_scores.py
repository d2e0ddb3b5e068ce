"""How much a decoder block matters, by three measures; the lowest is the first to go (see compress/depth.py)."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F  # noqa: N812

from edgec.compress.head_loss import Head, next_token_loss
from edgec.compress.stage import Tokens, Work, layers_of
from edgec.compress.torch_model import TorchModel, load_torch
from edgec.frontend.checkpoint import Checkpoint

BATCH = 16  # windows of a forward pass
HEAD_BATCH = 2  # windows whose logits exist at once

Score = Callable[[list[int], list[int], int], dict[int, float]]  # (blocks alive, candidates, number of the round)


def scorer(model: Checkpoint, metric: str, tokens: Callable[[], Tokens], work: Work) -> Score:
    """A function that scores candidates among the blocks that are still there."""
    if metric == "magnitude":
        return lambda alive, candidates, number: magnitudes(model, candidates, work)
    ids = torch.from_numpy(tokens())
    module = load_torch(model)
    if metric == "taylor":
        return lambda alive, candidates, number: taylor(module, ids, alive, candidates, work, number)
    return lambda alive, candidates, number: losses_without(module, ids, alive, candidates, work, number)


def magnitudes(model: Checkpoint, candidates: list[int], work: Work) -> dict[int, float]:
    """Sum |w| over a block's matrices."""
    scores = {}
    for done, layer in enumerate(candidates):
        work.say("magnitudes", done, len(candidates))
        names = layers_of(model.matrix_names(), layer)
        scores[layer] = float(sum(np.abs(model.tensor(name)).sum(dtype=np.float64) for name in names))
    return scores


def losses_without(
    module: TorchModel,
    tokens: Tensor,
    alive: list[int],
    candidates: list[int],
    work: Work,
    number: int,
    instead: Callable[[int, Tensor], Tensor] = lambda layer, hidden: hidden,
    what: str = "a block",
) -> dict[int, float]:
    """Mean loss of the predicted tokens without the block, or with `instead` in its place.

    The hidden states before a block are computed once and carried on; only the blocks behind it run anew. Every score
    is kept in work.partial.
    """
    key = f"losses{number}"
    kept = work.load(key) or {"blocks": np.empty(0), "losses": np.empty(0)}
    scores = {int(layer): float(loss) for layer, loss in zip(kept["blocks"], kept["losses"], strict=True)}
    parts = tokens.split(BATCH)
    with torch.no_grad():
        hidden = [module.embed(part) for part in parts]
        for place, layer in enumerate(alive[: alive.index(candidates[-1]) + 1]):
            if layer in candidates and layer not in scores:
                work.say(f"loss without {what}, round {number + 1}", candidates.index(layer), len(candidates))
                total = 0.0
                for part, before in zip(parts, hidden, strict=True):
                    states = instead(layer, before)
                    for later in alive[place + 1 :]:
                        states = module.block(later, states)
                    total += summed_loss(module, states, part)
                scores[layer] = total / (len(tokens) * (tokens.shape[1] - 1))
                work.save(key, {"blocks": np.array(list(scores)), "losses": np.array(list(scores.values()))})
            hidden = [module.block(layer, states) for states in hidden]
    return scores


def summed_loss(module: TorchModel, hidden: Tensor, tokens: Tensor) -> float:
    """Sum of the losses of all tokens but the first of each window, from the last block's hidden states."""
    total = 0.0
    for states, ids in zip(hidden.split(HEAD_BATCH), tokens.split(HEAD_BATCH), strict=True):
        logits = module.head(states[:, :-1]).flatten(0, 1)
        total += float(F.cross_entropy(logits, ids[:, 1:].flatten(), reduction="sum"))
    return total


def taylor(
    module: TorchModel, tokens: Tensor, alive: list[int], candidates: list[int], work: Work, number: int
) -> dict[int, float]:
    """Sum |w * dL/dw| over a block's matrices, L the mean loss of the predicted tokens."""
    scores = {}
    for layer, changes in first_order(module, tokens, alive, candidates[0], work, f"gradients, round {number + 1}"):
        if layer in candidates:
            scores[layer] = float(sum(c.abs().sum(dtype=torch.float64) for n, c in changes.items() if "bias" not in n))
    return scores


def first_order(
    module: TorchModel, tokens: Tensor, alive: list[int], first: int, work: Work, what: str
) -> Iterator[tuple[int, dict[str, Tensor]]]:
    """(block, w * dL/dw of its matrices and their biases by tensor name) from the last block down to `first`.

    L is the mean loss of the predicted tokens. Backwards block by block, so that the gradients of one block's weights
    exist at a time.
    """
    with torch.no_grad():
        inputs = {}
        hidden = module.embed(tokens)
        for layer in alive:
            inputs[layer] = hidden
            hidden = torch.cat([module.block(layer, part) for part in hidden.split(BATCH)])
    _, slope = next_token_loss(Head.of(module, torch.float32), hidden, tokens)
    names = [name for name, _ in module.matrices()]
    for done, layer in enumerate(reversed(alive)):
        if layer < first:
            break
        work.say(what, done, len(alive) - alive.index(first))
        named = {name: module.linear(name).weight for name in layers_of(names, layer)}
        biases = (pair for pair in module.blocks[layer].named_parameters() if pair[0].endswith("_proj.bias"))
        named |= {f"model.layers.{layer}.{name}": bias for name, bias in biases}
        weights = [weight.requires_grad_(True) for weight in named.values()]
        slopes = []
        gradients = [torch.zeros_like(weight) for weight in weights]
        for part, onward in zip(inputs.pop(layer).split(BATCH), slope.split(BATCH), strict=True):
            leaf = part.detach().requires_grad_(True)
            with torch.enable_grad():
                found = torch.autograd.grad(module.block(layer, leaf), [leaf, *weights], onward)
            slopes.append(found[0])
            for gradient, each in zip(gradients, found[1:], strict=True):
                gradient += each
        slope = torch.cat(slopes)
        for weight in weights:
            weight.requires_grad_(False)
        yield layer, {name: w.detach() * g for (name, w), g in zip(named.items(), gradients, strict=True)}
