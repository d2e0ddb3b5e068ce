"""What a model computes, its plan included: what no change of a matrix's form may alter."""

from __future__ import annotations

from collections.abc import Sequence

from edgec.compress.quantized import QuantizedModel
from edgec.ir.graph import Graph
from edgec.lower.llama import constants
from edgec.lower.programs import programs
from edgec.memory.check import check
from edgec.memory.images import images
from edgec.memory.plan import Plan
from edgec.simulate.reference import ReferenceRunner
from edgec.simulate.simulator import Simulator
from edgec.target import Target


def logits(model: QuantizedModel, target: Target, context: int) -> list[bytes]:
    """Of a prompt and of two tokens behind it."""
    consts = constants(model, context)
    runner = ReferenceRunner(programs(model, consts, {"prefill": 4, "decode": 1}, context, target), consts)
    token, found = runner.prefill([1, 5, 2, 9, 7, 3]), []
    for _ in range(3):
        found.append(runner.logits.tobytes())
        token = runner.decode(token)
    return found


def apart(model: QuantizedModel, side: str) -> dict[str, tuple[int, ...]]:
    """Shapes of constants of inputs apart (tail, fold), by the role of a matrix in its layer."""
    return {
        name.removesuffix(".weight").rpartition(".")[2].removesuffix("_proj"): getattr(m, side).shape
        for name, m in model.matrices.items()
        if getattr(m, side) is not None
    }


def check_plan(
    model: QuantizedModel, graphs: dict[str, Graph], plan: Plan, context: int, prompt: Sequence[int]
) -> None:
    """The plan is sound, and its simulator chooses the reference's tokens."""
    check(plan)
    consts = constants(model, context)
    simulator, reference = Simulator(plan, images(plan, consts)), ReferenceRunner(graphs, consts)
    assert simulator.prefill(list(prompt)) == reference.prefill(list(prompt))
    assert simulator.decode(7) == reference.decode(7)
