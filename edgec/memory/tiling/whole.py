"""The tiling of small ops: one call of the op's one kernel on whole operands.

Kernel parameters named as the op's roles are its operands. Numbers: rows or m is the row count, k the row length in
elements, n the last dimension of the first input; others are attributes of the node.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

from edgec.memory.plan import Number
from edgec.memory.streaming import Operand, Tile, Workspace
from edgec.memory.tiling.step import StepContext
from edgec.ops import find


def candidates(step: StepContext) -> Iterator[Callable[[Workspace], list[Tile]]]:
    """The only candidate."""
    (kernel,) = find(step.node.op).kernels
    operands: dict[str, Operand] = {}
    numbers: dict[str, Number] = {}
    first = next(iter(step.node.inputs))
    for p in kernel.params:
        if p.is_pointer:
            operands[p.name] = step.fetch(p.name) if p.name in step.node.inputs else step.deliver(p.name)
        elif p.name in ("rows", "m"):
            numbers[p.name] = step.rows(first)
        elif p.name in ("k", "n"):
            numbers[p.name] = step.type(first).shape[-1]
        else:
            value = step.node.attrs[p.name]
            numbers[p.name] = float(value) if p.kind == "f32" else int(value)
    yield lambda workspace: [Tile(kernel.name, operands, numbers)]
