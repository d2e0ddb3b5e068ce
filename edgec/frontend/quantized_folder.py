"""Hugging Face folders whose matrices are quantised: which of their tensors belong together, and what they must hold.

A matrix `X.weight` [n, k] is stored as `X.qweight`, `X.qzeros`, `X.scales` (and GPTQ's `X.g_idx`): integers packed into
32-bit words, one scale and zero point for each output and group of inputs. They are taken over as they are:
`gptq_folder.py` and `awq_folder.py` read the two layouts.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from edgec.errors import ModelError
from edgec.frontend.safetensors_file import StoredTensor
from edgec.packing import U8, n_groups, pack

if TYPE_CHECKING:
    from edgec.compress.quantized import QuantizedTensor

METHODS = ("gptq", "awq")
PARTS = ("qweight", "qzeros", "scales", "g_idx")
FLOATS = ("F16", "BF16", "F32")


@dataclass(frozen=True)
class Quantization:
    """What quantization_config says. group_size 0 is a whole row; `minus_one`: zero points are stored minus one."""

    method: str
    bits: int
    group_size: int
    minus_one: bool = False

    def size(self, k: int) -> int:
        """Inputs that share a scale in a row of k."""
        return min(self.group_size or k, k)

    def text(self) -> str:
        """One phrase for people."""
        group = f"groups of {self.group_size}" if self.group_size else "one group a row"
        return f"{self.method.upper()} int{self.bits}, {group}"


@dataclass(frozen=True)
class PackedMatrix:
    """A quantised matrix [n, k] of a folder: its stored parts by name, and how to read it."""

    shape: tuple[int, int]
    parts: Mapping[str, StoredTensor]
    read: Callable[[], QuantizedTensor]


def read_quantization(where: str, raw: Any) -> Quantization:
    """The quantization_config of `where`. Raises ModelError for every form that edgec would not take over exactly."""
    method = raw.get("quant_method", raw.get("method")) if isinstance(raw, dict) else raw
    if not isinstance(raw, dict) or method not in METHODS:
        raise ModelError(
            f"{where} describes weights quantised by {method!r}; edgec takes over {' and '.join(METHODS)}, "
            "or give it the float checkpoint."
        )
    form = raw.get("checkpoint_format", raw.get("format", raw.get("version", "gptq" if method == "gptq" else "gemm")))
    bits, group = raw.get("bits"), raw.get("group_size")
    known = ("gptq", "gptq_v2") if method == "gptq" else ("gemm",)
    if not isinstance(form, str) or form.lower() not in known:
        raise ModelError(
            f"{where}: {method} weights in the format {form!r} are unknown; edgec reads {', '.join(known)}."
        )
    widths = (2, 3, 4, 8) if method == "gptq" else (4,)
    if type(bits) is not int or bits not in widths:
        listed = ", ".join(map(str, widths))
        raise ModelError(
            f"{where}: {method} weights of {bits!r} bits are not what edgec reads; it reads {listed} bits."
        )
    if type(group) is not int or not (group == -1 or 0 < group <= 65536):
        raise ModelError(f"{where}: the group_size of its {method} weights is {group!r}; it is -1 or 1 to 65,536.")
    if raw.get("pack_dtype", "int32") != "int32":
        raise ModelError(f"{where}: {method} weights packed into {raw['pack_dtype']!r} are unknown; edgec reads int32.")
    own = raw.get("dynamic")  # patterns of module names; those that begin with "-:" are left in float
    if own and not (isinstance(own, dict) and all(str(pattern).startswith("-:") for pattern in own)):
        raise ModelError(
            f"{where} gives some matrices a width or group of their own (dynamic); edgec reads one for all of them."
        )
    return Quantization(method, bits, max(group, 0), form.lower() == "gptq")


def packed_matrices(
    where: str,
    quantization: Quantization,
    shapes: Mapping[str, tuple[int, ...]],
    stored: Mapping[str, StoredTensor],
) -> dict[str, PackedMatrix]:
    """The quantised matrices of a folder by tensor name, presence, types and shapes of their parts checked.

    `shapes` are the model's tensors; a part of anything else is left for `check_tensors` to refuse.
    """
    from edgec.frontend.awq_folder import awq_matrix
    from edgec.frontend.gptq_folder import gptq_matrix

    form = gptq_matrix if quantization.method == "gptq" else awq_matrix
    found: dict[str, PackedMatrix] = {}
    for name, shape in shapes.items():
        module = name.removesuffix(".weight")
        parts = {part: stored[f"{module}.{part}"] for part in PARTS if f"{module}.{part}" in stored}
        if not parts or len(shape) != 2:
            continue
        if name in stored:
            raise ModelError(f"{where} holds {name} twice, as float and as {module}.{next(iter(parts))}.")
        found[name] = form(quantization, (shape[0], shape[1]), module, parts)
    if not found:
        raise ModelError(f"{where}: the configuration promises {quantization.method} weights, but no tensor is any.")
    return found


def zero_biases(packed: Mapping[str, PackedMatrix], stored: Mapping[str, StoredTensor], known: set[str]) -> set[str]:
    """Biases beside quantised matrices that the model does not have and that are zero: older tools write them."""
    names = {name.removesuffix("weight") + "bias" for name in packed} & stored.keys() - known
    return {name for name in names if stored[name].dtype in FLOATS and not stored[name].read().any()}


def check_part(
    module: str, parts: Mapping[str, StoredTensor], part: str, dtypes: tuple[str, ...], shape: tuple[int, ...]
) -> None:
    """Raise ModelError unless the part is there, of one of the types and of the shape that the configuration asks."""
    if part not in parts:
        raise ModelError(f"the quantised matrix {module} has no {part}; the checkpoint is damaged.")
    tensor = parts[part]
    if tensor.dtype not in dtypes:
        raise ModelError(
            f"{tensor.path}: tensor {tensor.name} is stored as {tensor.dtype}; edgec reads {', '.join(dtypes)} there."
        )
    if tensor.shape != shape:
        raise ModelError(
            f"{tensor.path}: tensor {tensor.name} has shape {list(tensor.shape)}, the configuration with its bits "
            f"and group_size asks for {list(shape)}."
        )


def unpack_words(words: NDArray[Any], bits: int, count: int) -> U8:
    """`count` integers of `bits` each from the last axis of 32-bit words: one stream, lowest bits first."""
    raw = np.ascontiguousarray(words, "<i4").view(np.uint8)
    if bits == 8:
        return raw[..., :count]
    stream = np.unpackbits(raw, axis=-1, bitorder="little")[..., : count * bits]
    stream = stream.reshape(*words.shape[:-1], count, bits)
    out = np.zeros(stream.shape[:-1], np.uint8)
    for bit in range(bits):
        out |= stream[..., bit] << np.uint8(bit)
    return out


def exact_scales(tensor: StoredTensor) -> NDArray[np.float16]:
    """Scales as binary16. Raises ModelError if one is not finite or is no binary16 number."""
    wide = tensor.read()
    if not np.isfinite(wide).all():
        raise ModelError(f"tensor {tensor.name} holds NaN or infinite values; the checkpoint is damaged.")
    with np.errstate(over="ignore"):
        scales = wide.astype(np.float16)
    if not np.array_equal(scales.astype(np.float32), wide):
        raise ModelError(
            f"{tensor.path}: tensor {tensor.name} ({tensor.dtype}) has scales that binary16 does not hold exactly; "
            "save the checkpoint with float16 scales, or give edgec the float one."
        )
    return scales


def quantized_tensor(codes: U8, zero: U8, scale: NDArray[np.float16], bits: int, size: int) -> QuantizedTensor:
    """Codes [n, k], zero points and scales [n, groups] as edgec's packed tensor; a constant middle is symmetric."""
    from edgec.compress.quantized import QuantizedTensor

    n, k = codes.shape
    assert zero.shape == scale.shape == (n, n_groups(k, size))
    middle = bool((zero == 2 ** (bits - 1)).all())
    return QuantizedTensor(
        pack(codes, bits, size),
        np.ascontiguousarray(scale),
        None if middle else np.ascontiguousarray(zero),
        k,
        bits,
        size,
    )
