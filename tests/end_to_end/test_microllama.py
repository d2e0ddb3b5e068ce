"""The microLlama shape (8 layers, 16 heads of 4): little is moved twice, whatever the compute memory's size."""

from __future__ import annotations

import runpy
from dataclasses import replace
from pathlib import Path

import pytest
import tiny_models

from edgec.compress.shapes import planned_model
from edgec.cost.estimate import program_usage
from edgec.frontend.huggingface_config import architecture_of
from edgec.lower.programs import ready
from edgec.memory.check import check
from edgec.memory.plan import Plan
from edgec.ops import kernel
from edgec.planning import plan_model
from edgec.recipe import Build, Quantize, Recipe
from edgec.target import load_target
from edgec.verify.chain import verify

EXAMPLES = Path(__file__).resolve().parents[2] / "examples"
CONFIG = EXAMPLES / "microllama/config.json"
CACHE = 64


def planned(kib: int, bits: int, accelerated: bool) -> Plan:
    """As `edgec build` plans it, with matrices on N-EUREKA, or with all of them on the cores."""
    target = load_target("siracusa")
    memories = (replace(m, capacity_bytes=kib * 1024) if m.name == "L1" else m for m in target.memories)
    # So small a memory leaves the stacks no room: they go where the program lies.
    runtime = replace(target.runtime, stack_level="L2") if kib == 16 else target.runtime
    target = replace(target, runtime=runtime, memories=tuple(memories))
    architecture = architecture_of(CONFIG)
    recipe = Recipe(Quantize(bits=bits), Build(context=CACHE))
    model = planned_model(architecture.config, architecture.extras, recipe)
    model = ready(model, target, CACHE) if accelerated else ready(model)
    return plan_model(model, target, CACHE, recipe)[1]


def streamed_bytes(plan: Plan) -> int:
    """Weights that the accelerator reads in a token, outside of L1 and without a transfer."""
    total = 0
    for step in plan.programs["decode"].steps:
        for phase in step.phases:
            if phase.call is not None:
                regions = [phase.call.regions[role] for role in kernel(phase.call.kernel).streamed]
                total += sum(r.size for r in regions if r is not None and r.level != plan.target.compute)
    return total


@pytest.mark.parametrize("accelerated", [False, True], ids=["cores", "neureka"])
@pytest.mark.parametrize("bits", [4, 8])
@pytest.mark.parametrize("kib", [16, 64, 128, 256])
def test_bytes_of_a_token_are_moved_once(kib: int, bits: int, accelerated: bool) -> None:
    plan = planned(kib, bits, accelerated)
    assert not plan.deficits()
    check(plan)
    assert plan.used_bytes("L1") <= kib * 1024
    assert plan.used_bytes("L1") <= 1.01 * plan.lower_bound("L1")
    assert plan.used_bytes("L3") == plan.arena_bytes("L2") == 0  # weights and cache lie on chip
    linear = sum(b.size for b in plan.buffers if b.kind == "weight" and b.name.endswith("_proj.weight"))
    assert linear == (524_288 if accelerated else 524_288 * bits // 8)  # in 1x1 form a code takes 8 bits
    streamed = streamed_bytes(plan)
    head = next(b.size for b in plan.buffers if b.name == "model.embed_tokens.weight")  # in both forms, as it is tied
    assert streamed == (linear + head if accelerated else 0)
    once = sum(b.size for b in plan.buffers if b.kind in ("weight", "scale", "table", "kv"))
    moved = sum(program_usage(plan, plan.programs["decode"], 1, CACHE - 1).link_bytes.values())
    assert moved + streamed <= 1.1 * once


def test_random_weights_are_verified_in_16_kib(tmp_path: Path, objects: Path) -> None:
    runpy.run_path(str(EXAMPLES / "random_checkpoint.py"))["make"](CONFIG, tmp_path / "model")
    from edgec.frontend.load import load_checkpoint

    target = tiny_models.target_file(
        tmp_path / "small.toml",
        lambda text: text.replace('stack_level = "L1"', 'stack_level = "L2"'),
        L1=16 * 1024 - load_target("siracusa").reserved_bytes,
    )
    recipe = Recipe(Quantize(bits=8), Build(context=CACHE))
    artifact = tiny_models.built(
        load_checkpoint(str(tmp_path / "model"), None), tmp_path / "out", objects, target, recipe
    )
    result = verify(artifact, ["simulator"])
    assert result["backends"]["simulator"]["mismatches"] == 0
    assert result["backends"]["simulator"]["tensors"] > 1000
