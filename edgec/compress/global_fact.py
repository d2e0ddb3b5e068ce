"""GlobaL Fact: matrices W_j of one role over many blocks become products L_j G, with one G [rank, k] for all.

rank = 64                  or ratio = 0.5, the rank that leaves this share of a group's parameters
roles = ["q", "k+v"]       "k+v": both of all blocks in one group, as they have the same inputs
blocks = ["8:23"]          blocks 8 to 22; default: all but the first and the last
size = 0                   or so many consecutive blocks share at a time

init = "stacked"           the optimum of the summed squared error; or "sum", "mean", "cluster"
                           (compress/shared_factor.py)
pretrain = 0               rounds in which G and the L_j are fitted in turn, each by least squares
objective = "weights"      what they are fitted to: sum |W_j - L_j G|^2, or
            "outputs"      sum |(W_j - L_j G) X_j|^2 for the inputs X_j of a calibration text

A group of J matrices of n rows breaks even at rank J n k / (J n + k); one whose rank is not below stays dense.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from edgec.compress.groups import ROLES, block_ranges, check_ranges, check_roles, check_whole, grouped
from edgec.compress.ranks import break_even, rank_of_ratio
from edgec.compress.shared_factor import STARTS, Floats, alternate, squared_error, start
from edgec.compress.stage import Work, layers_of
from edgec.errors import RecipeError
from edgec.frontend.checkpoint import Checkpoint, LowRank
from edgec.frontend.model_config import ModelConfig
from edgec.frontend.structure import Structure, factor_names

if TYPE_CHECKING:
    from edgec.compress.stage import Tokens

OBJECTIVES = ("weights", "outputs")


@dataclass(frozen=True)
class GlobalFact:
    """Which matrices share a right factor, of which rank, and how it is found."""

    method: ClassVar[str] = "global_fact"
    rank: int = 0
    ratio: float = 0.0
    roles: tuple[str, ...] = ROLES
    blocks: tuple[str, ...] = ()
    size: int = 0
    init: str = "stacked"
    pretrain: int = 0
    objective: str = "weights"
    multiple: int = 1  # ranks by ratio are multiples of it
    samples: int = 32  # windows of the calibration text for outputs, or as many as it has

    def __post_init__(self) -> None:
        if bool(self.rank) == bool(self.ratio):
            raise RecipeError("global_fact takes either a rank or a ratio.")
        if self.rank < 0 or min(self.multiple, self.samples) < 1 or self.pretrain < 0:
            raise RecipeError("global_fact.rank, multiple and samples are at least 1, pretrain at least 0.")
        if self.ratio and not 0 < self.ratio < 1:
            raise RecipeError(f"global_fact.ratio is {self.ratio}; it is a share between 0 and 1.")
        for name, known in (("init", STARTS), ("objective", OBJECTIVES)):
            if getattr(self, name) not in known:
                raise RecipeError(f"global_fact.{name} {getattr(self, name)!r} is unknown; known: {', '.join(known)}.")
        if self.size < 0 or self.size == 1:
            raise RecipeError(f"global_fact.size is {self.size}; it is 0 (a whole range) or at least 2 blocks.")
        if self.objective == "outputs" and not self.pretrain:
            raise RecipeError("global_fact fits outputs in rounds; give pretrain, their number.")
        check_roles("global_fact", self.roles, together=True)
        check_ranges("global_fact", self.blocks)

    def shape(self, config: ModelConfig) -> ModelConfig:
        """Unchanged. Raises RecipeError for blocks that the model lacks and ranks that a group cannot have."""
        self._ranks(Structure(config))
        return config

    def structure(self, structure: Structure) -> Structure:
        """With the factors that `run` makes."""
        for names, rank in self._ranks(structure):
            structure = _with_products(structure, names, rank)
        return structure

    def run(self, model: Checkpoint, work: Work) -> Checkpoint:
        """The model with products L_j G in each group; branches are added to their matrices first.

        work.notes get by group (its first matrix) its `members`, `ranks` and `relative_error`
        sqrt(sum |W_j - L_j G|^2 / sum |W_j|^2), over outputs where those were fitted.
        """
        groups = self._ranks(model.structure)
        moments = _Moments(model, self.samples, work) if self.objective == "outputs" else None
        products: dict[str, LowRank] = {}
        owners: dict[str, str] = {}
        missed = {}
        for number, (names, rank) in enumerate(groups):
            work.say("groups", number, len(groups))
            key = f"group{number}"
            done = work.load(key) or self._fit(model, names, rank, moments, work, key)
            g = done["g"]
            for j, name in enumerate(names):
                products[name] = LowRank(g, done[f"left{j}"])
                if j:
                    owners[factor_names(name)[0]] = factor_names(names[0])[0]
            missed[names[0]] = float(f"{float(done['error']):.4g}")
        work.notes["members"] = {names[0]: names for names, _ in groups}
        work.notes["ranks"] = {names[0]: rank for names, rank in groups}
        work.notes["relative_error"] = missed
        alone = model.with_tensors({n: model.tensor(n) for n in products if n in model.shared})
        return alone.with_factors(products).with_shared(owners)

    def _ranks(self, structure: Structure) -> list[tuple[list[str], int]]:
        """The groups that become products, and their ranks."""
        config = structure.config
        shapes = config.tensor_shapes()
        ranges = block_ranges("global_fact", self.blocks, config.n_layers, range(1, config.n_layers - 1))
        alike = self.init == "sum"  # matrices are added up
        groups = grouped("global_fact", config, self.roles, ranges, self.size, rows_alike=alike)
        check_whole("global_fact", structure, groups)
        found = []
        for names in groups:
            smallest = min(min(shapes[name]) for name in names)
            rows, k = sum(shapes[name][0] for name in names), shapes[names[0]][1]
            rank = self.rank or min(rank_of_ratio(rows, k, self.ratio, self.multiple), smallest)
            if rank > smallest:
                raise RecipeError(
                    f"global_fact.rank {rank} is more than {names[0]} or another of its group has: at most {smallest}; "
                    "lower it or leave the role out."
                )
            if rank <= break_even(rows, k):
                found.append((names, rank))
        if not found:
            raise RecipeError(f"no group of global_fact is smaller at rank {self.rank or self.multiple}; lower it.")
        return found

    def _fit(
        self, model: Checkpoint, names: list[str], rank: int, moments: _Moments | None, work: Work, key: str
    ) -> dict[str, Any]:
        """G as `g`, L_j as `left0`, ..., and the relative error, kept under `key`."""
        matrices = [model.effective(name).astype(np.float64) for name in names]
        inputs = moments.of(names) if moments else None
        g = start(self.init, matrices, rank, work.seed)
        g, lefts = alternate(
            matrices, g, self.pretrain, inputs, lambda step: work.say(f"{names[0]}, rounds", step, self.pretrain)
        )
        zero = [np.zeros_like(left) for left in lefts]
        total = squared_error(matrices, g, zero, inputs)
        left = squared_error(matrices, g, lefts, inputs)
        done: dict[str, Any] = {"g": g.astype(np.float32)}
        done |= {f"left{j}": each.astype(np.float32) for j, each in enumerate(lefts)}
        done["error"] = np.float64((max(left, 0.0) / total) ** 0.5 if total else 0.0)
        work.save(key, done)
        return done


class _Moments:
    """Second moments of matrices' inputs on the calibration text, through the model as it was before the stage."""

    def __init__(self, model: Checkpoint, samples: int, work: Work) -> None:
        from edgec.compress.torch_model import load_torch

        self.module = load_torch(model)
        self.tokens: Tokens = work.tokens(model, samples, at_most=True)

    def of(self, names: list[str]) -> list[Floats]:
        """X X^T [k, k] for each."""
        import torch

        from edgec.compress.eora import input_moments

        found: dict[str, Floats] = {}
        with torch.no_grad():
            hidden = [self.module.embed(window) for window in torch.from_numpy(self.tokens).split(1)]
            for layer in range(self.module.config.n_layers):
                moments = input_moments(self.module, layer, hidden, layers_of(names, layer), {})
                found |= {name: moment.numpy() for name, moment in moments.items()}
                if len(found) == len(names):
                    break
                hidden = [self.module.block(layer, part) for part in hidden]
        return [found[name] for name in names]


def _with_products(structure: Structure, names: list[str], rank: int) -> Structure:
    """The structure with a group of matrices as products that share their first factor."""
    made = structure.without(name for name in names if name in structure.shared)
    made = made.with_factors(dict.fromkeys(names, rank))
    return made.with_shared({factor_names(name)[0]: factor_names(names[0])[0] for name in names[1:]})


STAGE = GlobalFact
