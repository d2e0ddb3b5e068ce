"""Low rank in BERT- and BART-type models: factors by part and role, folders that come back, transformers reads them."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tiny_encoders
import tiny_models
import tiny_seq2seq

from edgec.compress.counts import dry_run
from edgec.compress.folder import write_folder
from edgec.compress.pipeline import compress
from edgec.compress.rtn import quantize_model
from edgec.compress.shapes import planned_model
from edgec.compress.svd import Svd
from edgec.errors import RecipeError
from edgec.frontend.load import load_checkpoint
from edgec.frontend.seq2seq_config import part_of
from edgec.frontend.structure import factor_names, role_of
from edgec.lower.model import constants
from edgec.recipe import Recipe
from edgec.verify.chain import verify
from tests.traced_models import work_for

SAVED = {"bert": tiny_encoders.saved, "bart": tiny_seq2seq.saved}
ATTENTION = ("q", "k", "v", "o")


def _recipe(*stages: Svd, context: int = 24) -> Recipe:
    return replace(tiny_models.recipe(8, 32, context, 4), stages=stages)


@pytest.mark.parametrize("family", SAVED)
def test_what_is_read_is_what_was_written(family: str, tmp_path: Path) -> None:
    SAVED[family](tmp_path / "theirs", **({"bias": True, "scale_embedding": True} if family == "bart" else {}))
    model = load_checkpoint(str(tmp_path / "theirs"))
    write_folder(tmp_path / "ours", model)
    again = load_checkpoint(str(tmp_path / "ours"))
    assert again.config == model.config
    for name in model.config.tensor_shapes():
        assert np.array_equal(again.tensor(name), model.tensor(name)), name
    assert again.tokenizer is not None and model.tokenizer is not None
    assert again.tokenizer.encode("the boat") == model.tokenizer.encode("the boat")
    assert again.tokenizer.eos_ids == model.tokenizer.eos_ids


@pytest.mark.parametrize("family", SAVED)
def test_transformers_reads_the_products(family: str, tmp_path: Path) -> None:
    import torch
    from transformers import AutoModel, AutoModelForSeq2SeqLM

    SAVED[family](tmp_path / "theirs")
    made = compress(load_checkpoint(str(tmp_path / "theirs")), _recipe(Svd(rank=9, basis="plain")), tmp_path / "s")
    folder = made.folders[-1]
    kind: Any = AutoModel if family == "bert" else AutoModelForSeq2SeqLM
    stored = kind.from_pretrained(folder).state_dict()
    name = "model.layers.1.self_attn.v_proj.weight"
    a, b = (made.model.tensor(part) for part in factor_names(name))
    theirs = (
        "encoder.layer.1.attention.self.value.weight"
        if family == "bert"
        else ("model.decoder.layers.1.self_attn.v_proj.weight")
    )
    assert np.linalg.matrix_rank(b @ a) == 9
    assert torch.equal(stored[theirs], torch.from_numpy(b @ a))


@pytest.mark.parametrize("family", SAVED)
def test_folder_sizes_and_program_agree(family: str, tmp_path: Path, objects: Path) -> None:
    SAVED[family](tmp_path / "theirs")
    source = load_checkpoint(str(tmp_path / "theirs"))
    recipe = _recipe(Svd(rank=9, basis="plain", roles=ATTENTION), Svd(ratio=0.6, basis="plain", roles=("up", "down")))
    made = compress(source, recipe, tmp_path / "stages")
    loaded = load_checkpoint(str(made.folders[-1]))
    assert loaded.structure == made.model.structure != source.structure
    for tensor in made.model.stored_tensors():
        assert np.array_equal(loaded.tensor(tensor), made.model.tensor(tensor)), tensor
    products = [name for name in source.matrix_names() if name in loaded.factors]
    assert {role_of(name) for name in products} == {*ATTENTION, "up", "down"} and len(products) == len(
        source.matrix_names()
    )
    artifact = tiny_models.built(loaded, tmp_path / "out", objects, made=replace(recipe, stages=()))
    outcomes = verify(artifact, ("simulator", "host"))["backends"]
    assert [outcomes[backend]["mismatches"] for backend in ("simulator", "host")] == [0, 0]
    for program, graph in artifact.graphs.items():
        assert any(".factor_a" in node.name for node in graph.nodes), program
    planned, built = planned_model(source.config, [], recipe), quantize_model(made.model, recipe.quantize)
    known, real = (constants(each, 24) for each in (planned, built))
    assert {n: (a.shape, a.dtype) for n, a in known.items()} == {n: (a.shape, a.dtype) for n, a in real.items()}
    bare = sum(made.model.tensor(name).size for name in made.model.structure.shapes())
    assert dry_run(source.config, recipe)[-1].parameters == bare


@pytest.mark.parametrize("parts", [("encoder",), ("cross",), ("decoder", "cross"), ()])
def test_parts(parts: tuple[str, ...]) -> None:
    source = tiny_seq2seq.source(tiny_seq2seq.config())
    made = Svd(rank=7, basis="plain", roles=ATTENTION, parts=parts).run(source, work_for(source))
    wanted = {*(parts or ("encoder", "decoder", "cross"))}
    named = {n for n in source.matrix_names() if role_of(n) in ATTENTION and part_of(n) in wanted}
    assert set(made.factors) == named and {part_of(name) for name in named} == wanted
    layers = {"encoder": 3, "decoder": 2, "cross": 2}
    assert len(named) == sum(4 * layers[part] for part in wanted)


def test_blocks_are_counted_in_each_half() -> None:
    source = tiny_seq2seq.source(tiny_seq2seq.config())
    made = Svd(rank=7, basis="plain", roles=("q",), blocks=("1:2",)).run(source, work_for(source))
    layers = ("model.encoder.layers.1.self_attn", "model.layers.1.self_attn", "model.layers.1.cross_attn")
    assert set(made.factors) == {f"{layer}.q_proj.weight" for layer in layers}
    Svd(rank=7, basis="plain", blocks=("2:3",), parts=("encoder",)).shape(source.config)
    with pytest.raises(RecipeError, match=re.escape("2:3 is outside the model, which has 2 blocks")):
        Svd(rank=7, basis="plain", blocks=("2:3",)).shape(source.config)


@pytest.mark.parametrize(
    ("stage", "words", "bart"),
    [
        (Svd(rank=4), 'svd with basis "whitened" and guided needs a loss', False),
        (Svd(rank=4, basis="fisher"), 'svd with basis "fisher" needs a loss', False),
        (Svd(budget=0.5, basis="plain"), 'svd with sensitivity "gradient" needs a loss', False),
        (Svd(rank=4, basis="plain", refit=True), "svd with refit runs single blocks", True),
        (Svd(budget=0.5, basis="plain", sensitivity="measured"), "svd with measured losses runs", True),
    ],
)
def test_what_they_cannot_have_is_refused(stage: Svd, words: str, bart: bool) -> None:
    for source, refused in ((tiny_encoders.config(), True), (tiny_seq2seq.config(), bart)):
        assert bool(stage.encoder_refusal(source)) == refused
        for check in (dry_run, lambda config, recipe: planned_model(config, [], recipe)) if refused else ():
            with pytest.raises(RecipeError, match=words):
                check(source, _recipe(stage))


def test_parts_are_of_models_with_two() -> None:
    with pytest.raises(RecipeError, match="no 'head'; known: encoder, decoder, cross"):
        Svd(rank=4, parts=("head",))
    with pytest.raises(RecipeError, match="with an encoder and a decoder"):
        Svd(rank=4, parts=("cross",)).shape(tiny_models.config())


def test_budget_and_energy() -> None:
    source = tiny_seq2seq.source(tiny_seq2seq.config())
    work = work_for(source)
    made = Svd(budget=0.6, basis="plain", sensitivity="none").run(source, work)
    assert work.notes["budget"]["parameters"] <= 0.6 * work.notes["budget"]["dense_parameters"]
    assert {part_of(name) for name in made.factors} == {"encoder", "decoder", "cross"}
