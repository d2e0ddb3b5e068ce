"""Low-rank matrices: W [n, k] becomes a product B A of rank r, which stores and multiplies r (n + k) numbers.

rank = 64                  this rank in every matrix; or
ratio = 0.5                the rank that leaves this share of each matrix's parameters; or
energy = 0.95              the lowest rank that keeps this share of the squared singular values; or
budget = 0.8               ranks of the least estimated loss that leave this share of all chosen matrices' parameters

basis = "whitened"         what the factors are best for: "plain", "asvd", "whitened", "fisher" or "drone"
                           (compress/low_rank.py); all but plain look at the calibration text
sensitivity = "gradient"   what a budget's choice estimates losses from: the outputs' gradients, "measured" (every
                           matrix in turn with four fifths of its energy), or "none" (dropped energy alone)

parts = ["cross"]          of a model that reads and writes: the "encoder", the "decoder" (without what follows), its
                           "cross" attention; all if none is named. Blocks are counted from 0 in each of them

An encoder has no loss of its own: bases other than fisher, guided = false, and for a budget sensitivity = "none".
BART takes all of them, with the loss of what it writes (compress/encoder_texts.py), but for refit and measured losses.
A matrix whose rank is not below its break-even n k / (n + k) stays dense. Packed matrices and branches are multiplied
out first, and pruned zeros fill up: factors are float and dense. Matrices that are factored already stay as they are.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from edgec.compress.groups import ROLES, block_ranges, check_ranges, check_roles, role_in
from edgec.compress.low_rank import BASES, Fit
from edgec.compress.rank_budget import ranks_of_budget
from edgec.compress.ranks import TINY, break_even, rank_of_energy, rank_of_ratio
from edgec.compress.stage import Work
from edgec.errors import RecipeError
from edgec.frontend.checkpoint import Checkpoint, FloatArray, LowRank
from edgec.frontend.model_config import ModelConfig
from edgec.frontend.seq2seq_config import ENCODER, Seq2SeqConfig, has_encoder, part_of, seq2seq
from edgec.frontend.structure import Structure

PARTS = ("encoder", "decoder", "cross")
SENSITIVITIES = ("gradient", "measured", "none")
SIDES = ("outputs", "inputs", "both")


@dataclass(frozen=True)
class Svd:
    """How far which matrices are cut, and what the cut is best for."""

    method: ClassVar[str] = "svd"
    rank: int = 0
    ratio: float = 0.0
    energy: float = 0.0
    budget: float = 0.0
    basis: str = "whitened"
    roles: tuple[str, ...] = ROLES
    blocks: tuple[str, ...] = ()  # half-open ranges such as "2:28"; none: all
    parts: tuple[str, ...] = ()  # of a model with an encoder and a decoder; none: all
    multiple: int = 1  # ranks by ratio, energy and budget are multiples of it
    samples: int = 64  # windows of the calibration text, or as many as it has
    guided: bool = True  # whitened, drone: tokens count by the loss's gradient (compress/token_weights.py)
    damp: float = 0.01  # whitened and refit: added to the inputs' second moments, a share of their mean
    refit: bool = False  # B anew for the inputs that come through the blocks before as they are now (compress/refit.py)
    alpha: float = 0.5  # asvd: exponent of the mean absolute inputs
    side: str = "outputs"  # fisher: whose weights' Fisher information is summed: each row's, "inputs" or "both"
    sensitivity: str = "gradient"
    probe_samples: int = 4  # windows for a measured sensitivity

    def __post_init__(self) -> None:
        given = [name for name in ("rank", "ratio", "energy", "budget") if getattr(self, name)]
        if len(given) != 1:
            raise RecipeError(f"svd takes one of rank, ratio, energy and budget, not {' and '.join(given) or 'none'}.")
        if self.rank < 0 or self.multiple < 1:
            raise RecipeError(f"svd.rank and multiple are at least 1, not {self.rank} and {self.multiple}.")
        for name in ("ratio", "energy", "budget"):
            value = getattr(self, name)
            if value and not 0 < value < 1:
                raise RecipeError(f"svd.{name} is {value}; it is a share between 0 and 1.")
        for name, known in (("basis", BASES), ("sensitivity", SENSITIVITIES), ("side", SIDES)):
            if getattr(self, name) not in known:
                raise RecipeError(f"svd.{name} {getattr(self, name)!r} is unknown; known: {', '.join(known)}.")
        if min(self.samples, self.probe_samples) < 1 or self.damp < 0 or self.alpha < 0:
            raise RecipeError("svd takes at least 1 sample, and a damp and alpha of at least 0.")
        if unknown := sorted({*self.parts} - {*PARTS}):
            raise RecipeError(f"svd.parts has no {unknown[0]!r}; known: {', '.join(PARTS)}.")
        check_roles("svd", self.roles)
        check_ranges("svd", self.blocks)

    def shape(self, config: ModelConfig) -> ModelConfig:
        """Unchanged. Raises RecipeError for blocks that the model lacks and ranks that its matrices cannot have."""
        found = self._chosen(config)
        shapes = config.tensor_shapes()
        if self.rank:
            smallest = min(found, key=lambda name: min(shapes[name]))
            if self.rank > min(shapes[smallest]):
                raise RecipeError(
                    f"svd.rank {self.rank} is more than {smallest} {list(shapes[smallest])} has: at most "
                    f"{min(shapes[smallest])}; lower it or leave the role out."
                )
        if (self.rank or self.ratio) and not any(self._fixed_rank(*shapes[name]) for name in found):
            raise RecipeError(f"no matrix that svd takes is smaller at rank {self.rank or self.multiple}; lower it.")
        return config

    def structure(self, structure: Structure) -> Structure:
        """With the factors that `run` makes. Raises RecipeError where their ranks depend on the weights."""
        if not (self.rank or self.ratio):
            given = "energy" if self.energy else "budget"
            raise RecipeError(
                f"svd.{given} gives ranks that depend on the weights; give rank or ratio to plan without them."
            )
        shapes = structure.config.tensor_shapes()
        ranks = {name: self._fixed_rank(*shapes[name]) for name in self._stored(structure)}
        return structure.with_factors({name: rank for name, rank in ranks.items() if rank})

    def run(self, model: Checkpoint, work: Work) -> Checkpoint:
        """The model with factors in place of matrices; a matrix that several places share becomes factors they share.

        work.notes get by matrix `ranks`, `energy_kept` in the basis's measure and `relative_error` |W - B A| / |W|, the
        matrices that stay `dense`, and for a budget its figures. Raises RecipeError for a text too short for a window.
        """
        from edgec.compress.factor_blocks import factor_blocks
        from edgec.compress.refit import refitted

        self.shape(model.config)
        shapes = model.config.tensor_shapes()
        stored = self._stored(model.structure)
        if not stored:
            raise RecipeError("all matrices that svd takes are products already; put one svd stage in the recipe.")
        fixed = {name: self._fixed_rank(*shapes[name]) for name in stored} if self.rank or self.ratio else None
        bounds = fixed or {name: break_even(*shapes[name]) for name in stored}
        groups = {name: model.structure.users(name) for name in stored if bounds[name]}
        reads = self.refit or self._fit().needs_text
        tokens = None
        if reads and has_encoder(model.config):
            from edgec.compress.encoder_factors import factor_encoder
            from edgec.compress.encoder_texts import calibration_texts

            texts = calibration_texts(model, work, self.samples)
            factors, removal = factor_encoder(model, groups, bounds, self._fit(), texts, work)
            work.notes["samples"] = len(texts)
        else:
            tokens = work.tokens(model, self.samples, at_most=True) if reads else None
            factors, removal = factor_blocks(model, groups, bounds, self._fit(), tokens, work)
        if self.budget:
            ranks = ranks_of_budget(self, model, groups, factors, removal, work)
        elif self.energy:
            ranks = {name: rank_of_energy(each.sizes, self.energy, self.multiple) for name, each in factors.items()}
        else:
            ranks = bounds
        made = {n: f.of_rank(ranks[n]) for n, f in factors.items() if 0 < ranks[n] <= break_even(*shapes[n])}
        if tokens is not None:
            if self.refit:
                made = refitted(model, made, tokens, self.damp, work)
            work.notes["samples"] = len(tokens)
        work.notes["ranks"] = {name: each.rank for name, each in made.items()}
        work.notes["dense"] = [name for name in stored if name not in made]
        work.notes["energy_kept"] = {n: float(f"{factors[n].kept(each.rank):.6g}") for n, each in made.items()}
        work.notes["relative_error"] = {n: _relative_error(model.effective(n), each) for n, each in made.items()}
        return model.with_factors(made)

    def _chosen(self, config: ModelConfig) -> list[str]:
        starts = self._paths(config)
        found = [n for n in config.tensor_shapes() if n.startswith(starts) and role_in(n, self.roles)]
        if isinstance(config, Seq2SeqConfig) and self.parts:
            found = [name for name in found if part_of(name) in self.parts]
        if not found:
            raise RecipeError(f"the blocks that svd takes have no matrix of the roles {', '.join(self.roles)}.")
        return found

    def _paths(self, config: ModelConfig) -> tuple[str, ...]:
        """In front of the names of the chosen blocks' tensors."""
        halves = {"model.": config.n_layers}
        if isinstance(config, Seq2SeqConfig):
            wanted = {*(self.parts or PARTS)}
            halves = {ENCODER: config.encoder_layers} if "encoder" in wanted else {}
            halves |= {"model.": config.n_layers} if wanted - {"encoder"} else {}
        elif self.parts:
            raise RecipeError("svd.parts is of models with an encoder and a decoder; this model has one of them.")
        return tuple(
            f"{path}layers.{layer}."
            for path, layers in halves.items()
            for blocks in block_ranges("svd", self.blocks, layers, range(layers))
            for layer in blocks
        )

    def encoder_refusal(self, config: ModelConfig) -> str:
        """Which of its options a model with an encoder cannot have."""
        by_loss = [
            (self.basis == "fisher", 'basis "fisher"', 'basis "whitened", "drone" or "asvd"'),
            (self.guided and self.basis in ("whitened", "drone"), f'basis "{self.basis}" and guided', "guided = false"),
            (bool(self.budget) and self.sensitivity == "gradient", 'sensitivity "gradient"', 'sensitivity = "none"'),
        ]
        for asked, what, instead in by_loss if not seq2seq(config) else ():
            if asked:
                return f"svd with {what} needs a loss, which an encoder alone has none of; give {instead}."
        for asked, what in (
            (self.refit, "refit"),
            (self.budget > 0 and self.sensitivity == "measured", "measured losses"),
        ):
            if asked:
                return f"svd with {what} runs single blocks, which is for models that continue text; leave it out."
        return ""

    def _stored(self, structure: Structure) -> list[str]:
        """The chosen matrices as they are stored, but for products."""
        chosen = self._chosen(structure.config)
        return list(dict.fromkeys(structure.owner(name) for name in chosen if name not in structure.factors))

    def _fixed_rank(self, n: int, k: int) -> int:
        """The rank of a matrix by number or ratio; 0: it stays dense."""
        rank = self.rank or rank_of_ratio(n, k, self.ratio, self.multiple)
        return rank if rank <= break_even(n, k) else 0

    def _fit(self) -> Fit:
        removal = bool(self.budget) and self.sensitivity == "gradient"
        return Fit(self.basis, self.alpha, self.damp, self.guided, self.side, removal)


def _relative_error(w: FloatArray, product: LowRank) -> float:
    exact = w.astype(np.float64)
    miss = np.linalg.norm(exact - product.b.astype(np.float64) @ product.a)
    return float(f"{miss / max(float(np.linalg.norm(exact)), TINY):.4g}")


STAGE = Svd
