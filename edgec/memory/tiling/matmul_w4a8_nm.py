"""matmul of packed N:M weights: tiled as the dense one, with places among what is streamed by channel."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from edgec.memory.streaming import Tile, Workspace
from edgec.memory.tiling import matmul_w4a8
from edgec.memory.tiling.step import StepContext
from edgec.ops.matmul_w4a8 import bits_of
from edgec.ops.matmul_w4a8_nm import kernel_name


def candidates(step: StepContext) -> Iterator[Callable[[Workspace], list[Tile]]]:
    """The dense matmul's, with the pattern's kernel and with places among the streamed operands."""
    kernel = kernel_name(bits_of(step.node.op), (step.attr("removed"), step.attr("of")))
    return matmul_w4a8.candidates(step, kernel, ("x", "x_scale"), ("w", "w_pos", "w_scale", "w_zero", "bias"))
