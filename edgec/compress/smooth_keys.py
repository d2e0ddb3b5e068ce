"""smooth_keys: makes keys easy to round, without changing what attention computes. For a KV cache of few bits.

Keys have much in common over tokens, and a few channels are larger than all others; with one scale per token and head
both cost resolution. Two changes leave every softmax as it is:

* A constant vector subtracted from all keys of a head (after rotation) adds the same q . constant to all scores of a
  query. It is taken from the rows as they enter the cache (kv_append's k_centre; SageAttention, Zhang et al. 2024,
  arXiv 2410.02367, does so per batch).
* A rotary pair (i, i + head_dim/2) of a key head may be divided by a constant, and that pair of its query heads
  multiplied by it, as rotation mixes only the two. So scales per channel (KIVI, Liu et al. 2024, arXiv 2402.02750) cost
  the device nothing: they are folded into the rows of W_k and W_q, or into the gains of q and k norms.

    c[pair] = (r[pair] / geometric mean of r)^power,   r = root mean square of the centred pair over calibration tokens
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from edgec.compress.stage import Work
from edgec.errors import RecipeError
from edgec.frontend.checkpoint import Checkpoint, FloatArray
from edgec.frontend.model_config import ModelConfig
from edgec.frontend.structure import role_of

SMALLEST = 1e-6  # of a pair, relative to the largest: a dead pair is not blown up


@dataclass(frozen=True)
class SmoothKeys:
    """power: 1 makes all pairs equally large, 0 leaves their sizes. centre: subtract what keys have in common.

    samples: calibration windows that are looked at.
    """

    method: ClassVar[str] = "smooth_keys"
    power: float = 0.5
    centre: bool = True
    samples: int = 8

    def __post_init__(self) -> None:
        if not 0 <= self.power <= 1:
            raise RecipeError(f"smooth_keys.power is {self.power}; it is 0 to 1.")
        if self.samples < 1:
            raise RecipeError(f"smooth_keys.samples is {self.samples}; it is at least 1.")

    def shape(self, config: ModelConfig) -> ModelConfig:
        """Unchanged. Raises RecipeError for heads without pairs of channels."""
        if config.head_dim % 2:
            raise RecipeError(f"smooth_keys evens out channels in pairs; heads of {config.head_dim} have none.")
        return config

    def run(self, model: Checkpoint, work: Work) -> Checkpoint:
        """The same function with balanced keys. Raises RecipeError if q or k are packed already."""
        config = self.shape(model.config)
        # Of a product, the factor that gives the outputs.
        names = [model.structure.parts(n)[-1] for n in model.matrix_names() if role_of(n) in ("q", "k")]
        if self.power and any(name in model.packed or name in model.branches for name in names):
            raise RecipeError(
                "smooth_keys evens out channels in the float weights of q and k, which are packed or have branches "
                "here; put it before quantize, or set its power to 0, which only centres."
            )
        if self.power and not {*model.shared, *model.shared.values()}.isdisjoint(names):
            raise RecipeError(
                "smooth_keys scales the keys of every block by themselves, but blocks share q or k here; set its power "
                "to 0, which only centres."
            )
        means, sizes = key_statistics(model, work, self.samples)
        centres = dict(model.key_centres)
        tensors: dict[str, FloatArray] = {}
        spread = []
        for mean, size, layer in zip(means, sizes, config.attention_layers, strict=True):  # [n_kv_heads, head_dim / 2]
            attn = f"model.layers.{layer}.self_attn"
            normed = f"{attn}.k_norm.weight" in model
            if normed and self.power:  # one gain for all heads
                size = np.sqrt(np.mean(size**2, axis=0, keepdims=True))
            size = np.maximum(size, SMALLEST * size.max(axis=1, keepdims=True) + np.finfo(np.float32).tiny)
            c = (size / np.exp(np.log(size).mean(axis=1, keepdims=True))) ** self.power
            spread.append(float((size.max(axis=1) / np.median(size, axis=1)).mean()))
            both = np.concatenate([c, c], axis=1).astype(np.float32)  # [heads, head_dim]
            if self.centre:  # of the keys as they will be: divided
                centres[attn] = (mean / both).reshape(-1).astype(np.float32)
            if not self.power:
                continue
            queries = np.repeat(both, config.n_heads // len(both), axis=0)
            for role, factor in (("q", queries.reshape(-1)), ("k", 1 / both.reshape(-1))):
                if normed:
                    norm = f"{attn}.{role}_norm.weight"
                    tensors[norm] = model.tensor(norm) * (both[0] if role == "q" else 1 / both[0])
                    continue
                weight, bias = f"{attn}.{role}_proj.weight", f"{attn}.{role}_proj.bias"
                weight = model.structure.parts(weight)[-1]
                tensors[weight] = model.tensor(weight) * factor[:, None]
                if bias in model:
                    tensors[bias] = model.tensor(bias) * factor
        work.notes["largest_over_median"] = [round(value, 3) for value in spread]
        return model.with_tensors(tensors, key_centres=centres)


def key_statistics(
    model: Checkpoint, work: Work, samples: int
) -> tuple[list[NDArray[np.float64]], list[NDArray[np.float64]]]:
    """Of the rotated keys over calibration tokens, for every layer that has attention: their mean [n_kv_heads,
    head_dim], and the root mean square of each rotary pair's distance from it [n_kv_heads, head_dim / 2]."""
    import torch

    from edgec.compress.torch_model import Activations, load_torch

    config = model.config
    first: list[Any] = []
    second: list[Any] = []

    class Keys(Activations):
        """Sums keys after rotation, and their squares."""

        def heads(self, x: Any, role: str) -> Any:
            if role == "k":
                first.append(x.double().mean(dim=(0, 2)).numpy())
                second.append(x.double().pow(2).mean(dim=(0, 2)).numpy())
            return x

    module = load_torch(model)
    module.act = Keys()
    tokens = torch.from_numpy(work.tokens(model, samples, at_most=True))
    shape = (len(config.attention_layers), config.n_kv_heads, config.head_dim)
    means, squares = np.zeros(shape), np.zeros(shape)
    with torch.no_grad():
        for done, window in enumerate(tokens.split(1)):
            work.say("windows", done, len(tokens))
            first.clear()
            second.clear()
            hidden = module.embed(window)
            for layer in range(config.n_layers):
                hidden = module.block(layer, hidden)
            means += np.stack(first) / len(tokens)
            squares += np.stack(second) / len(tokens)
    variance = np.maximum(squares - means**2, 0)
    half = config.head_dim // 2
    return list(means), list(np.sqrt(variance[..., :half] + variance[..., half:]))


STAGE = SmoothKeys
