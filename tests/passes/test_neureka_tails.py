"""to_neureka: inputs behind the engine's whole blocks become the cores' where that is faster, and no bit changes."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import tiny_models
from whole_models import apart, check_plan, logits

from edgec.compress.quantized import QuantizedModel
from edgec.compress.rtn import quantize_model
from edgec.compress.sizes import packed_bytes
from edgec.lower.llama import constants
from edgec.lower.programs import programs, ready
from edgec.passes.to_neureka import to_neureka
from edgec.planning import plan_model
from edgec.recipe import Recipe
from edgec.report.encoding import encoded_bytes, encoding
from edgec.target import Target, load_target

CONTEXT = 24
SHAPE = {"hidden_dim": 256, "ffn_dim": 512, "head_dim": 16, "n_heads": 16, "n_kv_heads": 4, "n_layers": 1}
TAILS = {"qkv": 4, "o": 4, "gate_up": 4, "down": 8, "lm_head": 4}


def recipe(bits: int = 4, group_size: int = 0) -> Recipe:
    return tiny_models.recipe(bits=bits, group_size=group_size, context=CONTEXT)


def model_of(bits: int = 4, group_size: int = 0, **changes: int) -> QuantizedModel:
    config = tiny_models.config(**{**SHAPE, **changes})
    return quantize_model(tiny_models.checkpoint(config), recipe(bits, group_size).quantize)


@pytest.fixture(scope="module")
def target() -> Target:
    return load_target("siracusa")


@pytest.fixture(scope="module")
def model() -> QuantizedModel:
    return model_of()


def tails(model: QuantizedModel) -> dict[str, int]:
    """Inputs of the cores, by the role of a matrix in its layer."""
    return {role: shape[1] for role, shape in apart(model, "tail").items()}


@pytest.mark.parametrize(("bits", "found"), [(2, TAILS), (4, TAILS), (8, {"lm_head": 4})])
def test_the_bits_stay(target: Target, bits: int, found: dict[str, int]) -> None:
    """Rows of a prompt in 8 bits are faster in 1x1 form, which has no such inputs."""
    model = model_of(bits)
    changed = ready(model, target, CONTEXT)
    assert tails(changed) == found
    assert logits(changed, target, CONTEXT) == logits(ready(model), target, CONTEXT)


def test_weights_lose_a_block(model: QuantizedModel, target: Target) -> None:
    """A channel of 256 inputs has one block of 4 bits, 128 bytes, and four of the cores, where it had two."""
    changed = ready(model, target, CONTEXT)
    o = changed.matrices["model.layers.0.self_attn.o_proj.weight"]
    assert o.tail is not None and o.tail.dtype == np.int8
    assert o.packed.shape == (256, 128) and packed_bytes(o) == 256 * (128 + 4 + 2)
    whole = replace(o, tail=np.zeros((256, 0), np.int8))
    assert packed_bytes(whole) == 256 * (128 + 2)


def test_the_plan_computes_the_same(model: QuantizedModel, target: Target) -> None:
    changed = ready(model, target, CONTEXT)
    graphs, plan = plan_model(changed, target, CONTEXT, recipe())
    calls = [p.call for s in plan.programs["decode"].steps for p in s.phases if p.call]
    by_tail = {c.kernel: c.numbers["tail"] for c in calls if "tail" in c.numbers}
    assert by_tail["matmul_w4a8_silu_neureka"] == 4 and not any("_mlp_" in name for name in by_tail)
    check_plan(changed, graphs, plan, CONTEXT, [3, 1, 4, 1, 5])


def test_the_report_counts_them(model: QuantizedModel, target: Target) -> None:
    changed = ready(model, target, CONTEXT)
    graphs, plan = plan_model(changed, target, CONTEXT, recipe())
    taken = encoding(plan, graphs["decode"], {})
    coded = [m for m in changed.matrices.values() if m.layout]
    assert taken is not None
    assert taken["bytes"] == sum(m.packed.nbytes + (0 if m.tail is None else m.tail.nbytes) for m in coded)
    assert sum(encoded_bytes(plan, graphs["decode"]).values()) == sum(map(packed_bytes, coded))


def test_down_of_one_group_with_such_inputs_stays_apart(target: Target) -> None:
    """Gate and up may have them in an MLP of one call, which down then has not: 2 groups of 504."""
    model = model_of(group_size=504, ffn_dim=1008)
    changed = ready(model, target, CONTEXT)
    consts = constants(changed, CONTEXT)
    made = programs(changed, consts, {"prefill": 4, "decode": 1}, CONTEXT, target)
    node = next(n for n in made["decode"].nodes if "_mlp_" in n.op)
    assert "w_tail" in node.inputs and tails(changed).keys() == {"qkv", "o", "gate_up", "lm_head"}
    assert logits(changed, target, CONTEXT) == logits(ready(model), target, CONTEXT)


@pytest.mark.parametrize(
    "changes", [{"hidden_dim": 258}, {"hidden_dim": 252, "ffn_dim": 504, "n_heads": 12, "n_kv_heads": 3}]
)
def test_nothing_behind_whole_blocks_and_words(target: Target, changes: dict[str, int]) -> None:
    found = tails(ready(model_of(**changes), target, CONTEXT))
    assert not found.keys() & {"qkv", "gate_up", "lm_head"}


def test_a_table_that_is_the_head_is_looked_up_in_both(target: Target) -> None:
    config = tiny_models.config(**{**SHAPE, "tied_embeddings": True, "vocab_size": 400})
    model = quantize_model(tiny_models.checkpoint(config), recipe().quantize)
    changed = ready(model, target, CONTEXT)
    table = changed.matrices["model.embed_tokens.weight"]
    assert table.tail is not None and table.tail.shape == (400, 4)
    assert logits(changed, target, CONTEXT) == logits(ready(model), target, CONTEXT)
    graphs, plan = plan_model(changed, target, CONTEXT, recipe())
    check_plan(changed, graphs, plan, CONTEXT, [3, 399, 4, 1, 5])


def test_what_would_fill_the_compute_memory_stays(model: QuantizedModel, target: Target) -> None:
    """The cores' weights take an eighth of it at most."""
    most = target.data_bytes(target.compute) // 8 // 4
    for n, found in ((most, True), (most + 1, False)):
        head = model.matrices["lm_head.weight"].rows(np.zeros(n, int))
        large = replace(model, matrices={"lm_head.weight": head})
        assert (to_neureka(large, target, CONTEXT).matrices["lm_head.weight"].tail is not None) == found
