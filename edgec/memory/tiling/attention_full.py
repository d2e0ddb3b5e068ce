"""attention_full: attention's kernels over the whole cache, whatever the length of the text in it.

Candidates as for attention: rows a block, and positions a tile of the cache.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial

from edgec.memory.plan import Extent, Number, Region
from edgec.memory.streaming import Load, Operand, Tile, Workspace
from edgec.memory.tiling.attention import SHORTEST
from edgec.memory.tiling.step import StepContext, times
from edgec.ops.attention import factor


def candidates(step: StepContext) -> Iterator[Callable[[Workspace], list[Tile]]]:
    """Blocks of all rows, half, ... one; tiles of the whole cache, half, ... SHORTEST positions."""
    block, whole = step.graph.rows, step.type("k_cache").shape[0]
    while True:
        positions = whole
        while True:
            yield partial(_tiles, step, block, positions)
            if positions <= SHORTEST or step.resident("k_cache"):
                break
            positions = max(SHORTEST, -(-positions // 2))
        if block == 1:
            return
        block = -(-block // 2)


def _tiles(step: StepContext, block: int, positions: int, workspace: Workspace) -> list[Tile]:
    heads, kv, d = step.attr("n_heads"), step.attr("n_kv_heads"), step.attr("head_dim")
    whole = step.type("k_cache").shape[0]
    lds, name, total = -(-whole // 4) * 4, step.node.name, step.graph.rows
    sizes = {"q8": heads * d, "q8_scale": heads * 4, "scores": heads * lds * 4, "p": heads * lds}
    sizes |= {"p_scale": heads * 4, "acc": heads * d * 4}
    room = {part: workspace.allocate(f"{name}.{part}", block * size, "scratch") for part, size in sizes.items()}
    shape: dict[str, Number] = {"n_heads": heads, "n_kv_heads": kv, "head_dim": d}
    tiles: list[Tile] = []
    for first in range(0, total, block):
        limit = min(block, total - first)
        m: Number = Extent(total, first, limit) if total > 1 else 1
        guard = Extent(total, first, limit) if first else None

        def rows(region: Region, first: int = first, limit: int = limit) -> Region:
            size = region.size // total
            return region.part(first * size, limit * size)

        def call(
            kernel: str,
            operands: dict[str, Operand],
            numbers: dict[str, Number],
            guard: Extent | None = guard,
        ) -> None:
            tiles.append(Tile(kernel, operands, numbers, guard))

        quantize: dict[str, Operand] = {"x": rows(step.home("q")), "q": room["q8"], "scale": room["q8_scale"]}
        call("quantize_dynamic", quantize | {"sums": None}, {"rows": times(m, heads), "k": d, "group_size": d})
        cuts = [(t, min(positions, whole - t)) for t in range(0, whole, positions)]
        for t, count in cuts:
            numbers = {"m": m, **shape, "first": t, "count": count, "lds": lds, "factor": float(factor(d))}
            tile = {"k": _cache(step, "k_cache", t, count), "k_scale": _cache(step, "k_scale", t, count)}
            call(
                "attention_scores", {"q": room["q8"], "q_scale": room["q8_scale"], **tile, "s": room["scores"]}, numbers
            )
        numbers = {"m": m, "n_heads": heads, "n_kv_heads": kv, "positions": whole, "lds": lds}
        operands = {"s": room["scores"], "v_scale": _cache(step, "v_scale", 0, whole), "length": step.fetch("length")}
        call("attention_softmax_full", operands | {"p": room["p"], "p_scale": room["p_scale"]}, numbers)
        for t, count in cuts:
            numbers = {"m": m, **shape, "first": t, "count": count, "lds": lds}
            operands = {"p": room["p"], "v": _cache(step, "v_cache", t, count), "acc": room["acc"]}
            call("attention_values", operands, numbers)
        operands = {"acc": room["acc"], "p_scale": room["p_scale"], "y": rows(step.home("y"))}
        call("attention_finish", operands, {"m": m, "n_heads": heads, "head_dim": d})
    return tiles


def _cache(step: StepContext, role: str, first: int, count: int) -> Operand:
    kind, home = step.type(role), step.home(role)
    part = home.part(first * kind.row_bytes, count * kind.row_bytes)
    return part if step.resident(role) else Load(part, kind.row_bytes, count)
