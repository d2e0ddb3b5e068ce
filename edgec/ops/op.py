"""What an op is: a type rule, a NumPy reference that defines it, a float ideal, and the kernels that compute it.

An op works on whole tensors (the graph's view). A kernel works on flat pieces of memory (the plan's and C's
view): it is what one call computes, as a rule one fork over the cores, with the same parameters in NumPy
(`Kernel.run`) and in C (`void edgec_<kernel>(const edgec_<kernel>_args *a, uint32_t core, uint32_t n_cores)` with the
struct's fields named and ordered as `Kernel.params`). Most ops have one kernel of the op's own name.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgec.ir.graph import Attr, TensorType

Array = NDArray[Any]
Types = Mapping[str, TensorType]
Attrs = Mapping[str, Attr]
Arrays = dict[str, Array]

CORES = 8  # that pieces of work are counted for, where kernels cut them by the number of cores


class TypeRuleError(Exception):
    """Input types or attributes that an op refuses; the message says which rule and both numbers."""


def require(condition: bool, rule: str) -> None:
    """Raise TypeRuleError with the rule's text unless the condition holds."""
    if not condition:
        raise TypeRuleError(rule)


@dataclass(frozen=True)
class Param:
    """One field of a kernel's argument struct.

    kind is "in", "out" or "inout" for a pointer to `dtype` elements, "u32" or "f32" for a number.
    An optional pointer may be NULL (None in NumPy). `fresh` names a number: where it is 0, an "inout" operand is
    only written.
    """

    name: str
    kind: str
    dtype: str = ""
    optional: bool = False
    fresh: str = ""

    @property
    def is_pointer(self) -> bool:
        """Whether the field is a pointer into memory."""
        return self.kind in ("in", "out", "inout")


@dataclass(frozen=True)
class Work:
    """What a kernel call does, for the cost models: integer multiply-accumulates, float32 element
    operations (an exp counts as several), how many independent pieces the cores can share, how often the input
    of a packed weight must be found first, and rows each of whose cores does row_flops operations besides.
    """

    macs: int = 0
    flops: int = 0
    parallel: int = 1
    searches: int = 0
    rows: int = 0
    row_flops: int = 0


@dataclass(frozen=True)
class Kernel:
    """A C kernel and its NumPy twin.

    run(args) reads and writes flat arrays of each parameter's dtype in place; `work` counts what a call does.
    directed: core 0 calls it alone, and it forks what is the cores' part itself; else the caller forks it.
    engine: the kind of accelerator that a directed kernel gives jobs to, or "". Its operands in `streamed` may lie
    where the accelerator reads them. scratch: parameters that hold nothing of meaning afterwards: variants may differ.
    uses: ops whose folders its C includes from.
    """

    name: str
    params: tuple[Param, ...]
    run: Callable[[dict[str, Any]], None]
    work: Callable[[dict[str, Any]], Work]
    directed: bool = False
    engine: str = ""
    streamed: tuple[str, ...] = ()
    scratch: tuple[str, ...] = ()
    uses: tuple[str, ...] = ()


@dataclass
class State:
    """What a reference run carries besides tensors: the position of the first row."""

    pos: int = 0


@dataclass(frozen=True)
class Example:
    """A random instance of an op: input arrays by role, attributes, position."""

    inputs: Arrays
    attrs: dict[str, Attr]
    pos: int = 0


@dataclass(frozen=True)
class Op:
    """See the module's docstring.

    infer(types, attrs)            types of the outputs by role; raises TypeRuleError.
    reference(inputs, attrs, pos)  the outputs, bit-exact; "state" inputs are changed in place.
    ideal(inputs, attrs, pos)      the same in float without quantisation: `w` is then the float matrix,
                                   scales are absent, caches are float32. What the reference approximates.
    example(rng)                   a random small instance for tests.
    in_place                       role of the input that the (only) output may overwrite, or "".
    """

    name: str
    doc: str
    infer: Callable[[Types, Attrs], dict[str, TensorType]]
    reference: Callable[[Arrays, Attrs, int], Arrays]
    ideal: Callable[[Arrays, Attrs, int], Arrays]
    kernels: tuple[Kernel, ...]
    example: Callable[[np.random.Generator], Example]
    in_place: str = ""
    module: str = field(default="")


def ints(attrs: Attrs, *keys: str) -> tuple[int, ...]:
    """Integer attributes by key."""
    return tuple(int(attrs[key]) for key in keys)
