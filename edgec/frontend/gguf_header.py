"""GGUF files: metadata and the table of tensors, every length checked against the file before it is believed.

Format (versions 2 and 3, little-endian): "GGUF", uint32 version, uint64 tensor count, uint64 count
of metadata entries; entries of (string key, uint32 type, value); tensors of (string name, uint32
rank, uint64 sizes with the innermost first, uint32 type, uint64 offset); then the data, aligned.
"""

from __future__ import annotations

import math
import mmap
import struct
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgec.errors import ModelError
from edgec.frontend.checkpoint import FloatArray

SCALARS = {0: "B", 1: "b", 2: "H", 3: "h", 4: "I", 5: "i", 6: "f", 7: "?", 10: "Q", 11: "q", 12: "d"}
STRING, ARRAY = 8, 9
MAX_RANK = 4
MIN_ENTRY_BYTES, MIN_TENSOR_BYTES = 13, 24  # the least that one entry of each table takes


@dataclass(frozen=True)
class GgufTensor:
    """One stored tensor: `shape` is [rows, columns] as in NumPy, `start` its first byte in the file."""

    path: Path
    name: str
    shape: tuple[int, ...]
    type_name: str
    start: int
    file_bytes: int

    def stored(self) -> NDArray[np.uint8]:
        """The tensor's bytes, [rows, bytes of a row], mapped."""
        try:
            stored = np.memmap(self.path, dtype=np.uint8, mode="r", offset=self.start, shape=(self.file_bytes,))
        except (OSError, ValueError) as error:
            raise ModelError(f"{self.path} changed while it was read.") from error
        return stored.reshape(*self.shape[:-1], -1)

    def read(self) -> FloatArray:
        """The tensor as float32, dequantised by the gguf package."""
        from gguf import GGMLQuantizationType, dequantize

        return np.array(dequantize(self.stored(), GGMLQuantizationType[self.type_name]), np.float32).reshape(self.shape)


@dataclass(frozen=True)
class GgufFile:
    """What a GGUF file says about itself."""

    path: Path
    metadata: dict[str, Any]
    tensors: dict[str, GgufTensor]


class _Cursor:
    """Reads forward through a mapped file and raises ModelError instead of passing its end."""

    def __init__(self, path: Path, data: mmap.mmap) -> None:
        self.path, self.data, self.at = path, data, 0

    def need(self, size: int, what: str) -> None:
        if size > len(self.data) - self.at:
            raise ModelError(
                f"{self.path} is truncated or damaged: {what} needs {size:,} bytes at byte {self.at:,}, "
                f"the file has {len(self.data):,}."
            )

    def number(self, code: str, what: str) -> Any:
        size = struct.calcsize("<" + code)
        self.need(size, what)
        self.at += size
        return struct.unpack_from("<" + code, self.data, self.at - size)[0]

    def string(self, what: str) -> str:
        size = self.number("Q", what)
        self.need(size, what)
        self.at += size
        # Vocabularies exist with pieces that are not UTF-8; they must keep their place, not end the load.
        return self.data[self.at - size : self.at].decode("utf-8", errors="replace")

    def value(self, kind: int, what: str) -> Any:
        if kind in SCALARS:
            return self.number(SCALARS[kind], what)
        if kind == STRING:
            return self.string(what)
        if kind != ARRAY:
            raise ModelError(f"{self.path} is damaged: {what} has the unknown type {kind}.")
        inner, count = self.number("I", what), self.number("Q", what)
        if inner == STRING:
            self.need(8 * count, what)
            return [self.string(what) for _ in range(count)]
        if inner not in SCALARS:
            raise ModelError(f"{self.path} is damaged: {what} is an array of the unknown type {inner}.")
        size = struct.calcsize("<" + SCALARS[inner])
        self.need(size * count, what)
        self.at += size * count
        return list(struct.unpack_from(f"<{count}{SCALARS[inner]}", self.data, self.at - size * count))


def read_gguf(path: Path) -> GgufFile:
    """Metadata and tensor table of `path`. Raises ModelError if anything in them cannot be true of this file."""
    try:
        with path.open("rb") as stream:
            data = mmap.mmap(stream.fileno(), 0, access=mmap.ACCESS_READ)
    except (OSError, ValueError) as error:  # ValueError: an empty file cannot be mapped
        raise ModelError(f"{path} cannot be read: {getattr(error, 'strerror', None) or 'it is empty'}.") from error
    with data:
        cursor = _Cursor(path, data)
        _check_version(cursor)
        n_tensors, n_entries = cursor.number("Q", "the tensor count"), cursor.number("Q", "the metadata count")
        cursor.need(n_entries * MIN_ENTRY_BYTES, f"a table of {n_entries:,} metadata entries")
        cursor.need(n_tensors * MIN_TENSOR_BYTES, f"a table of {n_tensors:,} tensors")
        metadata: dict[str, Any] = {}
        for index in range(n_entries):
            key = cursor.string(f"metadata entry {index}")
            metadata[key] = cursor.value(cursor.number("I", f"metadata entry {key!r}"), f"metadata entry {key!r}")
        infos = [_tensor_info(cursor, index) for index in range(n_tensors)]
        alignment = metadata.get("general.alignment", 32)
        if not isinstance(alignment, int) or alignment < 1 or alignment & (alignment - 1):
            raise ModelError(f"{path} is damaged: its alignment is {alignment!r}, not a power of two.")
        start = -(-cursor.at // alignment) * alignment
        tensors: dict[str, GgufTensor] = {}
        for name, sizes, kind, offset in infos:
            if name in tensors:
                raise ModelError(f"{path} is damaged: it holds tensor {name} twice.")
            tensors[name] = _placed(path, name, sizes, kind, start + offset, len(data))
    return GgufFile(path, metadata, tensors)


def _check_version(cursor: _Cursor) -> None:
    cursor.need(24, "the header")
    if cursor.data[:4] != b"GGUF":
        raise ModelError(f"{cursor.path} is not a GGUF file: it starts with {cursor.data[:4]!r}.")
    cursor.at = 4
    version = cursor.number("I", "the version")
    if version in (2 << 24, 3 << 24):
        raise ModelError(f"{cursor.path} is a big-endian GGUF file; edgec reads little-endian ones.")
    if version not in (2, 3):
        raise ModelError(f"{cursor.path} is GGUF version {version}; edgec reads versions 2 and 3.")


def _tensor_info(cursor: _Cursor, index: int) -> tuple[str, tuple[int, ...], int, int]:
    """Name, sizes (innermost first), type and offset of the next tensor."""
    name = cursor.string(f"the name of tensor {index}")
    rank = cursor.number("I", f"tensor {name}")
    if not 1 <= rank <= MAX_RANK:
        raise ModelError(f"{cursor.path} is damaged: tensor {name} has {rank} dimensions.")
    what = f"the entry of tensor {name}"
    sizes = tuple(cursor.number("Q", what) for _ in range(rank))
    return name, sizes, cursor.number("I", what), cursor.number("Q", what)


def _placed(path: Path, name: str, sizes: tuple[int, ...], kind: int, start: int, file_bytes: int) -> GgufTensor:
    """The tensor with its byte count, proven to lie inside the file and to be of a type that can be read."""
    from gguf import GGML_QUANT_SIZES, GGMLQuantizationType

    try:
        type_ = GGMLQuantizationType(kind)
        block, block_bytes = GGML_QUANT_SIZES[type_]
    except (ValueError, KeyError):
        raise ModelError(f"{path}: tensor {name} is stored in the unknown type {kind}.") from None
    if 0 in sizes or sizes[0] % block:
        raise ModelError(f"{path} is damaged: rows of {sizes[0]:,} in tensor {name} are no multiple of {block}.")
    size = math.prod(sizes) // block * block_bytes
    if start + size > file_bytes:
        raise ModelError(
            f"{path} is truncated: tensor {name} ends at byte {start + size:,}, the file has {file_bytes:,}."
        )
    return GgufTensor(path, name, sizes[::-1], type_.name, start, size)
