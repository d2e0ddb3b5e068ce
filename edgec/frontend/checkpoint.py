"""Checkpoint: what every front end produces, whatever the file format was.

Conventions that each front end must establish (so that nothing behind it knows formats):

* tensors carry the Hugging Face LLaMA names (`model.layers.0.self_attn.q_proj.weight`, ...) and
  are float32 arrays of shape [out_features, in_features] (matrices) or [features] (norms, biases);
* rotary embedding pairs element i with i + head_dim/2 inside a head (Hugging Face's order);
  front ends of formats that pair (2i, 2i+1) permute the rows of q and k;
* a tied head has no `lm_head.weight`; `ModelConfig.tied_embeddings` says so.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from edgec.errors import ModelError
from edgec.frontend.model_config import ModelConfig
from edgec.frontend.structure import Structure, factor_names, matrix_of

if TYPE_CHECKING:
    from tokenizers import Tokenizer

    from edgec.compress.quantized import QuantizedTensor

FloatArray = NDArray[np.float32]


@dataclass(frozen=True)
class TextTokenizer:
    """A `tokenizers` tokenizer with the ids that generation needs."""

    backend: Tokenizer
    bos_id: int | None
    eos_ids: tuple[int, ...]
    add_bos: bool  # a prompt starts with BOS
    add_eos: bool = False  # and a text ends with the first of eos_ids: encoders

    def encode(self, text: str) -> list[int]:
        """Token ids of `text`, with BOS in front and EOS behind where the model expects them."""
        ids = list(self.backend.encode(text, add_special_tokens=False).ids)
        ids += self.eos_ids[:1] if self.add_eos else ()
        return [self.bos_id, *ids] if self.add_bos and self.bos_id is not None else ids

    def encode_within(self, text: str, most: int) -> list[int]:
        """At most so many ids: a text that is longer is cut, what the model expects around it stays."""
        ids = self.encode(text)
        return ids if len(ids) <= most else ids[:most] if not self.add_eos else [*ids[: most - 1], ids[-1]]

    def decode(self, ids: list[int]) -> str:
        """Text of `ids`, special tokens left out."""
        return str(self.backend.decode(ids, skip_special_tokens=True))


@dataclass(frozen=True)
class LowRank:
    """A branch beside a matrix: y = W x + B (A x), with a float32 [rank, k] and b float32 [n, rank]."""

    a: FloatArray
    b: FloatArray

    @property
    def rank(self) -> int:
        """Width of the branch."""
        return int(self.a.shape[0])

    def product(self) -> FloatArray:
        """What the branch adds to the matrix, float32 [n, k]."""
        return self.b @ self.a


@dataclass(frozen=True)
class Checkpoint:
    """A model between files, compression stages and the compiler: shape, tensors, tokenizer, and its history.

    `readers` maps each tensor's name to a function that reads it as float32; nothing is kept, so
    a large model passes through memory one tensor at a time. Matrices that are already on a grid (a quantised
    file, a quantise stage) are in `packed` too, and `tensor(name)` equals `packed[name]().dequantized()`.

    A matrix may be stored as two factors, and tensors may be one (structure.py): `tensor` gives the product and the
    one tensor; `packed`, `branches` and `patterns` go by the names of what is stored.
    """

    config: ModelConfig
    readers: Mapping[str, Callable[[], FloatArray]]
    tokenizer: TextTokenizer | None
    provenance: dict[str, Any] = field(default_factory=dict)  # "source" (as given), "format", "files": {name: sha256}
    packed: Mapping[str, Callable[[], QuantizedTensor]] = field(default_factory=dict)
    branches: Mapping[str, LowRank] = field(default_factory=dict)  # by matrix; tensor(name) is W alone
    patterns: Mapping[str, tuple[int, int]] = field(default_factory=dict)  # by matrix: (removed, of), along a row
    # By attention module ("model.layers.0.self_attn"): what its rotated keys have in common, [n_kv_heads * head_dim].
    key_centres: Mapping[str, FloatArray] = field(default_factory=dict)
    stages: tuple[dict[str, Any], ...] = ()  # what was done to the original, oldest first (see compress/stage.py)
    factors: Mapping[str, int] = field(default_factory=dict)  # ranks by matrix that is a product
    shared: Mapping[str, str] = field(default_factory=dict)  # the stored tensor by the name that it stands for

    def __contains__(self, name: str) -> bool:
        return self.owner(name) in self.readers or name in self.factors

    @property
    def structure(self) -> Structure:
        """What is stored of this shape."""
        return Structure(self.config, self.factors, self.shared)

    def owner(self, name: str) -> str:
        """The stored tensor that stands for this one."""
        return self.shared.get(name, name)

    def tensor(self, name: str) -> FloatArray:
        """Read one tensor as contiguous float32. Raises ModelError if it is missing, misshapen or not finite."""
        if name in self.factors:
            a, b = (self.tensor(part) for part in factor_names(name))
            return b @ a
        if (owner := self.owner(name)) not in self.readers:
            family = self.config.family
            raise ModelError(f"the checkpoint has no tensor {name}; it is damaged or not of the family {family}.")
        array = np.ascontiguousarray(self.readers[owner](), dtype=np.float32)
        want = self._shape_of(name)
        if want is not None and array.shape != want:
            raise ModelError(f"tensor {name} has shape {list(array.shape)}, the configuration says {list(want)}.")
        if not np.isfinite(array).all():
            raise ModelError(f"tensor {name} holds NaN or infinite values; the checkpoint is damaged.")
        return array

    def _shape_of(self, name: str) -> tuple[int, ...] | None:
        if (matrix := matrix_of(name)) in self.factors and matrix != name:
            return dict(zip(factor_names(matrix), self.structure.factor_shapes(matrix), strict=True))[name]
        return self.config.tensor_shapes().get(name) or self.config.optional_shapes().get(name)

    def matrix_names(self) -> list[str]:
        """The matrices of the blocks (q, k, v, o, gate, up, down of every layer), in the order of computation."""
        return [name for name in self.config.tensor_shapes() if name.endswith("_proj.weight")]

    def stored_matrices(self) -> list[str]:
        """The blocks' matrices that exist: factors in place of products, one name for shared ones."""
        return self.structure.stored_matrices()

    def stored_tensors(self) -> list[str]:
        """Everything that exists, in the order of computation; biases and q/k norms at the end."""
        optional = [name for name in self.config.optional_shapes() if name in self and name not in self.shared]
        return [*self.structure.shapes(), *optional]

    def effective(self, name: str) -> FloatArray:
        """The tensor with its branch added: what a framework without branches must compute with."""
        if name in self.factors:
            a, b = (self.effective(part) for part in factor_names(name))
            return b @ a
        tensor, branch = self.tensor(name), self.branches.get(self.owner(name))
        return tensor if branch is None else tensor + branch.product()

    def with_tensors(self, tensors: Mapping[str, FloatArray], **changes: Any) -> Checkpoint:
        """The same model with other float tensors (which are then no longer packed), and other fields.

        A stored tensor changes for all its users; one that stood for another, or was a product, becomes its own.
        """
        own = self.structure.without(name for name in tensors if name in self.shared or name in self.factors)
        readers = self._without_factors(own, self.readers) | {n: partial(_same, array) for n, array in tensors.items()}
        packed = {n: read for n, read in self._without_factors(own, self.packed).items() if n not in tensors}
        kept = {"factors": own.factors, "shared": own.shared, "readers": readers, "packed": packed}
        return replace(self, **(kept | changes))

    def with_packed(self, packed: Mapping[str, QuantizedTensor], **changes: Any) -> Checkpoint:
        """The same model with these stored matrices on a grid."""
        readers = dict(self.readers) | {name: tensor.dequantized for name, tensor in packed.items()}
        kept = dict(self.packed) | {name: partial(_same, tensor) for name, tensor in packed.items()}
        return replace(self, **({"readers": readers, "packed": kept} | changes))

    def with_factors(self, products: Mapping[str, LowRank], **changes: Any) -> Checkpoint:
        """The same model with these stored matrices as products b a, for all their users; grids, branches and patterns
        of the matrices go."""
        made = self.structure.with_factors({name: product.rank for name, product in products.items()})
        readers = {name: read for name, read in self.readers.items() if name not in products}
        for name, product in products.items():
            readers |= dict(
                zip(factor_names(name), (partial(_same, product.a), partial(_same, product.b)), strict=True)
            )
        kept = {
            field: {name: value for name, value in getattr(self, field).items() if name not in products}
            for field in ("packed", "branches", "patterns")
        }
        return replace(self, **({"readers": readers, "factors": made.factors, "shared": made.shared} | kept | changes))

    def with_shared(self, owners: Mapping[str, str], **changes: Any) -> Checkpoint:
        """The same model with these tensors one with others. Raises ModelError for shapes that differ."""
        for name, owner in owners.items():
            if self._shape_of(name) != self._shape_of(owner):
                shapes = f"{self._shape_of(name)} and {self._shape_of(owner)}"
                raise ModelError(f"{name} and {owner} cannot be one tensor; their shapes are {shapes}.")
        made = self.structure.with_shared(owners)
        kept = {
            field: {name: value for name, value in getattr(self, field).items() if name not in made.shared}
            for field in ("readers", "packed", "branches", "patterns")
        }
        return replace(self, **({"shared": made.shared} | kept | changes))

    def _without_factors(self, kept: Structure, table: Mapping[str, Any]) -> dict[str, Any]:
        """The entries but those of factors that a structure has no more."""
        gone = {part for name in self.factors.keys() - kept.factors.keys() for part in factor_names(name)}
        return {name: value for name, value in table.items() if name not in gone}


def _same(value: Any) -> Any:
    return value
