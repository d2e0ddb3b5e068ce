"""The loss of next tokens and its gradient at the last block's outputs, some positions at a time.

Logits of 49,152 tokens for one window of 512 take 100 MB, and autograd would keep several such arrays. Their gradient
is known in closed form, softmax minus target, so no logits outlive their chunk.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F  # noqa: N812

from edgec.compress.torch_model import TorchModel, softcap

ROWS = 256  # positions whose logits exist at once


@dataclass(frozen=True)
class Head:
    """A model's final norm and output matrix [vocabulary, hidden]; `gradient` collects that of a matrix in training."""

    model: TorchModel
    weight: Tensor
    gradient: Tensor | None = None

    @classmethod
    def of(cls, model: TorchModel, dtype: torch.dtype, trained: bool = False) -> Head:
        """The head with its matrix in another precision."""
        matrix = (model.model.embed_tokens if model.lm_head is None else model.lm_head).weight.detach()
        return cls(model, matrix.to(dtype), torch.zeros_like(matrix) if trained else None)

    def logits(self, normed: Tensor) -> Tensor:
        """float32 [rows, vocabulary] of normed hidden states [rows, hidden]."""
        return softcap(F.linear(normed.to(self.weight.dtype), self.weight).float(), self.model.config.logit_softcap)

    def below_cap(self, gradient: Tensor, logits: Tensor) -> Tensor:
        """A gradient at logits as one at what the cap was laid on: d tanh(x) = 1 - tanh(x)^2."""
        cap = self.model.config.logit_softcap
        return gradient * (1 - (logits / cap) ** 2) if cap else gradient


def next_token_loss(
    head: Head,
    hidden: Tensor,
    tokens: Tensor,
    teacher: tuple[Head, Tensor] | None = None,
    distill: float = 0.0,
    temperature: float = 1.0,
) -> tuple[float, Tensor]:
    """Mean loss over all predicted tokens, and its gradient at `hidden` [batch, length, hidden] (before the norm).

    (1 - distill) * cross-entropy of the text + distill * T^2 * KL(teacher || model), both softened by temperature T.
    teacher: its head and normed hidden states of the same tokens. The first token of a window is not predicted.
    """
    leaf = hidden[:, :-1].detach().requires_grad_(True)
    with torch.enable_grad():
        normed = head.model.model.norm(leaf.float())
    flat, wanted = normed.detach().flatten(0, 1), tokens[:, 1:].reshape(-1)
    target = None if teacher is None or not distill else teacher[1][:, :-1].flatten(0, 1)
    slope = torch.empty_like(flat)
    total = 0.0
    for start in range(0, len(flat), ROWS):
        part = slice(start, start + ROWS)
        logits = head.logits(flat[part])
        gradient = torch.zeros_like(logits)
        if distill < 1:
            log_p = logits.log_softmax(-1)
            total -= (1 - distill) * float(log_p.gather(1, wanted[part, None]).sum())
            gradient += (1 - distill) * log_p.exp_()
            gradient[torch.arange(len(logits)), wanted[part]] -= 1 - distill
        if target is not None and teacher is not None:
            log_p = (logits / temperature).log_softmax(-1)
            log_q = (teacher[0].logits(target[part]) / temperature).log_softmax(-1)
            q = log_q.exp()
            total += distill * temperature**2 * float((q * (log_q - log_p)).sum())
            gradient += distill * temperature * (log_p.exp_() - q)
        gradient = head.below_cap(gradient, logits)
        slope[part] = (gradient.to(head.weight.dtype) @ head.weight).float()
        if head.gradient is not None:
            head.gradient.addmm_(gradient.T, flat[part], alpha=1 / len(flat))
    normed.backward((slope / len(flat)).view_as(normed))
    gradient = torch.zeros_like(hidden)
    gradient[:, :-1] = leaf.grad
    return total / len(flat), gradient
