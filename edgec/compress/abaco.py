"""ABACO: a matrix fades out while a low-rank product grows into its place; at the end only the product is left.

    y = alpha W_0 x + B A x + bias      A and B train, W_0 does not; alpha falls from `start` to exactly 0

    rank = 64                  of every product; or
    ratio = 0.5                the rank that leaves this share of each matrix's parameters; a matrix whose product would
                               be no smaller stays as it is

    fade = "exponential"       alpha = start base^(-speed t) before t = 1, then 0
           "linear"            alpha = max(0, start (1 - t))
    init = "svd"               B A is the rank's part of W_0's SVD, S^1/2 on each side, and only the rest of W_0 fades
           "random"            A normal with variance 1/k, B zero: nothing of W_0 is in them

t runs from 0 to 1 over the training but for its last part, `settle`, in which alpha is 0 and W_0 is gone: what an
exponential jumps by in the end (1/32 of W_0 by default) is trained away in it. A limit of time moves t along. With
start = 1 training begins at the model as it was; with start = 0 there is no W_0 from the first update on.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from edgec.compress.groups import block_ranges, check_ranges
from edgec.compress.ranks import break_even, rank_of_ratio
from edgec.compress.stage import Work
from edgec.compress.training_options import TrainingOptions, takes
from edgec.errors import RecipeError
from edgec.frontend.checkpoint import Checkpoint, ModelConfig
from edgec.frontend.structure import Structure, matrix_of

FADES = ("exponential", "linear")
INITS = ("svd", "random")


@dataclass(frozen=True)
class Abaco(TrainingOptions):
    """Which matrices become products of which rank, and how they fade."""

    method: ClassVar[str] = "abaco"
    rate: float = 5e-3
    rank: int = 0
    ratio: float = 0.0
    roles: tuple[str, ...] = ("q", "k", "o")  # or ["all"]
    blocks: tuple[str, ...] = ()  # half-open ranges such as "2:28"; none: all
    fade: str = "exponential"
    start: float = 1.0
    base: float = 2.0
    speed: float = 5.0
    settle: float = 0.25  # share of the training
    init: str = "svd"
    distill: float = 0.5  # share of the loss that is the distance from the original model's distribution

    def __post_init__(self) -> None:
        super().__post_init__()
        self.check_roles(self.roles)
        check_ranges("abaco", self.blocks)
        if bool(self.rank) == bool(self.ratio):
            raise RecipeError("abaco takes either a rank or a ratio, the share of each matrix's parameters to leave.")
        if self.rank < 0 or not 0 <= self.ratio < 1:
            raise RecipeError(f"abaco.rank {self.rank} is at least 1, and ratio {self.ratio} a share between 0 and 1.")
        if self.fade not in FADES or self.init not in INITS:
            raise RecipeError(f"abaco.fade is one of {', '.join(FADES)}, and init one of {', '.join(INITS)}.")
        if self.start < 0 or self.base <= 1 or self.speed <= 0:
            raise RecipeError("abaco.start is at least 0, base above 1 and speed above 0: alpha has to fall.")
        if not 0 < self.settle <= 1 or not 0 <= self.distill <= 1:
            raise RecipeError("abaco.settle is a share above 0, so that training ends without W_0, distill one from 0.")

    def alpha(self, done: float, steps: int) -> float:
        """The factor on W_0 at a share of a training of so many steps; exactly 0 in the last one at least."""
        fading = min(1 - self.settle, (steps - 1) / steps)
        if done >= fading:
            return 0.0
        t = done / fading
        return self.start * (1 - t if self.fade == "linear" else self.base ** (-self.speed * t))

    def shape(self, config: ModelConfig) -> ModelConfig:
        """Unchanged. Raises RecipeError for blocks that the model lacks, and if no product is smaller."""
        self.ranks(Structure(config))
        return config

    def structure(self, structure: Structure) -> Structure:
        """With the products that `run` makes."""
        return structure.with_factors(self.ranks(structure))

    def ranks(self, structure: Structure) -> dict[str, int]:
        """The rank of every stored matrix that becomes a product; those that are one already stay as they are."""
        n_layers, shapes = structure.config.n_layers, structure.shapes()
        ranges = block_ranges("abaco", self.blocks, n_layers, range(n_layers))
        starts = tuple(f"model.layers.{layer}." for blocks in ranges for layer in blocks)
        names = [n for n in structure.stored_matrices() if n.startswith(starts) and takes(self.roles, n)]
        whole = {name: (shapes[name][0], shapes[name][1]) for name in names if matrix_of(name) == name}
        found = {name: self.rank or rank_of_ratio(n, k, self.ratio) for name, (n, k) in whole.items()}
        smaller = {name: rank for name, rank in found.items() if rank <= break_even(*whole[name])}
        if whole and not smaller:
            raise RecipeError(f"no matrix that abaco takes is smaller at rank {self.rank or 1}; lower it.")
        return smaller

    def run(self, model: Checkpoint, work: Work) -> Checkpoint:
        """The model with products in place of the matrices; branches and pruned zeros of these go with them.

        work.notes get `ranks`, `losses`, `alphas` beside them, and `settled`, the updates without W_0. Raises
        RecipeError for packed matrices, if there is nothing to replace, and if training diverges.
        """
        ranks = self.ranks(model.structure)
        if not ranks:
            raise RecipeError("all matrices that abaco takes are products already; put one such stage in the recipe.")
        if packed := [name for name in ranks if name in model.packed]:
            raise RecipeError(
                f"the abaco stage trains float matrices, but {packed[0]} is quantised; put it before quantize."
            )
        from edgec.compress.abaco_training import train

        work.notes["ranks"] = ranks
        return model.with_factors(train(model, ranks, self, work))


STAGE = Abaco
