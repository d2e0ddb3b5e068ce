"""Remedies that trim the vocabulary: named where a tokenizer can have fewer tokens, and as small as said."""

from __future__ import annotations

import tomllib
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import tiny_models

from edgec.compress.rtn import quantize_matrix, quantize_model
from edgec.compress.shapes import planned_model
from edgec.compress.vocab import Vocab
from edgec.errors import RecipeError
from edgec.lower.programs import ready
from edgec.memory.plan import Plan
from edgec.planning import context_of, models, plan_model, remedies
from edgec.recipe import Recipe
from edgec.search import remedies as search
from edgec.search.options import ladders
from edgec.target import Target
from tests.compress.small_tokenizers import tokenizer_of
from tests.search.remedy_cases import BASE, CONFIG, pasted, sized


def test_a_smaller_vocabulary(tmp_path: Path) -> None:
    """Its ladder is of powers of two below the model's; the mildest that suffices is offered, with lines to paste."""
    large = replace(CONFIG, vocab_size=9000, tied_embeddings=True)
    model_of = partial(planned_model, large, ())

    def plan_of(recipe: Recipe, target: Target) -> Plan:
        model = model_of(recipe)
        return plan_model(ready(model), target, context_of(model.config.max_seq_len, recipe), recipe)[1]

    whole = plan_of(BASE, sized())
    target = sized(TILE=whole.used_bytes("TILE") - 330_000, L3=0)  # 72 B a token: 4,096 are few enough, 8,192 are not
    before = plan_of(BASE, target)
    listed = remedies(model_of, BASE, before)
    remedy = next(r for r in listed if r["change"].startswith("trim"))
    assert remedy["change"] == "trim vocabulary to 4,096"
    assert tomllib.loads(remedy["recipe"]) == {"stage": [{"method": "vocab", "size": 4096}]}
    after = plan_of(pasted(remedy, tmp_path), target)
    assert not after.deficits()
    assert search.used_bytes(before) - search.used_bytes(after) == remedy["saved_bytes"]
    assert 72 * (9000 - 4096) <= remedy["saved_bytes"] < 76 * (9000 - 4096)
    already = replace(BASE, stages=(Vocab(size=8192),))
    assert "vocab" not in ladders(already, model_of(already), False)
    assert "vocab" in ladders(BASE, model_of(BASE), True), "rows of packed matrices can go too"


def test_a_vocabulary_that_cannot_be_smaller_is_no_remedy() -> None:
    """No tokenizer, or one that must keep more."""
    source = tiny_models.checkpoint(replace(CONFIG, vocab_size=9000))
    built = quantize_model(source, BASE.quantize)
    fewer = replace(BASE, stages=(Vocab(size=4096),))
    with pytest.raises(RecipeError, match="no tokenizer"):
        models(replace(source, tokenizer=None), built, BASE)(fewer)
    with pytest.raises(RecipeError, match="the tokenizer has"):
        models(source, built, BASE)(fewer)


def test_a_smaller_vocabulary_of_matrices_that_stay_as_they_arrived() -> None:
    """Their widths and groups are kept; rows go."""
    source = tiny_models.checkpoint(replace(CONFIG, vocab_size=435))
    source = replace(source, tokenizer=tokenizer_of("byte_level"))
    matrices = [name for name, shape in source.config.tensor_shapes().items() if len(shape) == 2]
    source = source.with_packed({name: quantize_matrix(source.tensor(name), 6, 32)[0] for name in matrices})
    built = quantize_model(source, BASE.quantize)
    made = models(source, built, BASE)(replace(BASE, stages=(Vocab(size=300),)))
    assert made.config.vocab_size == 300
    for name, matrix in made.matrices.items():
        assert (matrix.bits, matrix.k) == (6, built.matrices[name].k)
        shape = made.config.tensor_shapes()[name]
        assert matrix.dequantized().shape == shape and np.array_equal(
            matrix.packed, built.matrices[name].packed[: shape[0]]
        )
