"""What a recipe's stages leave, in closed form: from a configuration alone, without weights.

Bits per weight of 4-bit block matrices, N removed of every M:

    dense       4 + (16 + 4) / 128 = 4.15625     groups of 128 with a 16-bit scale and a 4-bit zero point
    bitmask     (4 (M - N) + M) / M              kept codes, and one bit a weight that says where they belong; plus the
                                                 same 0.15625 for scales and zero points
    ranked      (4 (M - N) + ceil(log2 (M over N))) / M    the number of the arrangement: smallest, slower to decode
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, fields, replace
from math import ceil, comb, log2, prod
from typing import Any

from edgec.compress.masks import merged_patterns
from edgec.compress.stage import refuse_stages
from edgec.frontend.model_config import ModelConfig
from edgec.frontend.structure import Structure, role_of
from edgec.packing import n_groups, row_bytes

CODE_BITS = 4
OVERHEAD_BITS = (16 + 4) / 128  # a weight's part of its group's scale and zero point
LONGEST_PATTERN = 16  # M beyond which positions are not packed: unstructured zeros stay stored


@dataclass(frozen=True)
class StageSize:
    """A model after a stage. Sizes in bytes; embedding, head, norms, biases and branches at 16 bits everywhere."""

    stage: str
    blocks: int
    parameters: int  # as dense matrices, branches included
    nonzero: int
    fp16_bytes: int  # every parameter at 16 bits
    int4_bytes: int  # the blocks' matrices dense at 4.15625 bits per weight
    nm_bytes: int | None  # ... those with a pattern as kept codes and a bitmask; None: there is no pattern
    bytes: int  # of the checkpoint as this stage leaves it, as compress/sizes.py counts
    block_bits_per_weight: float  # of the blocks' matrices in it
    nm_bits_per_weight: float | None  # of the blocks' matrices in nm_bytes, scales not counted
    ranked_bits_per_weight: float | None  # the same with arrangements numbered instead of a bitmask
    saves_nothing: tuple[str, ...]  # patterns whose kept codes and bitmask take as much as dense codes, or more


@dataclass(frozen=True)
class State:
    """What is known of a model without its weights; patterns, grids and ranks by stored matrix of the blocks."""

    structure: Structure
    patterns: dict[str, tuple[int, int]] = field(default_factory=dict)
    grids: dict[str, tuple[int, int]] = field(default_factory=dict)  # bits, group size
    ranks: dict[str, int] = field(default_factory=dict)  # of branches

    def matrices(self) -> dict[str, tuple[int, int]]:
        """Shape [n, k] by stored matrix of the blocks."""
        shapes = self.structure.shapes()
        return {name: (shapes[name][0], shapes[name][1]) for name in self.structure.stored_matrices()}


def state_after(structure: Structure, recipe: Any) -> State:
    """Structure, patterns, grids and ranks behind all stages. Raises RecipeError for one that it cannot have."""
    refuse_stages(structure.config, recipe.stages)
    state = State(structure)
    for stage in recipe.stages:
        state = _after(state, stage)
    return state


def dry_run(config: ModelConfig, recipe: Any) -> list[StageSize]:
    """Sizes of the dense model and after each stage of a recipe.

    Raises RecipeError for a stage that is impossible for this shape.
    """
    refuse_stages(config, recipe.stages)
    state = State(Structure(config))
    sizes = [_measure("dense", state)]
    for stage in recipe.stages:
        state = _after(state, stage)
        sizes.append(_measure(_label(stage), state))
    return sizes


def parameters(structure: ModelConfig | Structure) -> int:
    """Elements of all tensors that every such model stores."""
    made = structure if isinstance(structure, Structure) else Structure(structure)
    return sum(prod(shape) for shape in made.shapes().values())


def bitmask_bits(removed: int, of: int, bits: int = CODE_BITS) -> float:
    """Bits per weight of kept codes and a bit for each place."""
    return (bits * (of - removed) + of) / of


def ranked_bits(removed: int, of: int, bits: int = CODE_BITS) -> float:
    """Bits per weight of kept codes and the number of their arrangement among all possible ones."""
    return (bits * (of - removed) + ceil(log2(comb(of, removed)))) / of


def _after(state: State, stage: Any) -> State:
    """The state behind a stage; one that changes neither shapes nor storage leaves it as it is."""
    if stage.method == "neurons":
        stage.check_patterns(state.structure, state.patterns)
    state = _restructured(state, stage)
    shapes = state.matrices()
    if hasattr(stage, "patterns"):  # width, and what prunes as it does
        return replace(state, patterns=merged_patterns(state.patterns, stage.patterns(state.structure)))
    if stage.method == "quantize":
        widths = {name: int(stage.bits_of.get(role_of(name), stage.bits)) for name in shapes}
        return replace(state, grids={n: (widths[n], min(stage.group_size or k, k)) for n, (_, k) in shapes.items()})
    wide = stage.method == "eora" or (stage.method == "lora" and not stage.merge)
    if wide:
        names = [name for name in shapes if "all" in stage.roles or role_of(name) in stage.roles]
        added = {name: stage.rank for name in names if stage.method == "lora" or name in state.grids}
        if stage.method == "eora":  # a fitted branch is at most as wide as the error has directions
            added = {name: min(rank, *shapes[name]) for name, rank in added.items()}
        return replace(state, ranks=state.ranks | {n: state.ranks.get(n, 0) + rank for n, rank in added.items()})
    return state


def _restructured(state: State, stage: Any) -> State:
    """The state with the structure that a stage leaves, and tables of what is still a stored matrix there.

    A stage says it by `block_order` or `structure`, see compress/stage.py; others leave it but for `shape`.
    """
    config = stage.shape(state.structure.config)
    structure, names = state.structure, None
    if hasattr(stage, "block_order"):
        structure, names = structure.with_blocks(stage.block_order(structure.config))
    if hasattr(stage, "structure"):
        structure = stage.structure(structure)
    structure = replace(structure, config=config)
    stored = structure.stored_matrices()

    def moved(table: dict[str, Any]) -> dict[str, Any]:
        was = {name: name if names is None else names.get(name) for name in stored}
        return {new: table[old] for new, old in was.items() if old in table}

    return State(structure, moved(state.patterns), moved(state.grids), moved(state.ranks))


def _measure(label: str, state: State) -> StageSize:
    total = parameters(state.structure)
    weights = removed = nm_bits = ranked = grid_bytes = branch = 0.0
    for name, (n, k) in state.matrices().items():
        size = n * k
        weights += size
        pattern = state.patterns.get(name, (0, 1))
        removed += size // pattern[1] * pattern[0]
        nm_bits += size * (bitmask_bits(*pattern) if _packable(pattern) else CODE_BITS)
        ranked += size * (ranked_bits(*pattern) if _packable(pattern) else CODE_BITS)
        bits, group = state.grids.get(name, (16, 0))
        grid_bytes += n * (row_bytes(k, bits, group) + 2 * n_groups(k, group)) if group else 2 * size
        branch += state.ranks.get(name, 0) * (n + k)
    rest = 2 * (total - weights + branch)
    overhead = weights * OVERHEAD_BITS / 8 + rest
    nm = any(map(_packable, state.patterns.values()))
    in_vain = [p for p in state.patterns.values() if not _packable(p) or bitmask_bits(*p) >= CODE_BITS]
    return StageSize(
        stage=label,
        blocks=state.structure.config.n_layers,
        parameters=int(total + branch),
        nonzero=int(total - removed + branch),
        fp16_bytes=int(2 * (total + branch)),
        int4_bytes=ceil(weights * CODE_BITS / 8 + overhead),
        nm_bytes=ceil(nm_bits / 8 + overhead) if nm else None,
        bytes=int(grid_bytes + rest),
        block_bits_per_weight=round(8 * grid_bytes / weights, 4),
        nm_bits_per_weight=round(nm_bits / weights, 4) if nm else None,
        ranked_bits_per_weight=round(ranked / weights, 4) if nm else None,
        saves_nothing=tuple(dict.fromkeys(f"{n}:{m}" for n, m in in_vain)),
    )


def _packable(pattern: tuple[int, int]) -> bool:
    return pattern[0] > 0 and pattern[1] <= LONGEST_PATTERN


def size_table(sizes: Sequence[StageSize]) -> str:
    """The sizes as plain text; a sentence for every pattern that saves nothing."""
    unit, name = (2**30, "GiB") if sizes[0].fp16_bytes >= 2**30 else (2**20, "MiB")
    rows = [["stage", "blocks", "parameters", "nonzero", "fp16", "int4", "int4 N:M", "as stored", "b/w"]]
    rows.append(["", "", "", "", name, name, name, name, ""])
    for size in sizes:
        counts = [f"{n:,}" for n in (size.blocks, size.parameters, size.nonzero)]
        stored = [size.fp16_bytes, size.int4_bytes, size.nm_bytes, size.bytes]
        figures = ["-" if n is None else f"{n / unit:.3f}" for n in stored]
        rows.append([size.stage, *counts, *figures, f"{size.block_bits_per_weight:.3f}"])
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    lines = ["  ".join([row[0].ljust(widths[0]), *map(str.rjust, row[1:], widths[1:])]).rstrip() for row in rows]
    lines += ["", f"int4: the blocks' matrices at {CODE_BITS + OVERHEAD_BITS} bits per weight, everything else at 16."]
    lines += [_saves_nothing(pattern) for pattern in dict.fromkeys(p for s in sizes for p in s.saves_nothing)]
    return "\n".join(lines)


def _saves_nothing(pattern: str) -> str:
    removed, of = map(int, pattern.split(":"))
    if of > LONGEST_PATTERN:
        return f"Removing {removed} of every {of} saves nothing: zeros without a short pattern are stored as dense."
    return (
        f"Removing {removed} of every {of} saves nothing: kept {CODE_BITS}-bit codes and a bitmask take "
        f"{bitmask_bits(removed, of):g} bits per weight, dense codes {CODE_BITS}."
    )


def _label(stage: Any) -> str:
    """The method and the options that are not the default's."""
    changed = [f for f in fields(stage) if getattr(stage, f.name) != f.default and f.name != "roles"]
    told = [f"{f.name}={getattr(stage, f.name)}" for f in changed if getattr(stage, f.name) not in ((), {}, "")]
    return " ".join([stage.method, *told])
