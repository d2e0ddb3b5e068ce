"""One update's gradients: a student with substituted matrices reads text beside its teacher.

    loss = (1 - distill) CE(text) + distill T^2 KL(teacher || student) + hidden_loss E

CE and KL are means over predicted tokens (compress/head_loss.py), the distributions of KL softened by a temperature T.
E is the squared distance of hidden states relative to the teacher's own, |s - t|^2 / |t|^2, a mean over all tokens and
blocks: a few tokens have activations thousands of times larger than the others', and a plain mean would see only these.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import torch
from torch import Tensor

from edgec.compress.head_loss import Head, next_token_loss
from edgec.compress.stage import Work
from edgec.compress.substituted import Substituted, Trained
from edgec.compress.teacher import Teacher, halve
from edgec.compress.torch_model import load_torch
from edgec.compress.training import draw, fast_bfloat16
from edgec.compress.training_options import TrainingOptions
from edgec.frontend.checkpoint import Checkpoint

HEADS = ("model.embed_tokens.weight", "lm_head.weight")
Watch = Callable[[dict[str, Tensor]], None]


class Lesson:
    """A student, its teacher and their text."""

    def __init__(
        self,
        model: Checkpoint,
        weights: Mapping[str, Trained],
        data: Tensor,
        options: TrainingOptions,
        work: Work,
        *,
        distill: float,
        teacher: Checkpoint | None = None,
        hidden_loss: float = 0.0,
        layers: Sequence[int] = (),
        native: Sequence[str] = (),
    ) -> None:
        """`weights` stand in for the model's matrices; `native` are further tensors of it that train as they are.

        teacher: None: the work's original, if the loss has any use for it. layers: for each block of the student the
        teacher's block after which hidden states are compared.
        """
        self.weights, self.data, self.options, self.seed = weights, data, options, work.seed
        self.distill, self.hidden_loss, self.layers = distill, hidden_loss, layers
        self.fast = options.low_precision and fast_bfloat16()
        self.student = load_torch(model)
        for name in weights:  # what stands in for it is elsewhere
            self.student.linear(name).weight.data = torch.empty(0)
        self.parameters = {name: self.student.get_parameter(name).requires_grad_(True) for name in native}
        if self.fast:
            halve(self.student, keep=native)
        taught = distill > 0 or hidden_loss > 0
        self.teacher = Teacher(teacher or work.original(), self.fast) if taught else None
        self._matrix = self.parameters.get(HEADS[self.student.lm_head is not None])
        self._head = self._head_now()

    def gradients(self, step: int, watch: Watch | None = None) -> float:
        """Leaves the gradients of an update in all that trains; the update's loss.

        `watch` sees the matrices as the model ran with them, and their gradients in `.grad`.
        """
        passes, batch = self.options.accumulate, self.options.batch
        now, total = Substituted(self.weights), 0.0
        if self._matrix is not None:
            self._head = self._head_now()
        for i in range(passes):
            picked = draw((self.seed, 0), step * passes + i, batch, len(self.data))
            total += self._pass(now, picked) / passes
        self._scale_behind_blocks(1 / passes)
        if watch is not None:
            watch(now.leaves)
        now.backward()
        return total

    def _pass(self, now: Substituted, picked: list[int]) -> float:
        tokens, passes = self.data[picked], self.options.accumulate
        with torch.autocast("cpu", torch.bfloat16, enabled=self.fast):
            states = now.states(self.student, tokens)
        wanted, taught = self._taught(tokens, picked)
        loss, gradient = next_token_loss(
            self._head, states[-1].detach(), tokens, taught, self.distill, self.options.temperature
        )
        roots, slopes = [states[-1]], [gradient / passes]
        if wanted:
            distance = self.hidden_loss * relative_distance(states, [wanted[layer] for layer in self.layers])
            roots, slopes = [*roots, distance], [*slopes, torch.tensor(1 / passes)]
            loss += float(distance.detach())
        torch.autograd.backward(roots, slopes)
        return loss

    def _taught(self, tokens: Tensor, picked: list[int]) -> tuple[list[Tensor], tuple[Head, Tensor] | None]:
        """The teacher's states after every block, if they are needed, and its head with the states that go into it."""
        if self.teacher is None:
            return [], None
        if not self.hidden_loss:
            return [], (self.teacher.head, self.teacher.hidden(self.data, picked))
        states = self.teacher.states(tokens)
        with torch.no_grad():
            return states, (self.teacher.head, self.teacher.module.model.norm(states[-1].float()))

    def _head_now(self) -> Head:
        kind = torch.bfloat16 if self.fast else torch.float32
        return Head.of(self.student, kind, trained=self._matrix is not None)

    def _scale_behind_blocks(self, share: float) -> None:
        """next_token_loss knows nothing of further passes: gradients of final norm and head get their share here."""
        norm = self.parameters.get("model.norm.weight")
        if norm is not None and norm.grad is not None:
            norm.grad *= share
        if self._matrix is not None and self._head.gradient is not None:
            found = self._head.gradient * share
            self._matrix.grad = found if self._matrix.grad is None else self._matrix.grad + found


def relative_distance(states: Sequence[Tensor], wanted: Sequence[Tensor]) -> Tensor:
    """Mean of |s - t|^2 / |t|^2 over the tokens of all pairs of states [batch, tokens, hidden]."""
    total = torch.zeros(())
    for state, target in zip(states, wanted, strict=True):
        power = target.float().square().sum(-1).clamp_min(1e-12)
        total = total + ((state.float() - target.float()).square().sum(-1) / power).mean()
    return total / len(states)
