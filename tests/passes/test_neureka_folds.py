"""to_neureka: of inputs behind the engine's whole blocks those that are many are folded, and no bit changes."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import tiny_models
from whole_models import apart, check_plan, logits

from edgec.compress.quantized import QuantizedModel
from edgec.compress.rtn import quantize_model
from edgec.compress.sizes import packed_bytes
from edgec.lower.programs import ready
from edgec.ops.matmul_w4a8_neureka import FOLD_CHANNELS, split_in
from edgec.passes.to_neureka import to_neureka
from edgec.planning import plan_model
from edgec.recipe import Recipe
from edgec.report.encoding import encoded_bytes, encoding
from edgec.target import Target, load_target

CONTEXT = 24
SHAPE = {"hidden_dim": 300, "ffn_dim": 600, "head_dim": 20, "n_heads": 15, "n_kv_heads": 5, "n_layers": 1}


def recipe(bits: int = 4) -> Recipe:
    return tiny_models.recipe(bits=bits, group_size=0, context=CONTEXT)


def model_of(bits: int = 4, **changes: int | bool) -> QuantizedModel:
    config = tiny_models.config(**{**SHAPE, **changes})
    return quantize_model(tiny_models.checkpoint(config), recipe(bits).quantize)


@pytest.fixture(scope="module")
def target() -> Target:
    return load_target("siracusa")


@pytest.fixture(scope="module")
def model() -> QuantizedModel:
    return model_of()


@pytest.mark.parametrize("bits", [2, 4])
def test_the_bits_stay(target: Target, bits: int) -> None:
    """48 inputs behind a block take two of the engine's blocks of channels, 96 behind two take four."""
    model = model_of(bits)
    changed = ready(model, target, CONTEXT)
    of_300 = {"qkv": (56, 64 * bits), "o": (34, 64 * bits), "gate_up": (134, 64 * bits)}
    assert apart(changed, "fold").items() >= of_300.items() and apart(changed, "fold")["down"] == (34, 128 * bits)
    assert logits(changed, target, CONTEXT) == logits(ready(model), target, CONTEXT)


def test_the_plan_computes_the_same(model: QuantizedModel, target: Target) -> None:
    changed = ready(model, target, CONTEXT)
    graphs, plan = plan_model(changed, target, CONTEXT, recipe())
    calls = [p.call for s in plan.programs["decode"].steps for p in s.phases if p.call]
    found = {c.kernel: split_in(c.numbers).fold for c in calls if "fold" in c.numbers}
    assert found["matmul_w4a8_neureka"] in (48, 96) and found["matmul_w4a8_silu_neureka"] == 48
    streamed = {c.regions["w_fold"].level for c in calls if c.regions.get("w_fold")}
    assert streamed <= set(target.accelerators[0].weights)
    check_plan(changed, graphs, plan, CONTEXT, [3, 1, 4, 1, 5])


def test_the_report_counts_them(model: QuantizedModel, target: Target) -> None:
    changed = ready(model, target, CONTEXT)
    graphs, plan = plan_model(changed, target, CONTEXT, recipe())
    taken = encoding(plan, graphs["decode"], {})
    coded = [m for m in changed.matrices.values() if m.layout]
    assert taken is not None and any(m.fold is not None for m in coded)
    parts = [part for m in coded for part in (m.tail, m.fold) if part is not None]
    assert taken["bytes"] == sum(m.packed.nbytes for m in coded) + sum(part.nbytes for part in parts)
    assert sum(encoded_bytes(plan, graphs["decode"]).values()) == sum(map(packed_bytes, coded))


def test_a_folded_matrix_takes_less_than_whole_blocks(model: QuantizedModel, target: Target) -> None:
    """A channel of 300 inputs of 4 bits takes 128 bytes of its block and 29 of a filter's 256, not 256."""
    o = ready(model, target, CONTEXT).matrices["model.layers.0.self_attn.o_proj.weight"]
    assert o.fold is not None and o.packed.shape == (300, 128)
    assert o.packed.nbytes + o.fold.nbytes == 300 * 128 + 34 * 256


def test_a_few_words_are_the_cores(target: Target) -> None:
    """Of 284 inputs 28 are folded, which fills a block of the engine's channels, and a word is theirs."""
    model = model_of(hidden_dim=284, n_heads=71, head_dim=4, n_kv_heads=71)
    changed = ready(model, target, CONTEXT)
    qkv = next(m for name, m in changed.matrices.items() if "qkv" in name)
    assert qkv.tail is not None and qkv.tail.shape == (852, 4)
    assert qkv.fold is not None and qkv.fold.shape == (95, 128)
    assert logits(changed, target, CONTEXT) == logits(ready(model), target, CONTEXT)


def test_a_table_that_is_the_head_is_not_folded(target: Target) -> None:
    """Its rows are looked up."""
    model = model_of(tied_embeddings=True, vocab_size=400)
    changed = ready(model, target, CONTEXT)
    table = changed.matrices["model.embed_tokens.weight"]
    assert table.fold is None and apart(changed, "fold")
    assert logits(changed, target, CONTEXT) == logits(ready(model), target, CONTEXT)


def test_more_filters_than_a_job_can_name_are_not_asked_for(model: QuantizedModel, target: Target) -> None:
    head = model.matrices["lm_head.weight"]
    roomy = {"scale": np.broadcast_to(np.ones((), np.float16), (FOLD_CHANNELS + 1, 1))}
    shape: Any = np.broadcast_to(np.zeros((), np.uint8), (FOLD_CHANNELS + 1, head.packed.shape[1]))
    large = replace(model, matrices={"lm_head.weight": replace(head, packed=shape, **roomy)})
    assert to_neureka(large, target, CONTEXT).matrices["lm_head.weight"].fold is None
