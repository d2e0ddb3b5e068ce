"""Replacement and ablation measured on a question task: a changed checkpoint is made and asked for every cell."""

from __future__ import annotations

import numpy as np

from edgec.analyze.cells import Say
from edgec.analyze.exchange import metric_loss
from edgec.compress.blocks import with_blocks
from edgec.evaluate.scorer import FloatScorer
from edgec.evaluate.tasks import Questions
from edgec.frontend.checkpoint import Checkpoint, TextTokenizer
from edgec.frontend.structure import role_of

ROLES_OF = {"attention": ("q", "k", "v", "o"), "mlp": ("gate", "up", "down")}
LAST = {"attention": "o", "mlp": "down"}  # the matrix whose zeros silence the part


class ByTask:
    """One model and task."""

    def __init__(self, model: Checkpoint, tokenizer: TextTokenizer, questions: Questions, say: Say) -> None:
        self.model, self.tokenizer, self.questions, self.say = model, tokenizer, questions, say
        self.dense = self._loss(model)

    def loss_of(self, part: str, layer: int, other: int | None) -> float:
        """Minus the task's metric with block `other`'s part in block `layer`, or without any."""
        return self._loss(
            without(self.model, part, layer) if other is None else exchanged(self.model, part, layer, other)
        )

    def _loss(self, model: Checkpoint) -> float:
        return metric_loss(self.questions.ask(FloatScorer(model, self.tokenizer), self.say)[0])


def exchanged(model: Checkpoint, part: str, layer: int, other: int) -> Checkpoint:
    """The checkpoint with the tensors of a part of block `other` in block `layer`."""
    place, source = f"model.layers.{layer}.", f"model.layers.{other}."
    names = [*model.config.tensor_shapes(), *(n for n in model.config.optional_shapes() if n in model)]
    taken = [name for name in names if name.startswith(source) and _belongs(name, part)]
    return model.with_tensors({name.replace(source, place): model.effective(name) for name in taken})


def without(model: Checkpoint, part: str, layer: int) -> Checkpoint:
    """The checkpoint without a part of a block, or with a matrix of zeros."""
    if part == "block":
        return with_blocks(model, [i for i in range(model.config.n_layers) if i != layer])
    role = LAST.get(part, part)
    names = [n for n in (*model.config.tensor_shapes(), *model.config.optional_shapes()) if n in model]
    silent = [n for n in names if n.startswith(f"model.layers.{layer}.") and "_proj" in n and role_of(n) == role]
    return model.with_tensors({name: np.zeros_like(model.tensor(name)) for name in silent})


def _belongs(name: str, part: str) -> bool:
    if part == "block":
        return True
    if part in ROLES_OF:
        return f".{'self_attn' if part == 'attention' else 'mlp'}." in name
    return "_proj" in name and role_of(name) == part
