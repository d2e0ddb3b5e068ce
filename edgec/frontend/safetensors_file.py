"""Safetensors files: the header checked against the file, then tensors read one at a time.

A file is an 8-byte length, a JSON header {name: {dtype, shape, data_offsets}}, and the data. It is
read here, not through the library, so that any damage becomes one sentence before memory is taken.
"""

from __future__ import annotations

import json
import math
import struct
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from edgec.errors import ModelError
from edgec.frontend.checkpoint import FloatArray

MAX_HEADER = 100_000_000  # bytes, the format's own limit
DTYPES = {"F64": "<f8", "F32": "<f4", "F16": "<f2", "BF16": "<u2"}  # BF16 is the upper half of a float32
RAW = {"U8": "u1", "I8": "i1", "I16": "<i2", "I32": "<i4", "I64": "<i8"} | DTYPES


@dataclass(frozen=True)
class StoredTensor:
    """Where one tensor lies: `start` is its first byte in the file."""

    path: Path
    name: str
    dtype: str
    shape: tuple[int, ...]
    start: int

    def check_dtype(self) -> None:
        """Raise ModelError if the tensor is not stored as a float that edgec reads."""
        if self.dtype not in DTYPES:
            raise ModelError(
                f"{self.path}: tensor {self.name} is stored as {self.dtype}; edgec reads {', '.join(DTYPES)}."
            )

    def rows(self, first: int, count: int) -> StoredTensor:
        """Rows [first, first + count) of the tensor, as a tensor."""
        row_bytes = math.prod(self.shape[1:]) * np.dtype(RAW[self.dtype]).itemsize if self.dtype in RAW else 0
        return replace(self, shape=(count, *self.shape[1:]), start=self.start + first * row_bytes)

    def read(self) -> FloatArray:
        """The tensor as float32. Raises ModelError for a dtype that is not a float, or if the file has changed."""
        self.check_dtype()
        try:
            stored = np.memmap(self.path, dtype=DTYPES[self.dtype], mode="r", offset=self.start, shape=self.shape)
        except (OSError, ValueError) as error:
            raise ModelError(f"{self.path} changed while it was read.") from error
        if self.dtype == "BF16":
            bits = stored.astype(np.uint32)
            bits <<= 16
            return bits.view(np.float32)
        return stored.astype(np.float32)

    def raw(self) -> Any:
        """The array as it is stored (integers of quantised checkpoints; BF16 as its bits). Raises ModelError."""
        if self.dtype not in RAW:
            raise ModelError(f"{self.path}: tensor {self.name} is stored as {self.dtype}, which edgec does not read.")
        try:
            return np.array(np.memmap(self.path, RAW[self.dtype], mode="r", offset=self.start, shape=self.shape))
        except (OSError, ValueError) as error:
            raise ModelError(f"{self.path} changed while it was read.") from error


def read_header(path: Path) -> dict[str, StoredTensor]:
    """All tensors of the file by name. Raises ModelError if it is truncated or damaged."""
    try:
        file_bytes = path.stat().st_size
        with path.open("rb") as stream:
            head = stream.read(8)
            header_bytes = struct.unpack("<Q", head)[0] if len(head) == 8 else 0
            if len(head) < 8 or 8 + header_bytes > file_bytes or header_bytes > MAX_HEADER:
                raise ModelError(
                    f"{path} is damaged: its header claims {header_bytes:,} bytes, the file has {file_bytes:,}."
                )
            text = stream.read(header_bytes)
    except OSError as error:
        raise ModelError(f"{path} cannot be read: {error.strerror or error}.") from error
    try:
        header = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise ModelError(f"{path} is damaged: its header is not JSON.") from error
    if not isinstance(header, dict):
        raise ModelError(f"{path} is damaged: its header is not a table of tensors.")
    header.pop("__metadata__", None)
    start = 8 + header_bytes
    return {name: _entry(path, name, entry, start, file_bytes) for name, entry in header.items()}


def _entry(path: Path, name: str, entry: Any, start: int, file_bytes: int) -> StoredTensor:
    """One tensor of the header, its size checked against its place and its place against the file."""
    try:
        dtype, shape, (first, last) = entry["dtype"], entry["shape"], entry["data_offsets"]
        numbers = [first, last, *shape]
        sound = isinstance(dtype, str) and all(type(n) is int and n >= 0 for n in numbers) and first <= last
    except (KeyError, TypeError, ValueError):
        sound = False
    if not sound:
        raise ModelError(f"{path} is damaged: the header entry of tensor {name!r} makes no sense.")
    if start + last > file_bytes:
        raise ModelError(
            f"{path} is truncated: tensor {name} ends at byte {start + last:,}, the file has {file_bytes:,}."
        )
    if dtype in RAW and last - first != math.prod(shape) * np.dtype(RAW[dtype]).itemsize:
        raise ModelError(
            f"{path} is damaged: tensor {name} of shape {shape} in {dtype} cannot take {last - first:,} bytes."
        )
    return StoredTensor(path, name, dtype, tuple(shape), start + first)
