"""to_neureka changes a matrix's form, never what it computes; what the accelerator cannot take stays as it is."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import tiny_models
from whole_models import check_plan, logits

from edgec.compress.quantized import QuantizedModel
from edgec.compress.rtn import quantize_model
from edgec.compress.shapes import planned_model
from edgec.lower.llama import constants
from edgec.lower.programs import programs, ready
from edgec.memory.check import PlanError, check
from edgec.memory.choices import ALL
from edgec.memory.plan import Phase, Program
from edgec.passes.to_neureka import to_neureka
from edgec.planning import plan_model
from edgec.recipe import RoleOverride
from edgec.simulate.reference import ReferenceRunner
from edgec.target import Target, load_target

CONTEXT = 24
TABLE = "model.embed_tokens"
SHAPE = {"hidden_dim": 252, "ffn_dim": 504, "head_dim": 12, "n_heads": 4, "n_kv_heads": 2}
CONFIG = tiny_models.config(**SHAPE)
RECIPE = tiny_models.recipe(bits=4, group_size=252, context=CONTEXT)


@pytest.fixture(scope="module")
def target() -> Target:
    return load_target("siracusa")


@pytest.fixture(scope="module")
def model() -> QuantizedModel:
    return quantize_model(tiny_models.checkpoint(CONFIG), RECIPE.quantize)


def encoded(model: QuantizedModel) -> set[str]:
    return {name for name, m in model.matrices.items() if m.layout == "neureka"}


def test_the_bits_stay(model: QuantizedModel, target: Target) -> None:
    plain, changed = ready(model), ready(model, target, CONTEXT)
    assert encoded(changed) and not encoded(plain)
    assert logits(changed, target, CONTEXT) == logits(plain, target, CONTEXT)


def test_gate_and_up_take_the_activation_along(model: QuantizedModel, target: Target) -> None:
    """Fused where that is no slower, with the bits of one op after the other; not where a choice says so."""
    changed = ready(model, target, CONTEXT)
    consts = constants(changed, CONTEXT)
    rows = {"prefill": 4, "decode": 1}
    names = {}
    for fused in (True, False):
        made = programs(changed, consts, rows, CONTEXT, target, replace(ALL, gate_up_silu=fused, mlp=False))
        names[fused] = [n.op for n in made["decode"].nodes]
        runner = ReferenceRunner(made, consts)
        runner.prefill([1, 5, 2])
        assert runner.logits.tobytes() == first(changed, target)
    assert names[True].count("matmul_w4a8_silu_neureka") == model.config.n_layers
    assert not any("silu_neureka" in name for name in names[False])
    assert len(names[False]) == len(names[True]) + 2 * model.config.n_layers


def test_down_joins_gate_and_up_of_a_token(model: QuantizedModel, target: Target) -> None:
    """With the bits of one after the other; several rows have two calls."""
    changed = ready(model, target, CONTEXT)
    consts = constants(changed, CONTEXT)
    names, found = {}, {}
    for joined in (True, False):
        rows = {"prefill": 4, "decode": 1}
        made = programs(changed, consts, rows, CONTEXT, target, replace(ALL, mlp=joined))
        names[joined] = {program: [n.op for n in graph.nodes] for program, graph in made.items()}
        runner = ReferenceRunner(made, consts)
        runner.decode(runner.prefill([1, 5, 2]))
        found[joined] = runner.logits.tobytes()
    assert found[True] == found[False]
    assert names[True]["prefill"] == names[False]["prefill"]
    assert names[True]["decode"].count("matmul_w4a8_mlp_neureka") == model.config.n_layers
    assert "matmul_w4a8_silu_neureka" not in names[True]["decode"]
    assert len(names[True]["decode"]) == len(names[False]["decode"]) - model.config.n_layers


@pytest.mark.parametrize("changes", [{"group_size": 504}, {"down": RoleOverride(bits=3)}])
def test_an_mlp_of_other_forms_stays_apart(target: Target, changes: dict[str, Any]) -> None:
    """One group of the activation gives the accelerator nothing to do ahead, and two widths are not one call's."""
    recipe = tiny_models.recipe(**{"bits": 4, "group_size": 252, **changes})
    changed = ready(quantize_model(tiny_models.checkpoint(CONFIG), recipe.quantize), target, CONTEXT)
    made = programs(changed, constants(changed, CONTEXT), {"decode": 1}, CONTEXT, target)
    assert not any("_mlp_" in n.op for n in made["decode"].nodes)
    assert sum("_silu_" in n.op for n in made["decode"].nodes) == CONFIG.n_layers


def first(model: QuantizedModel, target: Target) -> bytes:
    """Logits of a prompt with every op by itself."""
    consts = constants(model, CONTEXT)
    apart = replace(ALL, gate_up_silu=False, silu_quantize=False, norm_quantize=False, residual=False)
    runner = ReferenceRunner(programs(model, consts, {"prefill": 4, "decode": 1}, CONTEXT, target, apart), consts)
    runner.prefill([1, 5, 2])
    return runner.logits.tobytes()


def test_the_plan_streams_weights_where_they_lie(model: QuantizedModel, target: Target) -> None:
    changed = ready(model, target, CONTEXT)
    graphs, plan = plan_model(changed, target, CONTEXT, RECIPE)
    homes = {b.name: b for b in plan.buffers}
    for name in encoded(changed):
        assert homes[name].level in ("MRAM", "TILE") and homes[name].offset % 32 == 0
    check_plan(changed, graphs, plan, CONTEXT, [3, 1, 4, 1, 5])


def test_weights_off_a_line_are_refused(model: QuantizedModel, target: Target) -> None:
    changed = ready(model, target, CONTEXT)
    _, plan = plan_model(changed, target, CONTEXT, RECIPE)
    last = max((b for b in plan.buffers if b.name in encoded(changed)), key=lambda b: b.offset)
    plan.buffers[plan.buffers.index(last)] = replace(last, offset=last.offset + 16)
    with pytest.raises(PlanError):
        check(plan)


def test_what_it_cannot_take_stays(model: QuantizedModel, target: Target) -> None:
    none = replace(target, accelerators=())
    assert to_neureka(model, none, CONTEXT) is model
    fine = quantize_model(tiny_models.checkpoint(CONFIG), tiny_models.recipe(bits=4, group_size=32).quantize)
    assert not encoded(ready(fine, target, CONTEXT))
    assert "model.embed_tokens.weight" not in encoded(ready(model, target, CONTEXT))


def tied(bits: int = 4, group_size: int = 252, **changes: int) -> QuantizedModel:
    """A model whose table of tokens is its head too."""
    config = tiny_models.config(**{**SHAPE, "vocab_size": 400, "tied_embeddings": True, **changes})
    return quantize_model(tiny_models.checkpoint(config), tiny_models.recipe(bits=bits, group_size=group_size).quantize)


@pytest.mark.parametrize("hidden", [252, 504])
def test_a_tied_head_is_one_constant(target: Target, hidden: int) -> None:
    """The accelerator multiplies it and tokens are looked up in it, a call for each group; no bit changes."""
    model = tied(hidden_dim=hidden)
    changed = ready(model, target, CONTEXT)
    assert f"{TABLE}.weight" in encoded(changed) and list(changed.matrices) == list(ready(model).matrices)
    assert logits(changed, target, CONTEXT) == logits(ready(model), target, CONTEXT)
    graphs, plan = plan_model(changed, target, CONTEXT, RECIPE)
    steps = {s.op: s for s in plan.programs["decode"].steps}
    calls = [p.call for p in steps["embed_neureka"].phases if p.call]
    assert [c.numbers["group"] for c in calls] == list(range(hidden // 252))
    assert "matmul_w4a8" not in steps
    check_plan(changed, graphs, plan, CONTEXT, [3, 399, 4, 1, 5])


def test_what_a_group_of_a_table_is_looked_up_in_is_checked(target: Target) -> None:
    _, plan = plan_model(ready(tied(hidden_dim=504), target, CONTEXT), target, CONTEXT, RECIPE)
    steps = plan.programs["decode"].steps
    at = next(i for i, s in enumerate(steps) if s.op == "embed_neureka")
    number, transfer = next(
        (i, t) for i, p in enumerate(steps[at].phases) for t in p.transfers if t.target.value.endswith("w_rows.1")
    )
    size = transfer.source.size
    for source, words in (
        (replace(transfer.source, offset=transfer.source.offset - size, at=0), "rows of part 0"),
        (transfer.source.part(0, size // 2), "not from all of"),
        (replace(transfer.source, offset=transfer.source.offset - 32, at=size - 32), "not from all of"),
    ):
        moved = replace(transfer, source=source)
        phase = steps[at].phases[number]
        others = tuple(moved if t is transfer else t for t in phase.transfers)
        phases = [replace(p, transfers=others) if p is phase else p for p in steps[at].phases]
        wrong = replace(plan, programs=plan.programs | {"decode": _with(plan.programs["decode"], at, phases)})
        with pytest.raises(PlanError, match=words):
            check(wrong)


def _with(program: Program, at: int, phases: list[Phase]) -> Program:
    steps = list(program.steps)
    steps[at] = replace(steps[at], phases=phases)
    return replace(program, steps=steps)


def test_a_tied_head_without_room_stays(target: Target) -> None:
    """In 1x1 form a table of 4 bits takes twice its bytes; of 3x3 form only that all memories are full keeps it."""
    small = {"hidden_dim": 64, "head_dim": 16, "ffn_dim": 64}
    model = tied(4, 32, **small)
    name = f"{TABLE}.weight"
    assert ready(model, target, CONTEXT).matrices[name].layout == "neureka_1x1"
    memories = tuple(replace(m, capacity_bytes=12_000) if m.name in ("MRAM", "TILE") else m for m in target.memories)
    tight = replace(target, memories=memories)
    assert not ready(model, tight, CONTEXT).matrices[name].layout
    _, plan = plan_model(ready(model, tight, CONTEXT), tight, CONTEXT, RECIPE)
    assert "embed" in {s.op for s in plan.programs["decode"].steps}


def test_a_table_that_is_no_head_stays(model: QuantizedModel, target: Target) -> None:
    assert not model.config.tied_embeddings
    assert not ready(model, target, CONTEXT).matrices[f"{TABLE}.weight"].layout
    assert ready(model, target, CONTEXT).matrices["lm_head.weight"].layout


def test_a_result_that_does_not_fit_stays(model: QuantizedModel, target: Target) -> None:
    """Half of the compute memory holds a row of results."""
    rows = target.data_bytes(target.compute) // 8
    memories = tuple(replace(m, capacity_bytes=1 << 24) if m.name == "TILE" else m for m in target.memories)
    wide = replace(target, memories=memories)
    for n, layout in ((rows, "neureka"), (rows + 1, "")):
        head = model.matrices["lm_head.weight"].rows(np.zeros(n, int))
        large = replace(model, matrices=model.matrices | {"lm_head.weight": head})
        assert to_neureka(large, wide, CONTEXT).matrices["lm_head.weight"].layout == layout


def test_what_has_no_room_stays(model: QuantizedModel, target: Target) -> None:
    whole = encoded(ready(model, target, CONTEXT))
    memories = tuple(replace(m, capacity_bytes=60_000) if m.name in ("MRAM", "TILE") else m for m in target.memories)
    small = replace(target, memories=memories)
    some = encoded(ready(model, small, CONTEXT))
    assert some < whole
    _, plan = plan_model(ready(model, small, CONTEXT), small, CONTEXT, RECIPE)
    assert not plan.deficits()


def test_shapes_alone_are_planned_alike(model: QuantizedModel, target: Target) -> None:
    empty = ready(planned_model(CONFIG, (), RECIPE), target, CONTEXT)
    assert encoded(empty) == encoded(ready(model, target, CONTEXT))
    for name in encoded(empty):
        assert empty.matrices[name].packed.shape == ready(model, target, CONTEXT).matrices[name].packed.shape
