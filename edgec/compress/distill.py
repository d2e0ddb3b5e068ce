"""Distillation: the model trains towards the original, after pruning or while it is being pruned.

    loss = text_loss CE(text) + (1 - text_loss) T^2 KL(teacher || model) + hidden_loss E(hidden states)

E is that of compress/lesson.py. A block is compared by what the next one would have got in the teacher: where blocks
were removed between two, the first learns to do their work. A teacher knows the tokens that the model has left.

    rank = 0           every weight of `roles` trains as it is: 16 bytes each
    rank = 16          low-rank changes train, which are then added to the matrices; factors, and tensors that several
                       places share, train as they are in any case

As in HomoDistil (Liang et al. 2023, arXiv 2302.09632) pruning may go on meanwhile, so that the model never falls far
from its teacher. What is of least importance goes, little by little (compress/gradual.py), and stays away:

    pattern = "2:4"    at the end 2 of every 4 weights of a row are exactly zero, as by `width`
    sparsity = 0.5     ... half of each row
    neurons = 0.25     ... a quarter of each block's feed-forward neurons is gone: ffn_dim is smaller
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import ClassVar

from edgec.compress.depth import original_layers
from edgec.compress.masks import check_options, patterns_of
from edgec.compress.stage import Work
from edgec.compress.training_options import TrainingOptions
from edgec.errors import RecipeError
from edgec.frontend.checkpoint import Checkpoint, ModelConfig
from edgec.frontend.structure import BLOCK_ROLES, Structure, role_of

OTHERS = ("norm", "embed", "head")  # roles of what is no matrix of a block
TEACHERS = ("original", "input")
NEURON_ROLES = ("gate", "up", "down")


@dataclass(frozen=True)
class Distill(TrainingOptions):
    """What is trained, towards what, and what is pruned meanwhile."""

    method: ClassVar[str] = "distill"
    rate: float = 1e-3
    roles: tuple[str, ...] = BLOCK_ROLES  # "norm", "embed" and "head" are known too; biases go with their matrix
    rank: int = 0
    teacher: str = "original"  # the model before the first stage; "input": the one that this stage gets
    text_loss: float = 0.5
    hidden_loss: float = 1.0
    pattern: str = ""
    sparsity: float = 0.0
    neurons: float = 0.0
    prune_from: float = 0.05  # share of the training before the first weight goes
    prune_until: float = 0.6  # ... after which as many are gone as will
    prune_every: int = 5  # updates from one choice to the next
    memory: float = 0.9  # of the importance's moving average

    def __post_init__(self) -> None:
        super().__post_init__()
        self.check_roles(self.roles, (*BLOCK_ROLES, *OTHERS))
        if self.rank < 0 or self.prune_every < 1:
            raise RecipeError(f"distill.rank {self.rank} is at least 0, prune_every {self.prune_every} at least 1.")
        if self.teacher not in TEACHERS:
            raise RecipeError(f"distill.teacher {self.teacher!r} is unknown; known: {', '.join(TEACHERS)}.")
        if not 0 <= self.text_loss <= 1 or self.hidden_loss < 0 or not 0 <= self.memory < 1:
            raise RecipeError("distill.text_loss is a share of 0 to 1, hidden_loss at least 0, memory below 1.")
        if sum(map(bool, (self.pattern, self.sparsity, self.neurons))) > 1:
            raise RecipeError("distill prunes by one of pattern, sparsity and neurons, or not at all.")
        if not 0 <= self.neurons < 1:
            raise RecipeError(f"distill.neurons is {self.neurons}; it is a share below 1.")
        if not 0 <= self.prune_from < self.prune_until <= 1:
            raise RecipeError(
                "distill.prune_from and prune_until are shares of the training, the first below the other."
            )
        if self.neurons and not set(NEURON_ROLES) <= set(self.roles):
            raise RecipeError("distill.neurons needs the roles gate, up and down, as a neuron is a part of all three.")
        if self.pattern or self.sparsity:
            check_options("distill", self.pattern, self.sparsity)

    def shape(self, config: ModelConfig) -> ModelConfig:
        """The model's with as many neurons as are left. Raises RecipeError for pruning that this shape cannot have."""
        self.patterns(Structure(config))
        gone = self.gone_neurons(config)
        if self.neurons and not 0 < gone < config.ffn_dim:
            raise RecipeError(
                f"distill.neurons {self.neurons} removes {gone} of {config.ffn_dim} neurons; some go and some stay."
            )
        return replace(config, ffn_dim=config.ffn_dim - gone)

    def gone_neurons(self, config: ModelConfig) -> int:
        """Feed-forward neurons of a block that go."""
        return round(self.neurons * config.ffn_dim)

    def patterns(self, structure: Structure) -> dict[str, tuple[int, int]]:
        """(removed, of) for every stored matrix that is pruned in a model of this structure."""
        if not self.pattern and not self.sparsity:
            return {}
        return patterns_of("distill", self.pattern, self.sparsity, self.roles, structure)

    def run(self, model: Checkpoint, work: Work) -> Checkpoint:
        """The trained model; zeros of patterns stay exactly zero.

        work.notes get `updates`, `losses`, `trained_parameters` and `layers`, the teacher's block that each block is
        compared with. Raises RecipeError for packed tensors, for a teacher that cannot be compared with, and if
        training diverges.
        """
        self.shape(model.config)
        names = self.trained(model)
        if packed := [name for name in names if name in model.packed]:
            raise RecipeError(
                f"the distill stage trains floats, but {packed[0]} is quantised; put it before quantize, or use "
                "recover, which trains codes and scales."
            )
        if self.neurons:
            self._check_neurons(model)
        teacher = work.original() if self.teacher == "original" else model
        layers = self._compared(model, teacher)
        from edgec.compress.distill_training import train

        work.notes["layers"] = layers
        return train(model, names, teacher, layers, self, work)

    def trained(self, model: Checkpoint) -> list[str]:
        """The stored tensors of `roles`."""
        tied = model.config.tied_embeddings and "head" in self.roles

        def takes(name: str) -> bool:
            role = "norm" if name.endswith("norm.weight") else role_of(name)
            return role in self.roles or (tied and role == "embed")

        return [name for name in model.stored_tensors() if takes(name)]

    def _compared(self, model: Checkpoint, teacher: Checkpoint) -> list[int]:
        """For each block the teacher's block whose outputs its own are compared with."""
        if model.config.vocab_size != teacher.config.vocab_size:
            raise RecipeError(
                f"distill cannot compare a model of {model.config.vocab_size:,} tokens with a teacher of "
                f"{teacher.config.vocab_size:,}."
            )
        if not self.hidden_loss:
            return []
        if model.config.hidden_dim != teacher.config.hidden_dim:
            raise RecipeError(
                f"distill cannot compare hidden states of {model.config.hidden_dim} with the teacher's "
                f"{teacher.config.hidden_dim}; set hidden_loss = 0."
            )
        return layers_between(model, teacher)

    def _check_neurons(self, model: Checkpoint) -> None:
        for layer in range(model.config.n_layers):
            for role in NEURON_ROLES:
                name = f"model.layers.{layer}.mlp.{role}_proj.weight"
                if name in model.factors or name in model.shared or name in model.shared.values():
                    raise RecipeError(f"distill.neurons needs matrices of their own, but {name} is factored or shared.")
                if role == "down" and name in model.patterns:
                    raise RecipeError(f"distill.neurons would cut across the pattern of {name}; prune neurons first.")


def layers_between(model: Checkpoint, teacher: Checkpoint) -> list[int]:
    """For each block of the model the teacher's last one before the model's next, which is the same if none is missing.

    Raises RecipeError if the model's blocks are not the teacher's in their order.
    """
    own, place = original_layers(model), {number: i for i, number in enumerate(original_layers(teacher))}
    found = [place[number] for number in own if number in place]
    if len(found) != model.config.n_layers or found != sorted(set(found)):
        raise RecipeError("distill cannot tell which of the teacher's blocks the model's are; set hidden_loss = 0.")
    return [*(i - 1 for i in found[1:]), teacher.config.n_layers - 1]


STAGE = Distill
