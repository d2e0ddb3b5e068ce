"""EoRA: a low-rank branch beside each packed matrix that takes back most of what rounding cost on real inputs.

Liu et al. 2024 (arXiv 2410.21271). For the error E = W - Q of a matrix and inputs X, the best B A of rank r is not the
truncated SVD of E but the one that minimises |(E - B A) X|: with X X^T = U L U^T, the SVD of E U sqrt(L) in place of E,
projected back by L^-1/2 U^T. The packed matrix stays as it is, so weights that were pruned stay zero: the branch is a
path of its own (edgec/lower/builder.py).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from edgec.compress.low_rank import Root, in_subspace, square_root
from edgec.compress.stage import Work, layers_of
from edgec.errors import RecipeError
from edgec.frontend.checkpoint import Checkpoint, FloatArray, LowRank
from edgec.frontend.model_config import ModelConfig
from edgec.frontend.structure import role_of

if TYPE_CHECKING:
    from torch import Tensor

    from edgec.compress.torch_model import TorchModel

ROLES = ("q", "k", "v", "o", "gate", "up", "down")


@dataclass(frozen=True)
class Eora:
    """Width of the branches and what they are fitted to."""

    method: ClassVar[str] = "eora"
    rank: int = 32  # at most the smaller side of the matrix
    samples: int = 64  # windows of the calibration text
    roles: tuple[str, ...] = ROLES
    guided: bool = False  # weight tokens by the loss's gradient (compress/token_weights.py)
    activations: str = "int8"  # inputs as the chip rounds them, or "float"

    def __post_init__(self) -> None:
        if self.rank < 1 or self.samples < 1:
            raise RecipeError(f"eora takes a rank and samples of at least 1, not {self.rank} and {self.samples}.")
        for role in self.roles:
            if role not in ROLES:
                raise RecipeError(f"eora.roles has no role {role!r}; known: {', '.join(ROLES)}.")
        if not self.roles or self.activations not in ("int8", "float"):
            raise RecipeError('eora needs at least one role, and activations "int8" or "float".')

    def shape(self, config: ModelConfig) -> ModelConfig:
        """Unchanged."""
        return config

    def run(self, model: Checkpoint, work: Work) -> Checkpoint:
        """The model with a branch beside every packed matrix of `roles`; one that has a branch gets a wider one.

        Raises RecipeError if nothing is packed, or if the weights before quantisation are not those of this model.
        """
        before = self._unrounded(model, work)
        names = [n for n in model.stored_matrices() if n in model.packed and n not in before.packed and self._takes(n)]
        if not names:
            raise RecipeError("the eora stage takes back what rounding cost; put a quantize stage before it.")
        if owned := next((name for name in names if name in model.shared.values()), None):
            raise RecipeError(f"the eora stage fits a branch to the inputs of one block, but blocks share {owned}.")
        branches, left = fit_branches(model, before, names, self, work)
        work.notes["error_left"] = {name: float(f"{share:.4g}") for name, share in left.items()}
        joined = {name: joined_branch(model.branches.get(name), branch) for name, branch in branches.items()}
        return model.with_tensors({}, branches=dict(model.branches) | joined)

    def _takes(self, name: str) -> bool:
        return role_of(name) in self.roles

    def _unrounded(self, model: Checkpoint, work: Work) -> Checkpoint:
        """The model just before quantisation, or the original if nothing changed its shape since."""
        before = work.before_quantize or work.original()
        if before.structure != model.structure:
            raise RecipeError(
                "the eora stage must follow the quantize stage; the model changed its shape in between, so the weights "
                "before quantisation are no longer this model's."
            )
        for name in model.stored_tensors():
            if name.endswith(("norm.weight", ".bias")) and not np.array_equal(before.tensor(name), model.tensor(name)):
                raise RecipeError(
                    f"the eora stage compares with the weights before quantisation, but {name} has changed since, as "
                    "AWQ does; quantize by another method."
                )
        return before


def fit_branches(
    model: Checkpoint, before: Checkpoint, names: list[str], options: Eora, work: Work
) -> tuple[dict[str, LowRank], dict[str, float]]:
    """Branches by name, and the share of the error |E X|^2 that they leave.

    Block after block: inputs come through the blocks before as they are quantised, their new branches included. What is
    done is kept block by block.
    """
    import torch

    from edgec.compress.chip_numerics import ChipActivations, group_sizes
    from edgec.compress.token_weights import token_weights
    from edgec.compress.torch_model import load_torch, set_branch

    module = load_torch(model)
    tokens = work.tokens(model, options.samples)
    weights = token_weights(module, tokens, work) if options.guided else {}
    if options.activations == "int8":
        groups = {name: model.packed[name]().group_size for name in model.packed}
        module.act = ChipActivations(group_sizes(model.structure, groups))
    branches: dict[str, LowRank] = {}
    left: dict[str, float] = {}
    with torch.no_grad():
        hidden = [module.embed(window) for window in torch.from_numpy(tokens).split(1)]
        for layer in range(model.config.n_layers):
            work.say("blocks", layer, model.config.n_layers)
            chosen = layers_of(names, layer)
            done = work.load(f"block{layer}")
            if done is None:
                done, roots = {}, {}
                for name, moment in input_moments(module, layer, hidden, chosen, weights).items():
                    if id(moment) not in roots:
                        roots[id(moment)] = square_root(moment.numpy())
                    error = before.tensor(name) - model.tensor(name)
                    a, b, share = best_branch(error, roots[id(moment)], options.rank)
                    done |= {f"{name}.a": a, f"{name}.b": b, f"{name}.left": np.asarray(share)}
                work.save(f"block{layer}", done)
            for name in chosen:
                branches[name] = LowRank(done[f"{name}.a"], done[f"{name}.b"])
                left[name] = float(done[f"{name}.left"])
                set_branch(module, name, joined_branch(model.branches.get(name), branches[name]))
            hidden = [module.block(layer, part) for part in hidden]
    return branches, left


def input_moments(
    module: TorchModel, layer: int, hidden: list[Tensor], names: list[str], weights: Mapping[str, Tensor]
) -> Mapping[str, Tensor]:
    """X D X^T in float64, [k, k], of the inputs of a block's matrices; D are the tokens' weights, where given.

    hidden: one window each. weights: [windows, length] by matrix. Without them, matrices that share their inputs share
    the very same result.
    """
    import torch

    found: dict[str, Tensor] = {name: torch.zeros(()) for name in names}
    latest: list[Any] = [None, ""]  # the inputs seen last, and by which matrix

    def watch(name: str) -> Any:
        def hook(matrix: Any, inputs: Any, output: Any) -> None:
            if inputs[0] is latest[0] and not weights:
                found[name] = found[latest[1]]
                return
            latest[:] = [inputs[0], name]
            x = inputs[0].flatten(0, -2)
            weighted = x * weights[name][window, :, None] if weights else x
            found[name] = found[name] + (x.T @ weighted).double()

        return hook

    hooks = [module.linear(name).register_forward_hook(watch(name)) for name in names]
    try:
        for window, part in enumerate(hidden):  # noqa: B007 - the hooks read it
            module.block(layer, part)
    finally:
        for each in hooks:
            each.remove()
    for name, moment in found.items():
        if not torch.isfinite(moment).all():
            raise RecipeError(f"the inputs of {name} overflow on the calibration text; the checkpoint is damaged.")
    return found


def best_branch(error: FloatArray, inputs: Root, rank: int) -> tuple[FloatArray, FloatArray, float]:
    """a [r, k], b [n, r] with the least |(error - b a) X|, and the share of |error X|^2 left; inputs: see square_root.

    The singular values are split evenly between both sides, so that neither needs a wide range of codes.
    """
    rank = min(rank, *error.shape)
    if not len(inputs[0]) or not error.any():
        return np.zeros((rank, error.shape[1]), np.float32), np.zeros((error.shape[0], rank), np.float32), 0.0
    factors = in_subspace(error, inputs, rank)
    best, sizes = factors.of_rank(rank), factors.sizes
    power = float((sizes**2).sum())
    share = float((sizes[rank:] ** 2).sum()) / power if power else 0.0
    return best.a, best.b, share


def joined_branch(old: LowRank | None, new: LowRank) -> LowRank:
    """Both branches as one."""
    if old is None:
        return new
    return LowRank(np.concatenate([old.a, new.a]), np.concatenate([old.b, new.b], axis=1))


STAGE = Eora
