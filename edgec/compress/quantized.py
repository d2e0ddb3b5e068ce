"""What quantisation leaves behind: packed tensors beside the float tensors that stay float."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgec.frontend.checkpoint import FloatArray, ModelConfig
from edgec.ops.embed import dequantize


@dataclass(frozen=True)
class QuantizedTensor:
    """A matrix [n, k] in edgec's packed form (see `edgec/packing.py`).

    packed u8[n, row_bytes], scale f16[n, groups], and for the offset of a group one of: nothing (symmetric, zero is
    2^(bits-1)), zero u8[n, groups], or minimum f16[n, groups]:

        w = (u - zero) * scale        w = u * scale + minimum        u unsigned, products and sums in float32
    """

    packed: NDArray[np.uint8]
    scale: NDArray[np.float16]
    zero: NDArray[np.uint8] | None
    k: int
    bits: int
    group_size: int
    minimum: NDArray[np.float16] | None = None

    def dequantized(self) -> FloatArray:
        """The matrix that the device computes with, float32 [n, k]."""
        return dequantize(self.packed, self.scale, self.zero, self.k, self.bits, self.group_size, self.minimum)


@dataclass(frozen=True)
class QuantizedModel:
    """A model ready for lowering: its shape, packed matrices, float norms and biases, and how well each was hit.

    `branches` are low-rank paths beside matrices, by the matrix's name: packed a [rank, k] and b [n, rank].
    """

    config: ModelConfig
    matrices: dict[str, QuantizedTensor]
    floats: dict[str, FloatArray]
    errors: dict[str, float] = field(default_factory=dict)  # NMSE per matrix: |W - Q|^2 / |W|^2
    provenance: dict[str, Any] = field(default_factory=dict)
    branches: dict[str, tuple[QuantizedTensor, QuantizedTensor]] = field(default_factory=dict)
