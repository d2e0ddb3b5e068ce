"""The graph IR. Its whole grammar:

    Graph      = name, rows, values: {name: Value}, nodes: [Node] in execution order, outputs: [name]
    Value      = name, type: TensorType, kind, source
    kind       = "input"       given at run time (token ids)
               | "const"       bytes known at compile time (weights, scales, tables, norms)
               | "state"       lives from one call to the next (the KV cache)
               | "activation"  written by exactly one node, read by later ones
    TensorType = shape: (int, ...), dtype in DTYPES
    Node       = name, op, inputs: {role: value}, outputs: {role: value}, attrs: {key: scalar}, source

`rows` is the largest number of tokens that one run of the graph takes (1 in decode, the chunk in
prefill); the leading dimension of activations is that maximum and a run may use fewer rows. Two
run-time integers exist besides: `m`, the rows of this run, and `pos`, the position of its first row.
An encoder's graph is cut into sweeps: each is run for all rows of a text, `rows` at a time, before the next one
begins, and nothing but states passes from one to another.
`source` is the name of the module in the checkpoint that a value or node comes from, so that a wrong
bit can be blamed on a layer. States are mutable; every other value is written once.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Literal

import numpy as np

SWEEP = "load_rows"  # the op with which a sweep over a text begins, all but the first (edgec/ops/state_rows.py)
Kind = Literal["input", "const", "state", "activation"]
Attr = int | float | str | bool

DTYPES: dict[str, np.dtype] = {  # type: ignore[type-arg]
    "f32": np.dtype(np.float32),
    "f16": np.dtype(np.float16),
    "i8": np.dtype(np.int8),
    "u8": np.dtype(np.uint8),
    "i16": np.dtype(np.int16),
    "i32": np.dtype(np.int32),
}


def sweeps(ops: Iterable[str]) -> list[tuple[int, int]]:
    """The first node or step of each sweep and the one behind its last, from the ops in their order."""
    names = list(ops)
    begins = [0, *(index for index, op in enumerate(names) if op == SWEEP and index > 0)]
    return list(pairwise([*begins, len(names)]))


@dataclass(frozen=True)
class TensorType:
    """Shape in elements and element type."""

    shape: tuple[int, ...]
    dtype: str

    @property
    def nbytes(self) -> int:
        """Size in bytes."""
        return self.row_bytes * (self.shape[0] if self.shape else 1)

    @property
    def row_bytes(self) -> int:
        """Bytes of one element of the leading dimension."""
        return math.prod(self.shape[1:]) * DTYPES[self.dtype].itemsize

    def __str__(self) -> str:
        return f"{self.dtype}[{'x'.join(map(str, self.shape))}]"


@dataclass(frozen=True)
class Value:
    """A named tensor."""

    name: str
    type: TensorType
    kind: Kind
    source: str = ""


@dataclass(frozen=True)
class Node:
    """One op applied to named values."""

    name: str
    op: str
    inputs: Mapping[str, str]
    outputs: Mapping[str, str]
    attrs: Mapping[str, Attr] = field(default_factory=dict)
    source: str = ""


@dataclass
class Graph:
    """A program over values; see the module's grammar."""

    name: str
    rows: int
    values: dict[str, Value] = field(default_factory=dict)
    nodes: list[Node] = field(default_factory=list)
    outputs: list[str] = field(default_factory=list)

    def type_of(self, name: str) -> TensorType:
        """Type of a value."""
        return self.values[name].type

    def types_of(self, values: Mapping[str, str]) -> dict[str, TensorType]:
        """Types by role, of values by role."""
        return {role: self.type_of(name) for role, name in values.items()}

    def of_kind(self, kind: Kind) -> Iterator[Value]:
        """Values of one kind, in order of creation."""
        return (v for v in self.values.values() if v.kind == kind)

    def users(self, name: str) -> list[Node]:
        """Nodes that read a value."""
        return [n for n in self.nodes if name in n.inputs.values()]
