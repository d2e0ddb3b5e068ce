"""GGUF's simple block formats as packed matrices: the same codes, scales and minima, so no weight changes.

A block is 32 consecutive weights of a row with a binary16 scale d and, in the second kind, a binary16 minimum m.
The codes' low four bits lie in 16 bytes, those of weights 0 to 15 in the low halves and of 16 to 31 in the high ones;
five-bit codes have their highest bits in a 32-bit word before (see gguf.quants and llama.cpp's ggml-common.h):

    Q4_0   d, codes       w = d (q - 8)          Q4_1   d, m, codes       w = d q + m
    Q5_0   d, high, low   w = d (q - 16)         Q5_1   d, m, high, low   w = d q + m
    Q8_0   d, 32 int8     w = d q

The K- and I-quants have scales of scales, or codes that index a table; they are expanded to float and rounded anew.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from edgec.errors import ModelError
from edgec.frontend.gguf_header import GgufTensor
from edgec.frontend.llama2c import halves_order
from edgec.packing import U8, pack

if TYPE_CHECKING:
    from edgec.compress.quantized import QuantizedTensor

BLOCK = 32


@dataclass(frozen=True)
class BlockFormat:
    """Width of the codes, and whether a block has a minimum."""

    bits: int
    minimum: bool

    @property
    def block_bytes(self) -> int:
        """Bytes of a block: scale, minimum, codes."""
        return 2 + 2 * self.minimum + BLOCK * self.bits // 8


FORMATS = {
    "Q4_0": BlockFormat(4, False),
    "Q4_1": BlockFormat(4, True),
    "Q5_0": BlockFormat(5, False),
    "Q5_1": BlockFormat(5, True),
    "Q8_0": BlockFormat(8, False),
}


def packs(tensor: GgufTensor) -> bool:
    """Whether the tensor is a matrix in one of these formats."""
    return tensor.type_name in FORMATS and len(tensor.shape) == 2


def packed_matrix(tensor: GgufTensor, heads: int = 0) -> QuantizedTensor:
    """The matrix as it is stored, in groups of 32; heads > 0 puts rotary pairs into halves (see `halves_order`).

    Raises ModelError if a scale or minimum is not finite.
    """
    from edgec.compress.quantized import QuantizedTensor

    form = FORMATS[tensor.type_name]
    n, k = tensor.shape
    blocks = tensor.stored().reshape(n, k // BLOCK, form.block_bytes)
    scale = _halves(blocks, 0)
    minimum = _halves(blocks, 2) if form.minimum else None
    if not (np.isfinite(scale).all() and (minimum is None or np.isfinite(minimum).all())):
        raise ModelError(f"tensor {tensor.name} holds NaN or infinite values; the checkpoint is damaged.")
    codes = _codes(blocks[..., 2 + 2 * form.minimum :], form.bits).reshape(n, k)
    made = QuantizedTensor(pack(codes, form.bits, BLOCK), scale, None, k, form.bits, BLOCK, minimum)
    if not heads:
        return made
    order = halves_order(n, heads)
    least = None if minimum is None else minimum[order]
    return replace(made, packed=made.packed[order], scale=scale[order], minimum=least)


def _halves(blocks: U8, at: int) -> NDArray[np.float16]:
    """The binary16 number at a byte of every block."""
    return np.ascontiguousarray(blocks[..., at : at + 2]).view("<f2")[..., 0].astype(np.float16)


def _codes(data: U8, bits: int) -> U8:
    """Unsigned codes [n, blocks, 32] of the bytes behind a block's scale and minimum."""
    if bits == 8:
        return np.bitwise_xor(data, np.uint8(0x80))  # int8 to unsigned with its zero at 128
    low = data[..., -16:]
    codes: U8 = np.concatenate([low & 15, low >> 4], axis=-1)
    if bits == 5:
        codes |= np.unpackbits(data[..., :4], axis=-1, bitorder="little") << np.uint8(4)
    return codes
