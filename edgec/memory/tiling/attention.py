"""attention: for a block of rows, quantise q if it is float, stream K for scores, cap them, softmax, stream V, finish.

The cache is streamed in tiles of positions. Candidates: rows a block and positions a tile; more rows a block read the
cache less often, larger tiles start fewer transfers, and both need room. With room for keys and values of the whole
context side by side, one call may do everything.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from functools import partial

from edgec.memory.placement import free_gaps
from edgec.memory.plan import Extent, Number, Position, Region
from edgec.memory.streaming import Load, NoRoom, Operand, Tile, Workspace
from edgec.memory.tiling.step import StepContext, times
from edgec.ops.attention import cap_of, factor, splits
from edgec.ops.attention import lanes as lanes_of

SHORTEST = 8  # positions of a tile; the same for all contexts, so that a longer context never needs less room


def candidates(step: StepContext, suffix: str = "") -> Iterator[Callable[[Workspace], list[Tile]]]:
    """Blocks of all rows, half, ... one; tiles of the whole context, half, ... SHORTEST positions.

    suffix: of the kernels that read the cache.
    """
    block = step.graph.rows
    if not suffix and step.choices.attention and not any(_limits(step).values()):
        for lanes in sorted({_lanes(step), 1}, reverse=True):
            yield partial(whole, step, lanes)
    while True:
        positions = step.context
        while True:
            yield partial(_tiles, step, suffix, block, positions)
            if positions <= SHORTEST or step.resident("k_cache"):
                break
            positions = max(SHORTEST, -(-positions // 2))
        if block == 1:
            return
        block = -(-block // 2)


def _lanes(step: StepContext) -> int:
    engine = step.target.engines[0]
    if not engine.isa:  # plain C does one after the other
        return 1
    heads, kv, d = step.attr("n_heads"), step.attr("n_kv_heads"), step.attr("head_dim")
    return lanes_of(step.graph.rows, heads, kv, d, engine.cores)


def whole(step: StepContext, lanes: int, workspace: Workspace, shared: bool = False) -> list[Tile]:
    """One call that does everything, behind one that quantises queries if they are float.

    shared: there is room for cores to share the heads of a row also where these fill them.
    """
    heads, kv, d, rows = step.attr("n_heads"), step.attr("n_kv_heads"), step.attr("head_dim"), step.graph.rows
    lds, name = -(-step.context // 4) * 4, step.node.name
    cores = step.target.engines[0].cores
    shared = shared or (splits(heads, cores) and d % 4 == 0)  # by the cores, of one row at a time
    rooms = max(cores * lanes, heads) if shared else cores * lanes
    sizes = {"s": rooms * lds * 4, "p": rooms * lds}
    if lanes > 1:
        sizes["r"] = cores * lds * 2
    if shared:
        sizes["found"] = rooms * cores * 16
    m: Number = Extent(rows, 0, rows) if rows > 1 else 1
    room = _room(step, rows, workspace)
    operands: dict[str, Operand] = {**(room or _given(step)), "y": step.home("y")}
    everything = Extent(rows, 0, step.context, from_start=True)
    for role, cache in (("k", "k_cache"), ("k_scale", "k_scale"), ("v", "v_cache"), ("v_scale", "v_scale")):
        operands[role] = _cache(step, cache, 0, everything)
    for part, size in sizes.items():
        operands[part] = workspace.allocate(f"{name}.{part}", size, "scratch")
    operands |= {part: None for part in ("r", "found") if part not in operands}
    numbers: dict[str, Number] = {"m": m, "n_heads": heads, "n_kv_heads": kv, "head_dim": d}
    numbers |= {"pos": Position(0), "lds": lds, "cores": cores, "lanes": lanes, "rooms": rooms, "factor": _factor(step)}
    before = [_quantize(step, step.home("q"), room, m)] if room else []
    return [*before, Tile("attention", operands, numbers)]


def _given(step: StepContext) -> dict[str, Region]:
    """Quantised queries and their scales where they come so."""
    return {role: step.home(role) for role in ("q", "q_scale")}


def _room(step: StepContext, rows: int, workspace: Workspace) -> dict[str, Region]:
    """The same of so many rows that are float: where they are to be quantised to. Empty where they come quantised."""
    if step.has("q_scale"):
        return {}
    heads, d, name = step.attr("n_heads"), step.attr("head_dim"), step.node.name
    q8 = workspace.allocate(f"{name}.q8", rows * heads * d, "scratch")
    return {"q": q8, "q_scale": workspace.allocate(f"{name}.q8_scale", rows * heads * 4, "scratch")}


def _quantize(step: StepContext, q: Region, room: Mapping[str, Region], m: Number, when: Extent | None = None) -> Tile:
    """The call that quantises m rows of queries to their room."""
    heads, d = step.attr("n_heads"), step.attr("head_dim")
    operands: dict[str, Operand] = {"x": q, "q": room["q"], "scale": room["q_scale"], "sums": None}
    return Tile("quantize_dynamic", operands, {"rows": times(m, heads), "k": d, "group_size": d}, when)


def _factor(step: StepContext) -> float:
    return float(factor(step.attr("head_dim"), float(step.node.attrs.get("scale", 0.0))))


def _limits(step: StepContext) -> dict[str, Number]:
    """Window and cap of the scores, 0 where there is none."""
    window, cap = int(step.node.attrs.get("window", 0)), float(cap_of(step.node.attrs))
    window = window if window < step.context else 0
    return {"window": window, "cap": cap}


def _tiles(step: StepContext, suffix: str, block: int, positions: int, workspace: Workspace) -> list[Tile]:
    heads, kv, d = step.attr("n_heads"), step.attr("n_kv_heads"), step.attr("head_dim")
    lds = -(-step.context // 4) * 4
    name = step.node.name
    room = _room(step, block, workspace)
    s = workspace.allocate(f"{name}.scores", block * heads * lds * 4, "scratch")
    p = workspace.allocate(f"{name}.p", block * heads * lds, "scratch")
    ps = workspace.allocate(f"{name}.p_scale", block * heads * 4, "scratch")
    acc = workspace.allocate(f"{name}.acc", block * heads * d * 4, "scratch")
    if not workspace.overflow:
        _expect_room(step, positions, workspace)
    shape: dict[str, Number] = {"n_heads": heads, "n_kv_heads": kv, "head_dim": d}
    tiles: list[Tile] = []
    total = step.graph.rows
    for first in range(0, total, block):
        limit = min(block, total - first)
        m: Number = Extent(total, first, limit) if total > 1 else 1
        guard = Extent(total, first, limit) if first else None
        seen = first + limit  # rows whose positions the block may see

        def span(t: int, count: int, seen: int = seen) -> Extent:
            return Extent(seen, t, count, from_start=True)

        def rows(region: Region, m: Number = m, first: int = first, limit: int = limit) -> Region:
            size = region.size // total
            return region.part(first * size, limit * size)

        queries = room or {role: rows(region) for role, region in _given(step).items()}
        if room:
            tiles.append(_quantize(step, rows(step.home("q")), room, m, guard))
        for t in range(0, step.context, positions):
            count = span(t, min(positions, step.context - t))
            operands = {**queries, "k": _cache(step, "k_cache", t, count), "s": s}
            operands["k_scale"] = _cache(step, "k_scale", t, count)
            numbers = {"m": m, **shape, "first": t, "count": count, "lds": lds, "factor": _factor(step)}
            tiles.append(Tile(f"attention_scores{suffix}", operands, numbers, _both(count, guard)))
        limits = _limits(step)
        if limits["cap"]:
            numbers = {"m": m, "n_heads": heads, "pos": Position(first), "lds": lds, **limits}
            tiles.append(Tile("attention_cap", {"s": s}, numbers, guard))
        everything = span(0, step.context)
        operands = {"s": s, "v_scale": _cache(step, "v_scale", 0, everything), "p": p, "p_scale": ps}
        numbers = {"m": m, "n_heads": heads, "n_kv_heads": kv, "pos": Position(first), "lds": lds}
        numbers["window"] = limits["window"]
        tiles.append(Tile("attention_softmax", operands, numbers, guard))
        for t in range(0, step.context, positions):
            count = span(t, min(positions, step.context - t))
            operands = {"p": p, "v": _cache(step, "v_cache", t, count), "acc": acc}
            numbers = {"m": m, **shape, "first": t, "count": count, "lds": lds}
            tiles.append(Tile(f"attention_values{suffix}", operands, numbers, _both(count, guard)))
        operands = {"acc": acc, "p_scale": ps, "y": rows(step.home("y"))}
        tiles.append(Tile("attention_finish", operands, {"m": m, "n_heads": heads, "head_dim": d}, guard))
    return tiles


def _expect_room(step: StepContext, positions: int, workspace: Workspace) -> None:
    """Raise NoRoom where the slots are more than all that is free: known before thousands of tiles are made."""
    level, slots = step.target.compute, 1 if positions >= step.context else 2
    rows = min(positions, step.context)
    needed = sum(slots * rows * step.type(r).row_bytes for r in ("k_cache", "v_cache") if not step.resident(r))
    taken = [(b.offset, b.offset + b.size) for b in (*workspace.alive, *workspace.made) if b.level == level]
    free = sum(size for _, size in free_gaps(taken, 0, step.target.memory_by_name[level].capacity_bytes))
    if needed > free:
        raise NoRoom(level, needed, free)


def _both(count: Extent, guard: Extent | None) -> Extent:
    """A call of a block's tile runs where the block has rows and the tile has positions.

    A block without rows (m <= first) still sees the positions of the rows before it, so its tiles are told apart by
    the block's guard: positions seen by at least first + 1 rows.
    """
    return count if guard is None else Extent(guard.bound, guard.first, guard.limit)


def _cache(step: StepContext, role: str, first: int, count: Extent) -> Operand:
    kind, home = step.type(role), step.home(role)
    part = home.part(first * kind.row_bytes, count.limit * kind.row_bytes)
    return part if step.resident(role) else Load(part, kind.row_bytes, count)
