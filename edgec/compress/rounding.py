"""Weights that are trained through their own rounding: a float behind every code, and the logarithm of every scale."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor

from edgec.compress.quantized import QuantizedTensor
from edgec.packing import pack, unpack

INSIDE = 0.49  # a latent weight starts at most this far, in scales, from its code


class _Round(torch.autograd.Function):
    """latent [n, groups, size] in units of the scale, scale [n, groups, 1] → codes times scale; LSQ's gradients."""

    @staticmethod
    def forward(ctx: Any, latent: Tensor, log_scale: Tensor, sign: Tensor, low: int, high: int) -> Tensor:
        scale = log_scale.exp() * sign
        ratio = latent / scale
        codes = ratio.round().clamp_(low, high)
        inside = (ratio >= low - 0.5) & (ratio <= high + 0.5)
        ctx.save_for_backward(codes, ratio, inside, scale)
        return codes * scale

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, Tensor, None, None, None]:
        codes, ratio, inside, scale = ctx.saved_tensors
        gradient = gradients[0]
        by_latent = gradient * inside
        # d(codes * s)/ds = codes - ratio inside the grid, codes at its ends; times ds/dlog s = s.
        by_scale = (gradient * (codes - ratio * inside)).sum(-1, keepdim=True) * scale
        # Mean over a group's weights keeps the step of a scale independent of the group's size (LSQ, section 2.2).
        return by_latent, by_scale / codes.shape[-1] ** 0.5, None, None, None


class LatentWeights:
    """One packed matrix in training."""

    def __init__(self, tensor: QuantizedTensor, start: Any, keep_zeros: bool) -> None:
        self.tensor = tensor
        self.low, self.high = -(2 ** (tensor.bits - 1)), 2 ** (tensor.bits - 1) - 1
        scale = torch.from_numpy(tensor.scale.astype(np.float32))[..., None]
        # A group of zeros has no scale; it stays as it is.
        self.sign = torch.where(scale < 0, -1.0, 1.0) * (scale != 0)
        codes = self.codes_of(tensor)
        begin = self._grouped(torch.from_numpy(np.ascontiguousarray(start, np.float32)))
        safe = torch.where(scale == 0, 1.0, scale)
        inside = codes + (begin / safe - codes).clamp(-INSIDE, INSIDE)
        self.kept = self._grouped(torch.from_numpy(np.asarray(start) != 0).float()) if keep_zeros else None
        self.weight = (inside * scale).requires_grad_(True)
        self.log_scale = scale.abs().clamp_min(1e-12).log().requires_grad_(True)

    def __call__(self) -> Tensor:
        """The rounded matrix [n, k], with gradients to latent weights and scales."""
        rounded = _Round.apply(self.weight, self.log_scale, self._safe_sign(), self.low, self.high)
        rounded = rounded * (self.sign != 0)
        if self.kept is not None:
            rounded = rounded * self.kept
        return rounded.flatten(1)[:, : self.tensor.k]  # type: ignore[no-any-return]

    def codes(self) -> Tensor:
        """Signed codes [n, groups, size], as `packed` stores them."""
        with torch.no_grad():
            scale = self._half_scale()
            ratio = self.weight / torch.where(scale == 0, 1.0, scale)
            codes = ratio.round().clamp(self.low, self.high) * (self.sign != 0)
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

    def _safe_sign(self) -> Tensor:
        return torch.where(self.sign == 0, 1.0, self.sign)

    def _grouped(self, w: Tensor) -> Tensor:
        size = self.tensor.group_size
        return torch.nn.functional.pad(w, (0, -w.shape[1] % size)).unflatten(1, (-1, size))
