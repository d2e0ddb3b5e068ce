"""Structure: which matrices a model of some shape stores. A matrix may be a product, and tensors may be one.

factors    W = B A: `...q_proj.factor_a.weight` [rank, k] and `...q_proj.factor_b.weight` [n, rank] are stored in
           place of `...q_proj.weight` [n, k]; its bias keeps its name
shared     a tensor (a matrix, a factor, a norm) is another one: the first of its users in order of computation,
           which is stored for all
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from edgec.errors import RecipeError

if TYPE_CHECKING:
    from edgec.frontend.model_config import ModelConfig

FACTORS = ("factor_a", "factor_b")
BLOCK_ROLES = ("q", "k", "v", "o", "gate", "up", "down")


def factor_names(matrix: str) -> tuple[str, str]:
    """Names of the factors A and B of a matrix."""
    path = matrix.removesuffix("weight")
    return f"{path}factor_a.weight", f"{path}factor_b.weight"


def matrix_of(name: str) -> str:
    """The matrix that a factor belongs to; the name itself if it is no factor's."""
    path, _, module = name.removesuffix(".weight").rpartition(".")
    return f"{path}.weight" if module in FACTORS else name


def role_of(name: str) -> str:
    """The recipe's role of a matrix or of one of its factors: q, k, v, o, gate, up, down, embed or head."""
    module = matrix_of(name).split(".")[-2]
    return {"embed_tokens": "embed", "lm_head": "head"}.get(module, module.removesuffix("_proj"))


@dataclass(frozen=True)
class Structure:
    """A shape, the ranks of matrices that are products, and the owners of tensors that are one with another."""

    config: ModelConfig
    factors: Mapping[str, int] = field(default_factory=dict)
    shared: Mapping[str, str] = field(default_factory=dict)

    def owner(self, name: str) -> str:
        """The stored tensor that stands for this one."""
        return self.shared.get(name, name)

    def parts(self, matrix: str) -> tuple[str, ...]:
        """The matrix itself, or its factors in the order in which inputs go through them."""
        return factor_names(matrix) if matrix in self.factors else (matrix,)

    def applied_matrices(self) -> list[str]:
        """The blocks' matrices in the order of computation, factors in place of products; shared ones by every user."""
        names = [name for name in self.config.tensor_shapes() if name.endswith("_proj.weight")]
        return [part for name in names for part in self.parts(name)]

    def stored_matrices(self) -> list[str]:
        """Those that are stored: no name that another stands for."""
        return [name for name in self.applied_matrices() if name not in self.shared]

    def users(self, name: str) -> list[str]:
        """All names of a stored matrix, its own first."""
        return [name, *(user for user, owner in self.shared.items() if owner == name)]

    def shapes(self) -> dict[str, tuple[int, ...]]:
        """Shape of every tensor that such a model stores, in the order of computation (biases and q/k norms are
        extra)."""
        return dict(self._shapes())

    def _shapes(self) -> Iterator[tuple[str, tuple[int, ...]]]:
        for name, shape in self.config.tensor_shapes().items():
            sizes = [shape] if name not in self.factors else self.factor_shapes(name)
            yield from ((p, s) for p, s in zip(self.parts(name), sizes, strict=True) if p not in self.shared)

    def factor_shapes(self, matrix: str) -> tuple[tuple[int, int], tuple[int, int]]:
        """[rank, k] and [n, rank]."""
        n, k = self.config.tensor_shapes()[matrix]
        return (self.factors[matrix], k), (n, self.factors[matrix])

    def with_factors(self, ranks: Mapping[str, int]) -> Structure:
        """Stored matrices as products of these ranks; every user of one gets the same factors.

        Raises RecipeError for a rank that the matrix cannot have.
        """
        shapes = self.config.tensor_shapes()
        factors, shared = dict(self.factors), dict(self.shared)
        for name, rank in ranks.items():
            if not 1 <= rank <= min(shapes[name]):
                raise RecipeError(f"{name} {list(shapes[name])} cannot have rank {rank}; 1 to {min(shapes[name])} can.")
            for user in self.users(name):
                factors[user] = rank
                shared.pop(user, None)
                if user != name:
                    shared |= dict(zip(factor_names(user), factor_names(name), strict=True))
        return replace(self, factors=factors, shared=shared)

    def with_shared(self, owners: Mapping[str, str]) -> Structure:
        """These tensors stand for others now; an owner that is shared itself is looked through."""
        made = dict(self.shared) | {name: self.owner(owner) for name, owner in owners.items()}
        made = {name: made.get(owner, owner) for name, owner in made.items()}
        return replace(self, shared={name: owner for name, owner in made.items() if name != owner})

    def with_blocks(self, order: Sequence[int]) -> tuple[Structure, dict[str, str]]:
        """These blocks in this order, and by the new name of every tensor that they may store its name before.

        A block that comes again shares all its tensors with its first run; where the first user of a shared tensor is
        left out, the next one stores it.
        """
        tensors = self._tensors_by_block()
        first: dict[str, str] = {}  # new names by old ones
        shared: dict[str, str] = {}
        factors: dict[str, int] = {}
        for new, old in enumerate(order):
            source, place = f"model.layers.{old}.", f"model.layers.{new}."
            factors |= {n.replace(source, place): r for n, r in self.factors.items() if n.startswith(source)}
            for name in tensors[old]:
                here, stored = place + name, self.owner(source + name)
                if first.setdefault(stored, here) != here:
                    shared[here] = first[stored]
        config = self.config.with_blocks(order)
        return replace(self, config=config, factors=factors, shared=shared), {new: old for old, new in first.items()}

    def _tensors_by_block(self) -> list[list[str]]:
        """What each block may have behind `model.layers.N.`, in the order of computation, factors for products."""
        found: list[list[str]] = [[] for _ in range(self.config.n_layers)]
        for name in [*self.config.tensor_shapes(), *self.config.optional_shapes()]:
            if name.startswith("model.layers."):
                found[int(name.split(".")[2])] += [part.split(".", 3)[3] for part in self.parts(name)]
        return found

    def without(self, names: Iterable[str]) -> Structure:
        """These matrices dense and stored by themselves."""
        gone = {part for name in names for part in (name, *factor_names(name))}
        factors = {name: rank for name, rank in self.factors.items() if name not in gone}
        return replace(self, factors=factors, shared={n: o for n, o in self.shared.items() if n not in gone})
