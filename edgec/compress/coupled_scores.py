"""How much neurons and groups of heads matter; what scores lowest in a block is the first to go (compress/neurons.py).

activation   norm over the tokens of a window of what leaves the neuron (down's input) or the group's heads (o's
             input), mean over windows: 2SSP's first stage (Sandri et al. 2025, arXiv 2501.17771)
taylor       |w * dL/dw| over all weights that go with it: LLM-Pruner (Ma et al. 2023, arXiv 2305.11627), first
             order; "element" sums magnitudes, "vector" takes the magnitude of the sum in each matrix
magnitude    |w| over all weights that go with it
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from edgec.compress.block_scores import BATCH, first_order
from edgec.compress.coupled import GROUP, NEURON, cut_matrix, matrix
from edgec.compress.stage import Tokens, Work, layers_of
from edgec.compress.torch_model import TorchModel, load_torch
from edgec.frontend.checkpoint import Checkpoint
from edgec.frontend.structure import Structure

Scores = dict[str, dict[int, NDArray[np.float64]]]  # by "neurons" and "groups", by block


def structure_scores(model: Checkpoint, metric: str, aggregate: str, tokens: Tokens | None, work: Work) -> Scores:
    """Scores [ffn_dim] of every block and [n_kv_heads] of every block with attention. Kept in work.partial.

    tokens: None for magnitude, which needs none.
    """
    done = work.load("scores")
    if done is None:
        if tokens is None:
            found = dict(_magnitudes(model, work))
        elif metric == "activation":
            found = dict(_activations(load_torch(model), torch.from_numpy(tokens), work))
        else:
            ids, layers = torch.from_numpy(tokens), list(range(model.config.n_layers))
            changes = first_order(load_torch(model), ids, layers, 0, work, "gradients")
            found = {la: _of_weights(model.structure, la, each, aggregate) for la, each in changes}
        done = {f"{kind}.{layer}": s for layer, each in found.items() for kind, s in each.items()}
        work.save("scores", done)
    scores: Scores = {"neurons": {}, "groups": {}}
    for key in sorted(done, key=lambda key: int(key.partition(".")[2])):
        kind, _, layer = key.partition(".")
        scores[kind][int(layer)] = done[key]
    return scores


def by_structure(values: Tensor, axis: int, count: int) -> Tensor:
    """Weights [n, k] (or a bias [n]) by the structure that they go with: [count, ...], cut along `axis` evenly."""
    return (values if axis == 0 else values.T).reshape(count, -1)


def _of_weights(structure: Structure, layer: int, values: Mapping[str, Tensor], aggregate: str) -> dict[str, Any]:
    """Scores of a block from a value for each of its weights, by stored tensor's name."""
    found: dict[str, Any] = {}
    config = structure.config
    for kind, axes, count in (("neurons", NEURON, config.ffn_dim), ("groups", GROUP, config.n_kv_heads)):
        total = torch.zeros(count, dtype=torch.float64)
        for role in axes:
            if matrix(layer, role) not in structure.config.tensor_shapes():
                continue  # a block without attention
            name, axis = cut_matrix(structure, layer, role)
            parts = [by_structure(values[name], axis, count)]
            bias = matrix(layer, role).replace(".weight", ".bias")
            if axis == 0 and bias in values:
                parts.append(by_structure(values[bias], 0, count))
            both = torch.cat(parts, dim=1).double()
            total += both.abs().sum(1) if aggregate == "element" else both.sum(1).abs()
            found[kind] = total.numpy()
    return found


def _magnitudes(model: Checkpoint, work: Work) -> Iterator[tuple[int, dict[str, Any]]]:
    for layer in range(model.config.n_layers):
        work.say("magnitudes", layer, model.config.n_layers)
        names = layers_of(model.stored_tensors(), layer)
        values = {name: torch.from_numpy(model.tensor(name)) for name in names}
        yield layer, _of_weights(model.structure, layer, values, "element")


def _activations(module: TorchModel, tokens: Tensor, work: Work) -> Iterator[tuple[int, dict[str, Any]]]:
    config, windows = module.config, len(tokens)
    kinds = {"down": ("neurons", config.ffn_dim), "o": ("groups", config.n_kv_heads)}
    sums: dict[str, Tensor] = {}

    def watch(role: str) -> Any:
        kind, count = kinds[role]

        def hook(module: Any, inputs: Any, output: Any) -> None:
            x = inputs[0].double()  # [windows, tokens, k]
            norms = x.square().sum(1).reshape(len(x), count, -1).sum(2).sqrt()
            sums[kind] = sums.get(kind, torch.zeros(count, dtype=torch.float64)) + norms.sum(0)

        return hook

    with torch.no_grad():
        hidden = [module.embed(part) for part in tokens.split(BATCH)]
        for layer in range(config.n_layers):
            work.say("activations", layer, config.n_layers)
            sums.clear()
            roles = ["down", *(["o"] if layer in config.attention_layers else [])]
            watched = {role: module.linear(cut_matrix(module.structure, layer, role)[0]) for role in roles}
            hooks = [matrix.register_forward_hook(watch(role)) for role, matrix in watched.items()]
            hidden = [module.block(layer, part) for part in hidden]
            for hook in hooks:
                hook.remove()
            yield layer, {kind: (total / windows).numpy() for kind, total in sums.items()}
