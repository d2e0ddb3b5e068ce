"""Weights that are trained through their own rounding: a float behind every code, and the logarithm of every scale.

Latent codes are floats in units of their scale: w = round(start + B A / scale_0) * scale. Their change is of low rank,
as in QA-LoRA (Xu et al. 2023, arXiv 2309.14717) and unlike training every latent code: an optimiser that moves millions
of them by the sign of a noisy gradient flips those near a boundary at random (on SmolLM2-135M that doubled the loss
within 50 steps), while a factor sees thousands of them agree. Gradients pass straight through the rounding; a scale's
is that of the codes as they are.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor

from edgec.compress.quantized import QuantizedTensor
from edgec.packing import pack, unpack

INSIDE = 0.49  # a latent weight starts at most this far, in scales, from its code


class _Round(torch.autograd.Function):
    """Latent codes [n, groups, size] and log scale [n, groups, 1] to weights on the grid."""

    @staticmethod
    def forward(ctx: Any, latent: Tensor, log_scale: Tensor, sign: Tensor, low: int, high: int) -> Tensor:
        scale = log_scale.exp() * sign
        codes = latent.round().clamp_(low, high)
        ctx.save_for_backward(codes, scale)
        return codes * scale

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, Tensor, None, None, None]:
        codes, scale = ctx.saved_tensors
        by_code = gradients[0] * scale
        return by_code, (by_code * codes).sum(-1, keepdim=True), None, None, None


class LatentWeights:
    """One packed matrix in training."""

    def __init__(self, tensor: QuantizedTensor, start: Any, keep_zeros: bool, rank: int, seed: int) -> None:
        self.tensor = tensor
        n, k = len(tensor.packed), tensor.k
        draw = torch.Generator().manual_seed(seed)
        self.a = (torch.randn(min(rank, n, k), k, generator=draw) * k**-0.5).requires_grad_(True)
        self.b = torch.zeros(n, min(rank, n, k), requires_grad=True)
        self.low, self.high = -(2 ** (tensor.bits - 1)), 2 ** (tensor.bits - 1) - 1
        scale = torch.from_numpy(tensor.scale.astype(np.float32))[..., None]
        self.sign = scale.sign()  # a group of zeros has no scale; it stays as it is
        codes = self.codes_of(tensor)
        begin = self._grouped(torch.from_numpy(np.ascontiguousarray(start, np.float32)))
        inside = (begin / torch.where(scale == 0, 1.0, scale) - codes).clamp_(-INSIDE, INSIDE)
        self.kept = self._grouped(torch.from_numpy(np.asarray(start) != 0).float()) if keep_zeros else None
        self.start = codes + inside
        self.unit = torch.where(scale == 0, 0.0, 1 / torch.where(scale == 0, 1.0, scale))
        self.log_scale = scale.abs().clamp_min(1e-12).log().requires_grad_(True)

    def __call__(self) -> Tensor:
        """The rounded matrix [n, k], with gradients to latent weights and scales."""
        rounded = _Round.apply(self._latent(), self.log_scale, self.sign, self.low, self.high)
        if self.kept is not None:
            rounded = rounded * self.kept
        return rounded.flatten(1)[:, : self.tensor.k]

    def _latent(self) -> Tensor:
        return self.start + self._grouped(self.b @ self.a) * self.unit

    def codes(self) -> Tensor:
        """Signed codes [n, groups, size], as `packed` stores them."""
        codes = self._latent().detach().round().clamp(self.low, self.high) * self.sign.abs()
        return codes if self.kept is None else codes * self.kept

    def packed(self) -> QuantizedTensor:
        """Codes and binary16 scales as a packed matrix."""
        unsigned = (self.codes() + 2 ** (self.tensor.bits - 1)).to(torch.uint8).flatten(1)[:, : self.tensor.k].numpy()
        scale = self._half_scale()[..., 0].numpy().astype(np.float16)
        t = self.tensor
        return QuantizedTensor(pack(unsigned, t.bits, t.group_size), scale, None, t.k, t.bits, t.group_size)

    def codes_of(self, tensor: QuantizedTensor) -> Tensor:
        """Signed codes [n, groups, size] of a packed matrix; the padding of a short last group is 0."""
        unsigned = unpack(tensor.packed, tensor.k, tensor.bits, tensor.group_size)
        return self._grouped(torch.from_numpy(unsigned.astype(np.float32)) - 2 ** (tensor.bits - 1))

    def _half_scale(self) -> Tensor:
        return (self.log_scale.exp() * self.sign).detach().half().float()

    def _grouped(self, w: Tensor) -> Tensor:
        size = self.tensor.group_size
        return torch.nn.functional.pad(w, (0, -w.shape[1] % size)).unflatten(1, (-1, size))
