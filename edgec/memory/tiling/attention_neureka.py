"""attention_neureka: one call where keys and values of the whole context have room side by side, else as attention."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial

from edgec.memory.streaming import Tile, Workspace
from edgec.memory.tiling import attention
from edgec.memory.tiling.step import StepContext
from edgec.ops.attention_neureka import line_bytes, row_length


def candidates(step: StepContext) -> Iterator[Callable[[Workspace], list[Tile]]]:
    """The engine's, then attention's."""
    yield partial(_whole, step)
    yield from attention.candidates(step)


def _whole(step: StepContext, workspace: Workspace) -> list[Tile]:
    heads, kv, d, name = step.attr("n_heads"), step.attr("n_kv_heads"), step.attr("head_dim"), step.node.name
    *before, tile = attention.whole(step, 1, workspace, shared=True)
    lines = workspace.allocate(f"{name}.lines", (heads + 1) * line_bytes(kv, d), "scratch")
    sums = workspace.allocate(f"{name}.sums", step.context * row_length(heads) * 4, "scratch")
    return [*before, Tile("attention_neureka", {**tile.operands, "lines": lines, "sums": sums}, tile.numbers)]
