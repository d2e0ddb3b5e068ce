"""A gated MLP on N-EUREKA in one call: gate and up tiled as by themselves, and down's last group in tiles too.

The sizes of one do not change what those of the other are worth: down's are chosen for themselves.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial

from edgec.cost.neureka_mlp import mlp_cycles
from edgec.memory.plan import Number
from edgec.memory.streaming import Operand, Tile, Workspace
from edgec.memory.tiling.matmul_w4a8_neureka import PARTS_OF_12, folded, split_of_step
from edgec.memory.tiling.matmul_w4a8_silu_neureka import LOADED
from edgec.memory.tiling.step import StepContext
from edgec.neureka.engine import COUT
from edgec.ops.matmul_w4a8_mlp_neureka import down_numbers, parts_of
from edgec.ops.matmul_w4a8_neureka import call_numbers, half, slots
from edgec.ops.matmul_w4a8_silu_neureka import PARTS
from edgec.packing import n_groups

LASTS = (1, 2, 3, 4, 6)  # passes of the engine that down's last tile may have
Sizes = dict[str, int]


def candidates(step: StepContext) -> Iterator[Callable[[Workspace], list[Tile]]]:
    """Tiles from all of gate's channels down to a pass of the engine, the fastest first."""
    return (partial(_call, step, numbers) for numbers in sizes(step))


def sizes(step: StepContext) -> list[Sizes]:
    """Numbers of calls but m, fastest first: of each tile of gate and up that no smaller one beats."""
    unit, cores, name = step.target.accelerator("neureka"), step.target.engines[0], step.node.op
    assert unit is not None  # else nothing is encoded for it
    k, group_size, out_group = step.attr("k"), step.attr("group_size"), step.attr("out_group")
    width, n = step.type("w_scale").shape[0] // PARTS, step.type("y").shape[1]
    firsts = {n, *(-(-(n - COUT * last) // COUT) * COUT for last in LASTS if COUT * last < n)}
    downs = [down_numbers(name, width, n, out_group, first) for first in sorted(firsts)]
    found: list[tuple[float, Sizes]] = []
    for tile in sorted({min(width, -(-width * part // (12 * COUT)) * COUT) for part in (*PARTS_OF_12, 7)}):
        best: list[tuple[float, Sizes]] = []
        for first in sorted({tile, half(tile), min(tile, 2 * COUT), min(tile, COUT)}, reverse=True):
            gated = call_numbers(parts_of(name)[0], PARTS * width, k, group_size, tile, first, split_of_step(step))
            for down in downs:
                numbers = {**gated, **down, "out_group": out_group}
                best.append((mlp_cycles(unit, cores, name, {**numbers, "m": 1}), numbers))
        fastest = min(best, key=lambda choice: choice[0])
        if not found or fastest[0] < found[-1][0]:
            found.append(fastest)
    return [numbers for _, numbers in reversed(found)]


def _call(step: StepContext, numbers: Sizes, workspace: Workspace) -> list[Tile]:
    name, width, n = step.node.name, numbers["n"] // PARTS, numbers["down_n"]
    groups, out_groups = numbers["groups"], n_groups(width, numbers["out_group"])
    operands: dict[str, Operand] = {role: step.fetch(role) for role in (*LOADED, "down_scale", "addend")}
    operands |= {role: step.home(role) for role in ("w", "down_w")} | {"y": step.deliver("y")}
    scratch = {
        "acc": slots(width, numbers["tile"], numbers["first"]) * PARTS * groups * numbers["tile"] * 4,
        "v": PARTS * width * 4,
        "q": width,
        "scale": out_groups * 4,
        "down_acc": out_groups * n * 4,
    }
    operands |= {role: workspace.allocate(f"{name}.{role}", size, "scratch") for role, size in scratch.items()}
    operands |= folded(step, 1, workspace)
    call: dict[str, Number] = {**numbers, "m": step.rows("x")}
    return [Tile(step.node.op, operands, call)]
