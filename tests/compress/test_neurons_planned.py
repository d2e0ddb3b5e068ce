"""Neurons and heads before they go: sizes and plans without weights, what is refused in one sentence."""

from __future__ import annotations

import re
from dataclasses import replace
from typing import Any

import pytest

from edgec.compress.blocks import with_blocks
from edgec.compress.counts import dry_run
from edgec.compress.coupled import matrix
from edgec.compress.depth import Depth
from edgec.compress.neurons import Neurons
from edgec.compress.rtn import quantize_matrix, quantize_model
from edgec.compress.shapes import planned_model
from edgec.compress.sizes import size_of
from edgec.compress.skip import Skip
from edgec.compress.smooth_keys import SmoothKeys
from edgec.compress.stage import Calibration, Work
from edgec.compress.width import Width
from edgec.errors import ModelError, RecipeError
from edgec.frontend.checkpoint import Checkpoint
from edgec.frontend.structure import Structure
from edgec.ir.text import print_graph
from edgec.lower.llama import constants, lower
from edgec.recipe import Quantize, Recipe
from tests.compress.neuron_cases import TOKENS, with_branches, work_of
from tests.tiny_models import checkpoint, config
from tests.traced_models import work_for

torch = pytest.importorskip("torch", reason="torch runs the calibration text")


@pytest.fixture(scope="module")
def source() -> Checkpoint:
    return with_branches()


def test_packed_matrices_leave_their_grid_unless_a_stage_made_it() -> None:
    model = checkpoint(config())
    grids = {matrix(0, role): quantize_matrix(model.tensor(matrix(0, role)), 4, 16)[0] for role in ("up", "q")}
    model = model.with_packed(grids)
    work = Work(lambda: model)
    made = Neurons(ffn=0.25, metric="magnitude").run(model, work)
    assert set(made.packed) == {matrix(0, "q")} and work.notes["dequantised"] == [matrix(0, "up")]
    by_stage = replace(model, stages=({"method": "quantize"},))
    with pytest.raises(RecipeError, match="put it before quantize"):
        Neurons(ffn=0.25, metric="magnitude").run(by_stage, Work(lambda: model))


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({}, "a share of ffn or heads"),
        ({"ffn": 1.0}, "a share below 1"),
        ({"heads": -0.1}, "a share below 1"),
        ({"attention": 1, "remove_attention": (1,)}, "either attention"),
        ({"remove_attention": (1, 1)}, "each block once"),
        ({"remove_attention": (-1,)}, "each block once"),
        ({"ffn": 0.1, "metric": "sum"}, "known: activation, taylor, magnitude"),
        ({"ffn": 0.1, "aggregate": "vector"}, 'for the metric "taylor"'),
        ({"ffn": 0.1, "metric": "taylor", "aggregate": "max"}, 'for the metric "taylor"'),
        ({"ffn": 0.1, "multiple": 0}, "at least 1"),
        ({"ffn": 0.1, "length": 1}, "windows of 2 tokens"),
    ],
)
def test_impossible_options_are_one_sentence(options: dict[str, Any], words: str) -> None:
    with pytest.raises(RecipeError, match=re.escape(words)) as caught:
        Neurons(**options)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"ffn": 0.95}, "leaves 0 of 52 neurons in multiples of 4"),
        ({"ffn": 0.1, "multiple": 252}, "leaves 0 of 52 neurons in multiples of 252"),
        ({"ffn": 0.001, "multiple": 1}, "leaves 52 of 52"),
        ({"heads": 0.1}, "leaves 2 of 2 groups of 2 heads"),
        ({"heads": 0.9}, "leaves 0 of 2 groups"),
        ({"attention": 2}, "attention of 2 of 2 blocks; 2 have one, and one must stay"),
        ({"remove_attention": (5,)}, "blocks [5] of 2 blocks"),
    ],
)
def test_what_cannot_go_is_one_sentence(options: dict[str, Any], words: str) -> None:
    with pytest.raises(RecipeError, match=re.escape(words)) as caught:
        Neurons(**options).shape(config())
    assert "\n" not in str(caught.value)


def test_patterns_that_would_break_are_refused_with_and_without_weights() -> None:
    model = checkpoint(config())
    for role, options in (("down", {"ffn": 0.25}), ("o", {"heads": 0.5})):
        stages = (Width(sparsity=0.5, metric="magnitude", roles=(role,)), Neurons(metric="magnitude", **options))
        with pytest.raises(RecipeError, match=f"{role}_proj.weight is pruned .* put neurons before"):
            dry_run(model.config, Recipe(stages=stages))
        with pytest.raises(RecipeError, match=f"{role}_proj.weight is pruned .* put neurons before"):
            stages[1].run(stages[0].run(model, Work(lambda: model)), Work(lambda: model))
    Neurons(heads=0.5).check_patterns(Structure(model.config), {matrix(0, "o"): (2, 4), matrix(0, "down"): (1, 4)})


def test_blocks_that_share_are_refused() -> None:
    model = with_blocks(checkpoint(config()), [0, 1, 1])
    for stage in (Neurons(ffn=0.25, metric="magnitude"), Neurons(remove_attention=(1,))):
        with pytest.raises(RecipeError, match="before the stage that shares them"):
            stage.structure(model.structure)
        with pytest.raises(RecipeError, match="before the stage that shares them"):
            stage.run(model, Work(lambda: model))


def test_depth_and_configurations_refuse_what_they_cannot_know() -> None:
    bare = replace(config(n_layers=4), without_attention=(1,))
    with pytest.raises(RecipeError, match="put it before neurons"):
        Depth(blocks=1, protect_first=0, protect_last=0).shape(bare)
    assert Depth(remove=(0, 1)).shape(bare).without_attention == ()
    for wrong in ((4,), (2, 1), (0, 1, 2, 3)):
        with pytest.raises(ModelError, match="cannot be those without attention"):
            replace(bare, without_attention=wrong)


def test_sizes_are_known_without_weights(calibration: Calibration) -> None:
    source = checkpoint(config(n_layers=4, n_heads=6, n_kv_heads=3))
    for options in ({"ffn": 0.25}, {"heads": 0.34}, {"attention": 2}, {"ffn": 0.3, "attention": 1, "multiple": 12}):
        stages = (Neurons(**options), Width(pattern="1:4", metric="magnitude"))  # type: ignore[arg-type]
        model = source
        for stage, size in zip(stages, dry_run(source.config, Recipe(stages=stages))[1:], strict=True):
            model = stage.run(model, work_for(source, calibration))  # type: ignore[attr-defined]
            found = size_of(model)
            for key in ("parameters", "nonzero", "bytes", "block_bits_per_weight"):
                assert getattr(size, key) == found[key], (options, stage.method, key)
    assert Neurons(ffn=0.3, multiple=12).shape(source.config).ffn_dim == 36


@pytest.mark.parametrize("gone", [(0,), (0, 2, 3)])
def test_a_plan_without_weights_is_the_models(source: Checkpoint, gone: tuple[int, ...]) -> None:
    """The same constants and graph, layer 0 without attention, biases, key centres and a repeated block included."""
    options: dict[str, Any] = {"ffn": 0.25, "heads": 0.34, "metric": "magnitude", "remove_attention": gone}
    stages = (SmoothKeys(power=0), Neurons(**options), Skip(order=(0, 1, 1)))
    model = replace(source, branches={}, key_centres={})
    extras = [f"self_attn.{role}_proj.bias" for role in "qkv"]
    planned = planned_model(model.config, extras, Recipe(Quantize("rtn", 4, 16), stages=stages))
    for stage in stages:
        model = stage.run(model, work_of(model, TOKENS))  # type: ignore[attr-defined]
    made = quantize_model(model, Quantize("rtn", 4, 16))
    consts = [constants(each, 8) for each in (planned, made)]
    known, wanted = ({name: (a.shape, a.dtype) for name, a in each.items()} for each in consts)
    assert known == wanted
    graphs = [lower(each, c, "decode", 1, 8) for each, c in zip((planned, made), consts, strict=True)]
    assert print_graph(graphs[0]) == print_graph(graphs[1])
    assert sum(node.op == "attention" for node in graphs[0].nodes) == 2
    assert sum(node.op == "attention" for node in lower(made, consts[1], "decode", 1, 8, layers=1).nodes) == 1
