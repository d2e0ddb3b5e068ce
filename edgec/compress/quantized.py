"""What quantisation leaves behind: packed tensors beside the float tensors that stay float."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from edgec.errors import RecipeError
from edgec.frontend.checkpoint import FloatArray
from edgec.frontend.model_config import ModelConfig
from edgec.frontend.structure import Structure
from edgec.ops.embed import dequantize
from edgec.packing_nm import Pattern, kept, spread, unpack_codes, unpack_places

if TYPE_CHECKING:
    from edgec.compress.nm import Storage


@dataclass(frozen=True)
class QuantizedTensor:
    """A matrix [n, k] in edgec's packed form (see `edgec/packing.py`).

    packed u8[n, row_bytes], scale f16[n, groups], and for the offset of a group one of: nothing (symmetric, zero is
    2^(bits-1)), zero u8[n, groups], or minimum f16[n, groups]:

        w = (u - zero) * scale        w = u * scale + minimum        u unsigned, products and sums in float32

    With a `pattern` (removed, of), packed holds the kept codes only and places u8[n, ...] says where they belong
    (`edgec/packing_nm.py`); what is removed is zero.
    """

    packed: NDArray[np.uint8]
    scale: NDArray[np.float16]
    zero: NDArray[np.uint8] | None
    k: int
    bits: int
    group_size: int
    minimum: NDArray[np.float16] | None = None
    pattern: Pattern | None = None
    places: NDArray[np.uint8] | None = None
    layout: str = ""  # "neureka", "neureka_1x1": packed is as `edgec/passes/to_neureka.py` makes it, for lowering only
    tail: NDArray[np.int8] | None = None  # there: codes less 2^(bits-1) of groups' last inputs, which packed then lacks
    fold: NDArray[np.uint8] | None = None  # there: inputs before those, nine channels in a row (`encode_folded`)

    def dequantized(self) -> FloatArray:
        """The matrix that the device computes with, float32 [n, k]."""
        if self.pattern is not None and self.places is not None:
            codes = unpack_codes(self.packed, self.k, self.bits, self.group_size, self.pattern)
            places = unpack_places(self.places, self.k, self.group_size, self.pattern)
            size = kept(min(self.k, self.group_size), self.pattern)
            middle = np.full_like(self.scale, 2 ** (self.bits - 1), np.float32) if self.zero is None else self.zero
            zero, scale = (
                np.repeat(a.astype(np.float32), size, axis=1)[:, : codes.shape[1]] for a in (middle, self.scale)
            )
            return spread((codes.astype(np.float32) - zero) * scale, places, self.pattern[1])
        return dequantize(self.packed, self.scale, self.zero, self.k, self.bits, self.group_size, self.minimum)

    def rows(self, kept: Any) -> QuantizedTensor:
        """The matrix [len(kept), k] of these rows, their codes, scales and offsets as they are."""
        tables = ("packed", "scale", "zero", "minimum", "places", "tail")
        return replace(self, **{name: getattr(self, name)[kept] for name in tables if getattr(self, name) is not None})


@dataclass(frozen=True)
class QuantizedModel:
    """A model ready for lowering: its shape, packed matrices, float norms and biases, and how well each was hit.

    `branches` are low-rank paths beside matrices, by the matrix's name: packed a [rank, k] and b [n, rank].
    All tables go by the names of what is stored.
    """

    config: ModelConfig
    matrices: dict[str, QuantizedTensor]
    floats: dict[str, FloatArray]
    errors: dict[str, float] = field(default_factory=dict)  # NMSE per matrix: |W - Q|^2 / |W|^2
    provenance: dict[str, Any] = field(default_factory=dict)
    branches: dict[str, tuple[QuantizedTensor, QuantizedTensor]] = field(default_factory=dict)
    key_centres: dict[str, FloatArray] = field(default_factory=dict)  # by attention module, see compress/smooth_keys.py
    kv_bits: int = 8  # of the cache: 8 or 4
    storage: dict[str, Storage] = field(default_factory=dict)  # of pruned matrices
    factors: dict[str, int] = field(default_factory=dict)  # matrices that are products, and their ranks
    shared: dict[str, str] = field(default_factory=dict)  # tensors that stand for others (frontend/structure.py)

    def __post_init__(self) -> None:
        if self.kv_bits == 4 and self.config.head_dim % 2:
            size = self.config.head_dim
            raise RecipeError(f"a cache of 4 bits stores two elements a byte, heads of {size} are odd; use --kv int8.")

    @property
    def structure(self) -> Structure:
        """What is stored of this shape."""
        return Structure(self.config, self.factors, self.shared)
