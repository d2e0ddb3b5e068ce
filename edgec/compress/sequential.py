"""Calibrated rounding, block after block.

The inputs of block i come through the float blocks before it, or (`sequential`) through these as they are already
rounded, with the chip's int8 activations. On SmolLM2-135M with tokens weighted by the loss's gradient, 4 bits in groups
of 64, the former gave perplexity 39.8 on the chip's activations, the latter 40.0: fitting matrices to perturbed inputs
without correcting their targets buys nothing, so it is not the default.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np
import torch
from torch import Tensor

from edgec.compress.block_moments import fit_blocks
from edgec.compress.chip_numerics import ChipActivations, group_sizes
from edgec.compress.gptq import damped, descend, error, expand, gptq, refit_scales, round_codes, search_scales
from edgec.compress.quantized import QuantizedTensor
from edgec.compress.stage import Work
from edgec.compress.token_weights import token_weights
from edgec.compress.torch_model import TorchModel, load_torch
from edgec.errors import RecipeError
from edgec.frontend.checkpoint import Checkpoint
from edgec.packing import pack

T = TypeVar("T")
BATCH = 8  # windows of a forward pass; the matrices' inputs of one block are kept for all windows


@dataclass(frozen=True)
class Fit:
    """Options of the rounding itself."""

    solve: bool = True  # GPTQ and coordinate descent; False: the scale search alone
    guided: bool = True
    damp: float = 0.01
    rounds: int = 3
    sweeps: int = 2
    sequential: bool = False


def fit_matrix(
    w: Tensor, h: Tensor, bits: int, group_size: int, fit: Fit, kept: Tensor | None = None
) -> tuple[Tensor, Tensor]:
    """Codes [n, k] and scales [n, groups] of one matrix for the second moment h [k, k] of its inputs."""
    k = w.shape[1]
    h = damped(h / h.diagonal().mean().clamp_min(1e-30), fit.damp)
    scale = search_scales(w, h.diagonal(), bits, group_size)
    if not fit.solve:
        codes = round_codes(w, expand(scale, group_size, k), bits)
        return (codes if kept is None else codes * kept), scale
    codes = gptq(w, h, expand(scale, group_size, k), bits, kept)
    for _ in range(fit.rounds):
        scale = refit_scales(w, codes, h, group_size)
        codes = descend(w, codes, h, expand(scale, group_size, k), bits, kept, fit.sweeps)
    return codes, scale


def packed_tensor(codes: Tensor, scale: Tensor, bits: int, group_size: int) -> QuantizedTensor:
    """Signed codes and scales in the device's form."""
    unsigned = (codes + 2 ** (bits - 1)).to(torch.uint8).numpy()
    k = codes.shape[1]
    return QuantizedTensor(
        pack(unsigned, bits, group_size), scale.numpy().astype(np.float16), None, k, bits, group_size
    )


def quantize_blocks(
    model: Checkpoint, grids: dict[str, tuple[int, int]], fit: Fit, work: Work
) -> Iterator[tuple[str, QuantizedTensor, float]]:
    """(name, packed matrix, error) for every matrix in `grids`, which gives its bits and group size.

    The error is tr (W-Q) H (W-Q)^T / tr W H W^T on the calibration text, tokens weighted as in the fit: the share of
    the outputs' power that is lost where the loss minds it. What is done is kept in work.partial block by block.
    """
    tokens = work.tokens(model)
    module = load_torch(model)
    weights = token_weights(module, tokens, work) if fit.guided else {}
    structure = model.structure
    if fit.sequential:
        module.act = ChipActivations(group_sizes(structure, {name: size for name, (_, size) in grids.items()}))
    with torch.no_grad():
        hidden = module.embed(torch.from_numpy(tokens))

        def moments(layer: int, users: list[str]) -> dict[str, Tensor]:
            return _moments(module, layer, hidden, users, weights)

        def fitted(names: list[str], ready: dict[str, Tensor]) -> dict[str, Any]:
            return _fit(module, ready, {name: grids[name] for name in names}, fit, model)

        for layer, names, done in fit_blocks(structure, grids, moments, fitted, work):
            for name in names:
                tensor = QuantizedTensor(
                    done[f"{name}.packed"], done[f"{name}.scale"], None, module.linear(name).in_features, *grids[name]
                )
                if fit.sequential:
                    module.linear(name).weight.data = torch.from_numpy(tensor.dequantized())
                yield name, tensor, float(done[f"{name}.error"])
            hidden = torch.cat([module.block(layer, part) for part in hidden.split(BATCH)])


def _moments(
    module: TorchModel, layer: int, hidden: Tensor, names: list[str], weights: dict[str, Tensor]
) -> dict[str, Tensor]:
    """X D X^T [k, k] of the inputs of a block's matrices; D are the tokens' weights, where given."""
    inputs = block_inputs(module, layer, hidden, names)

    def moment(name: str) -> Tensor:
        x = inputs[name]
        if not torch.isfinite(x).all():
            raise RecipeError(f"the inputs of {name} overflow on the calibration text; the checkpoint is damaged.")
        return x.T @ (x * weights[name].reshape(-1)[:, None] if weights else x)

    return each_alone(names, lambda name: int(inputs[name].shape[1]), moment)


def _fit(
    module: TorchModel, moments: dict[str, Tensor], grids: dict[str, tuple[int, int]], fit: Fit, model: Checkpoint
) -> dict[str, Any]:
    def fit_one(name: str) -> dict[str, Any]:
        bits, group_size = grids[name]
        w, h = module.linear(name).weight.data, moments[name]
        kept = w != 0 if name in model.patterns else None
        codes, scale = fit_matrix(w, h, bits, group_size, fit, kept)
        tensor = packed_tensor(codes, scale, bits, group_size)
        return {
            f"{name}.packed": tensor.packed,
            f"{name}.scale": tensor.scale,
            f"{name}.error": np.float64(error(w, codes * expand(scale, group_size, w.shape[1]), h)),
        }

    done = each_alone(list(grids), lambda name: module.linear(name).weight.numel(), fit_one)
    return {key: value for name in grids for key, value in done[name].items()}


def each_alone(names: list[str], size: Callable[[str], int], work: Callable[[str], T]) -> dict[str, T]:
    """work(name) for all, the largest first, each on one thread.

    Thousands of short steps: two threads on each would wait for each other at every one, so each thread has a matrix.
    """

    def alone(name: str) -> T:
        torch.set_num_threads(1)
        return work(name)

    threads = torch.get_num_threads()
    try:
        with ThreadPoolExecutor(threads) as pool:
            largest_first = sorted(names, key=lambda name: -size(name))
            return dict(zip(largest_first, pool.map(alone, largest_first), strict=True))
    finally:
        torch.set_num_threads(threads)


def block_inputs(module: TorchModel, layer: int, hidden: Tensor, names: list[str]) -> dict[str, Tensor]:
    """Inputs [tokens, k] of a block's matrices, as module.act leaves them; those that share inputs share a tensor."""
    pieces: dict[str, list[Tensor]] = {name: [] for name in names}

    def watch(name: str) -> Any:
        return lambda m, inputs, output: pieces[name].append(inputs[0])

    hooks = [module.linear(name).register_forward_hook(watch(name)) for name in names]
    try:
        for part in hidden.split(BATCH):
            module.block(layer, part)
    finally:
        for hook in hooks:
            hook.remove()
    joined: dict[tuple[int, ...], Tensor] = {}
    result = {}
    for name, parts in pieces.items():
        key = tuple(id(part) for part in parts)
        result[name] = joined[key] if key in joined else joined.setdefault(key, torch.cat(parts).flatten(0, -2))
    return result
