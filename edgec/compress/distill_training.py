"""The training behind the distill stage: what trains, what is pruned meanwhile, and the model that comes out."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from edgec.compress.calibration import windows
from edgec.compress.coupled import narrowed
from edgec.compress.gradual import GradualNeurons, GradualPruning, GradualWeights, Pace
from edgec.compress.lesson import Lesson
from edgec.compress.masks import mask, merged_patterns
from edgec.compress.stage import Work
from edgec.compress.trained_matrix import TrainedMatrix
from edgec.compress.training import Group, Training, schedule
from edgec.frontend.checkpoint import Checkpoint, FloatArray

if TYPE_CHECKING:
    from edgec.compress.distill import Distill


def train(
    model: Checkpoint, names: list[str], teacher: Checkpoint, layers: list[int], options: Distill, work: Work
) -> Checkpoint:
    """The model with the tensors `names` trained and pruned. `layers` as in compress/lesson.py."""
    data = torch.from_numpy(windows(model, work.calibration, options.samples, at_most=True))
    stored = set(model.stored_matrices())
    weights = {
        name: _matrix(model, name, options.rank, work.seed + i) for i, name in enumerate(names) if name in stored
    }
    patterns = options.patterns(model.structure)
    pruning = _pruning(model, weights, patterns, options)
    lesson = Lesson(
        model,
        weights,
        data,
        options,
        work,
        distill=1 - options.text_loss,
        teacher=teacher,
        hidden_loss=options.hidden_loss,
        layers=layers,
        native=[name for name in names if name not in stored],
    )
    parameters = {f"{n}.{part}": p for n, w in weights.items() for part, p in w.parameters().items()}
    training = Training(
        "distill",
        [Group(parameters | lesson.parameters, options.rate, options.clip)],
        work,
        steps=options.planned(len(data)),
        factor=lambda step, planned: schedule(step, planned, options.warmup),
        save_every=options.save_every,
        minutes=options.minutes,
        decay=options.decay,
        state=pruning,
    )

    def update(step: int, done: float) -> float:
        if pruning is None:
            return lesson.gradients(step)
        pruning.update(step, done)
        return lesson.gradients(step, pruning.watch)

    training.run(update)
    if pruning is not None:
        pruning.finish()
    work.notes |= training.notes() | {"trained_parameters": sum(p.numel() for p in training.parameters.values())}
    made = {name: _array(weight()) for name, weight in weights.items()}
    made |= {name: _array(parameter) for name, parameter in lesson.parameters.items()}
    result = model.with_tensors(made, patterns=merged_patterns(model.patterns, patterns))
    if not isinstance(pruning, GradualNeurons):
        return result
    return narrowed(result, {int(layer): np.flatnonzero(alive.numpy()) for layer, alive in pruning.alive.items()}, {})


def _matrix(model: Checkpoint, name: str, rank: int, seed: int) -> TrainedMatrix:
    own = name in model.matrix_names() and name not in model.shared.values()
    kept = mask(model, name)
    return TrainedMatrix(model.tensor(name), None if kept is None else torch.from_numpy(kept), rank if own else 0, seed)


def _pruning(
    model: Checkpoint,
    weights: Mapping[str, TrainedMatrix],
    patterns: Mapping[str, tuple[int, int]],
    options: Distill,
) -> GradualPruning | None:
    pace = Pace(options.prune_from, options.prune_until, options.prune_every, options.memory)
    if patterns:
        return GradualWeights(weights, patterns, pace)
    if options.neurons:
        return GradualNeurons(weights, model.config.n_layers, options.gone_neurons(model.config), pace)
    return None


def _array(tensor: Tensor) -> FloatArray:
    return tensor.detach().numpy().copy()
