"""kv_append: quantises keys, then values, and takes both to their rows of the cache.

What has an open home is written there, in the cache; the rest has a buffer of its own and leaves it by transfers.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

from edgec.memory.streaming import Store, Tile, Workspace
from edgec.memory.tiling.step import StepContext, times


def candidates(step: StepContext, kernel: str = "kv_quantize") -> Iterator[Callable[[Workspace], list[Tile]]]:
    """The only candidate."""
    d = step.attr("head_dim")
    rows = step.rows("k")
    tiles = []
    for role in ("k", "v"):
        q, scale = step.home(f"{role}_q"), step.home(f"{role}_q_scale")
        after = tuple(
            (region, Store(step.home(cache), step.type(cache).row_bytes, rows, "target_pos"))
            for region, cache in ((q, f"{role}_cache"), (scale, f"{role}_scale"))
            if not region.row_bytes
        )
        heads, ldx = step.type("k").shape[1] // d, step.type(role).shape[1]
        numbers = {"rows": times(rows, heads), "heads": heads, "k": d, "ldx": ldx}
        shift = step.fetch("k_centre") if role == "k" else None
        x = step.fetch_columns(role, int(step.node.attrs.get("v_first", 0)) if role == "v" else 0, heads * d)
        tiles.append(Tile(kernel, {"x": x, "shift": shift, "q": q, "scale": scale}, numbers, after=after))
    yield lambda workspace: tiles
