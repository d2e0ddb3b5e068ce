"""Blocks left out and run again: transformers with its modules rearranged, caches of their own, stored once."""

from __future__ import annotations

import copy
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edgec.compress.counts import dry_run
from edgec.compress.depth import Depth
from edgec.compress.folder import write_folder
from edgec.compress.neurons import Neurons
from edgec.compress.sizes import size_of
from edgec.compress.skip import Skip
from edgec.compress.stage import Work
from edgec.errors import RecipeError
from edgec.frontend.checkpoint import Checkpoint
from edgec.frontend.load import load_checkpoint
from edgec.recipe import Recipe, load_recipe
from edgec.verify.chain import verify
from tests import tiny_models
from tests.tiny_models import checkpoint, config

torch = pytest.importorskip("torch", reason="torch is compared with")

from edgec.compress.torch_model import load_torch  # noqa: E402

ORDER = (0, 1, 2, 2, 1, 3)
TOKENS = [3, 1, 4, 1, 5, 9, 2, 6, 5, 35, 89, 79]


@pytest.fixture(scope="module")
def source() -> Checkpoint:
    return checkpoint(config(n_layers=5, family="qwen2"), biases=True)


def rearranged(source: Checkpoint, order: Sequence[int], folder: Path) -> Any:
    """transformers' model of the source with its decoder layers in this order, a cache entry for each."""
    from transformers import AutoModelForCausalLM

    write_folder(folder, source)
    model = AutoModelForCausalLM.from_pretrained(folder).float().eval()
    layers = [copy.deepcopy(model.model.layers[i]) for i in order]
    for index, layer in enumerate(layers):
        layer.self_attn.layer_idx = index
    model.model.layers = torch.nn.ModuleList(layers)
    model.config.num_hidden_layers = len(order)
    model.config.layer_types = [model.config.layer_types[i] for i in order]
    return model


FAMILIES: dict[str, dict[str, Any]] = {
    "qwen2": {},
    "gemma2": {
        **{"activation": "gelu_tanh", "double_norms": True, "embed_scale": 6.0, "query_scale": 0.2},
        **{"windows": (9, 0, 9, 0, 9), "score_softcap": 2.0, "logit_softcap": 3.0, "tied_embeddings": True},
    },
}


@pytest.mark.parametrize("family", FAMILIES)
def test_logits_are_those_of_transformers_step_by_step_with_its_cache(family: str, tmp_path: Path) -> None:
    from transformers import AutoModelForCausalLM, DynamicCache

    source = checkpoint(config(n_layers=5, family=family, **FAMILIES[family]), biases=family == "qwen2")
    made = Skip(order=ORDER).run(source, Work(lambda: source))
    theirs = rearranged(source, ORDER, tmp_path / "source")
    write_folder(tmp_path / "made", made)
    written = AutoModelForCausalLM.from_pretrained(tmp_path / "made").float().eval()
    ids = torch.tensor([TOKENS])
    with torch.no_grad():
        ours = load_torch(made)(ids)
        steps = []
        for model in (theirs, written):
            cache = DynamicCache(config=model.config)
            steps.append(torch.cat([model(ids[:, i : i + 1], past_key_values=cache).logits for i in range(12)], dim=1))
            assert len(cache) == len(ORDER)
        assert torch.allclose(ours, theirs(ids, use_cache=False).logits, atol=5e-5)
        for found in steps:
            assert torch.allclose(ours, found, atol=5e-5)
        assert not torch.allclose(ours, load_torch(source)(ids), atol=0.1)


def run_on_chip(model: Checkpoint, layers: int) -> tuple[list[np.ndarray], list[np.ndarray], int]:
    """The reference's logits after every token, decoded one by one; after prefills of 4; and the number of caches."""
    from edgec.simulate.reference import ReferenceRunner

    planned = tiny_models.planned(model, made=tiny_models.recipe(8, 8))
    runner = ReferenceRunner(planned.graphs, planned.consts)
    one_by_one = []
    for token in TOKENS:
        runner.decode(token)
        one_by_one.append(runner.logits.copy())
    runner.reset()
    in_chunks = []
    for start in range(0, len(TOKENS), 4):
        runner.prefill(TOKENS[start : start + 4])
        in_chunks.append(runner.logits.copy())
    caches = [v for v in planned.graphs["decode"].of_kind("state") if v.name.endswith(".k_cache")]
    assert len({v.name for v in caches}) == layers
    weights = sum(b.size for b in planned.plan.buffers if b.kind in ("weight", "scale"))
    return one_by_one, in_chunks, weights


def test_the_program_is_that_of_a_model_with_copies_and_stores_what_repeats_once(source: Checkpoint) -> None:
    made = Skip(order=ORDER).run(source, Work(lambda: source))
    names = [name for name in (*made.config.tensor_shapes(), *made.config.optional_shapes()) if name in made]
    copies = Checkpoint(made.config, {}, made.tokenizer).with_tensors({name: made.tensor(name) for name in names})
    one_by_one, in_chunks, stored = run_on_chip(made, len(ORDER))
    theirs, also_theirs, stored_copies = run_on_chip(copies, len(ORDER))
    assert [a.tobytes() for a in one_by_one] == [a.tobytes() for a in theirs]
    assert [a.tobytes() for a in in_chunks] == [a.tobytes() for a in also_theirs]
    assert [a.tobytes() for a in in_chunks] == [one_by_one[i].tobytes() for i in (3, 7, 11)]
    with torch.no_grad():
        ideal = load_torch(made)(torch.tensor([TOKENS]))[0].numpy()
    error = np.square(np.stack(one_by_one) - ideal).mean() / np.square(ideal).mean()
    assert error < 0.01
    block = sum(
        v.size for n, v in ((n, made.tensor(n)) for n in names) if n.startswith("model.layers.2.") and v.ndim > 1
    )
    assert stored_copies - stored > 2 * block  # 8 bits and scales, blocks 1 and 2


CASES: list[tuple[dict[str, Any], list[int]]] = [
    ({"order": (3, 0, 0)}, [3, 0, 0]),
    ({"skip": (1, 3)}, [0, 2, 4]),
    ({"repeat": ("2x3",)}, [0, 1, 2, 2, 2, 3, 4]),
    ({"repeat": ("1-2x2",)}, [0, 1, 2, 1, 2, 3, 4]),
    ({"repeat": ("3-4x2", "0x2"), "skip": (1, 4)}, [0, 0, 2, 3, 3]),
]


@pytest.mark.parametrize(("options", "wanted"), CASES)
def test_the_order_that_options_mean(source: Checkpoint, options: dict[str, Any], wanted: list[int]) -> None:
    stage = Skip(**options)
    assert stage.block_order(source.config) == wanted
    work = Work(lambda: source)
    made = stage.run(source, work)
    assert made.config == stage.shape(source.config) and made.config.n_layers == len(wanted)
    assert work.notes["layers"] == wanted
    assert work.notes["repeated"] == [[i, wanted.count(i)] for i in sorted(set(wanted)) if wanted.count(i) > 1]
    for new, old in enumerate(wanted):
        name = "model.layers.{}.mlp.up_proj.weight"
        assert np.array_equal(made.tensor(name.format(new)), source.tensor(name.format(old)))


def test_sizes_are_known_without_weights(source: Checkpoint) -> None:
    plain = checkpoint(config(n_layers=5))
    stages = (Skip(order=ORDER), Skip(skip=(3,)))
    model = plain
    for stage, size in zip(stages, dry_run(plain.config, Recipe(stages=stages))[1:], strict=True):
        model = stage.run(model, Work(lambda: plain))
        found = size_of(model)
        assert {key: found[key] for key in ("parameters", "nonzero", "bytes")} == {
            key: getattr(size, key) for key in ("parameters", "nonzero", "bytes")
        }
    block = sum(int(np.prod(s)) for n, s in plain.config.tensor_shapes().items() if n.startswith("model.layers.0."))
    assert size_of(plain)["parameters"] - found["parameters"] == block  # block 4 is gone, the others are stored once


def test_numbers_are_those_of_the_first_model_through_several_stages(source: Checkpoint) -> None:
    work = Work(lambda: source)
    once = Depth(remove=(0,)).run(source, work)
    once = once.with_tensors({}, stages=({"method": "depth", "notes": dict(work.notes)},))
    work = Work(lambda: source)
    twice = Skip(order=(3, 1, 1)).run(once, work)
    assert work.notes == {"layers": [4, 2, 2], "repeated": [[2, 2]]}
    twice = twice.with_tensors({}, stages=(*once.stages, {"method": "skip", "notes": dict(work.notes)}))
    work = Work(lambda: source)
    last = Depth(remove=(1,)).run(twice, work)  # the first user goes, the second stores the block
    assert work.notes["layers"] == [4, 2] and not last.shared
    name = "model.layers.{}.self_attn.o_proj.weight"
    assert np.array_equal(last.tensor(name.format(1)), source.tensor(name.format(2)))


def test_blocks_without_attention_stay_so_where_they_go(source: Checkpoint, tmp_path: Path) -> None:
    bare = Neurons(remove_attention=(2,)).run(source, Work(lambda: source))
    made = Skip(order=(2, 0, 2)).run(bare, Work(lambda: bare))
    assert made.config.without_attention == (0, 2) and made.config.attention_layers == [1]
    write_folder(tmp_path / "m", made)
    again = load_checkpoint(str(tmp_path / "m"))
    assert again.config == made.config and dict(again.shared) == dict(made.shared)
    with torch.no_grad():
        ids = torch.tensor([TOKENS])
        assert torch.allclose(load_torch(again)(ids), load_torch(made)(ids), atol=1e-5)
    with pytest.raises(RecipeError, match="only blocks without attention"):
        Skip(order=(2, 2)).shape(bare.config)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({}, "either order"),
        ({"order": (0,), "skip": (1,)}, "either order"),
        ({"order": (0, -1)}, "from 0"),
        ({"skip": (1, 1)}, "once"),
        ({"repeat": ("5",)}, "'5' is not"),
        ({"repeat": ("5x1",)}, "'5x1' is not"),
        ({"repeat": ("5-3x2",)}, "'5-3x2' is not"),
        ({"repeat": ("1-3x2", "3x2")}, "names block 3 twice"),
    ],
)
def test_impossible_options_are_one_sentence(options: dict[str, Any], words: str) -> None:
    with pytest.raises(RecipeError, match=re.escape(words)) as caught:
        Skip(**options)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"order": (0, 5)}, "names block 5; the model has blocks 0 to 4"),
        ({"repeat": ("4-5x2",)}, "names block 5"),
        ({"skip": (0, 1, 2, 3, 4)}, "leaves none of 5 blocks"),
    ],
)
def test_blocks_that_are_not_there_are_one_sentence(options: dict[str, Any], words: str) -> None:
    with pytest.raises(RecipeError, match=re.escape(words)):
        Skip(**options).shape(config(n_layers=5))


def test_a_recipe_says_it(tmp_path: Path) -> None:
    (tmp_path / "r.toml").write_text('[[stage]]\nmethod = "skip"\nskip = [1]\nrepeat = ["2-3x2"]\n')
    (stage,) = load_recipe(tmp_path / "r.toml").stages
    assert stage == Skip(skip=(1,), repeat=("2-3x2",))


def test_built_and_exact_on_the_host(tmp_path: Path, objects: Path) -> None:
    source = checkpoint(config(n_layers=4, tied_embeddings=True))
    recipe = tiny_models.recipe(4, 32)
    made = Recipe(recipe.quantize, recipe.build, (Skip(skip=(0,), repeat=("1-2x2",)),))
    artifact = tiny_models.built(source, tmp_path / "out", objects, made=made)
    assert artifact.meta["model"]["n_layers"] == 5
    assert len([v for v in artifact.graphs["decode"].of_kind("state") if v.name.endswith(".k_cache")]) == 5
    with tiny_models.quick(source, objects):
        found = verify(artifact, ("simulator", "host"))["backends"]
    assert found["simulator"]["mismatches"] == found["host"]["mismatches"] == 0
