"""kv_append: quantises keys, then values, and takes both to their rows of the cache.

What has an open home is written there, in the cache; the rest has a buffer of its own and leaves it by transfers.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

from edgec.memory.plan import Number, Region
from edgec.memory.streaming import Store, Tile, Workspace
from edgec.memory.tiling.step import StepContext, times


def leaving(step: StepContext, role: str, rows: Number) -> tuple[tuple[Region, Store], ...]:
    """New rows of k or v that have buffers of their own, to their place in the cache."""
    pairs = ((step.home(f"{role}_q"), f"{role}_cache"), (step.home(f"{role}_q_scale"), f"{role}_scale"))
    return tuple(
        (region, Store(step.home(cache), step.type(cache).row_bytes, rows, "target_pos"))
        for region, cache in pairs
        if not region.row_bytes
    )


def candidates(step: StepContext, kernel: str = "kv_quantize") -> Iterator[Callable[[Workspace], list[Tile]]]:
    """The only candidate."""
    d = step.attr("head_dim")
    rows = step.rows("k")
    tiles = []
    for role in ("k", "v"):
        q, scale = step.home(f"{role}_q"), step.home(f"{role}_q_scale")
        after = leaving(step, role, rows)
        heads, ldx = step.type("k").shape[1] // d, step.type(role).shape[1]
        numbers = {"rows": times(rows, heads), "heads": heads, "k": d, "ldx": ldx}
        shift = step.fetch("k_centre") if role == "k" else None
        x = step.fetch_columns(role, int(step.node.attrs.get("v_first", 0)) if role == "v" else 0, heads * d)
        tiles.append(Tile(kernel, {"x": x, "shift": shift, "q": q, "scale": scale}, numbers, after=after))
    yield lambda workspace: tiles
