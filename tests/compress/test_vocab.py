"""Vocabulary trimming: rows and tokens that are left, and logits that stay the same numbers."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edgec.compress.depth import Depth
from edgec.compress.pipeline import compress
from edgec.compress.quantized import QuantizedTensor
from edgec.compress.rtn import quantize_matrix
from edgec.compress.stage import Calibration, Work
from edgec.compress.token_parts import parts_of
from edgec.compress.vocab import Vocab
from edgec.compress.vocabulary import ROWS, ids_of, ranges_of, with_tokens
from edgec.errors import RecipeError
from edgec.recipe import Recipe
from edgec.simulate.reference import ReferenceRunner
from tests.compress.small_tokenizers import text_of
from tests.compress.vocab_cases import model_with, trim
from tests.tiny_models import planned, recipe


@pytest.fixture
def text(tmp_path: Path) -> Path:
    (tmp_path / "text.txt").write_text(text_of(0, 60))
    return tmp_path / "text.txt"


@pytest.mark.parametrize("tied", [True, False])
def test_rows_and_tokens_that_are_left(text: Path, tied: bool) -> None:
    model = model_with(tied_embeddings=tied)
    made, notes = trim(model, text)
    kept = ids_of(notes["kept"])
    assert made.config == replace(model.config, vocab_size=len(kept)) and len(kept) < model.config.vocab_size - 5
    for name in ROWS if not tied else ROWS[:1]:
        assert np.array_equal(made.tensor(name), model.tensor(name)[kept])
    assert (ROWS[1] in made) == (not tied)
    tokens = made.tokenizer.encode(text.read_text())
    assert [kept[i] for i in tokens] == model.tokenizer.encode(text.read_text())
    assert (notes["covered"], notes["tokens"], notes["tokens_after"]) == (1, len(tokens) - 1, len(tokens) - 1)
    assert notes["required"] == 256 + 5 and notes["text"] == "text.txt" and "/" not in json.dumps(notes)


@pytest.mark.parametrize("minimum", [False, True])
def test_packed_rows_are_taken_without_rounding(text: Path, minimum: bool) -> None:
    model = model_with(tied_embeddings=False)
    packed = {}
    for name in ROWS:
        packed[name] = quantize_matrix(model.tensor(name), 4, 32)[0]
        if minimum:
            lowest = np.random.default_rng(0).standard_normal(packed[name].scale.shape).astype(np.float16)
            packed[name] = replace(packed[name], zero=None, minimum=lowest)
    model = model.with_packed(packed)
    made, notes = trim(model, text, size=300)
    kept = ids_of(notes["kept"])
    assert len(kept) == 300
    for name in ROWS:
        rows: QuantizedTensor = made.packed[name]()
        assert np.array_equal(rows.dequantized(), packed[name].dequantized()[kept])
        assert np.array_equal(made.tensor(name), rows.dequantized())
        assert (rows.bits, rows.group_size, rows.k) == (4, 32, 36)
        for part in ("packed", "scale", "zero", "minimum"):
            before, after = getattr(packed[name], part), getattr(rows, part)
            assert (before is None and after is None) or np.array_equal(after, before[kept])


@pytest.mark.parametrize("kind", ["byte_level", "byte_fallback", "unigram", "wordpiece", "wordlevel"])
def test_a_size_is_met_exactly(text: Path, kind: str) -> None:
    model = model_with(kind)
    tokens = model.tokenizer.backend.get_vocab_size()
    _, everything = trim(model, text)
    least, used = everything["required"], len(ids_of(everything["kept"]))
    before: set[int] = set()
    for size in sorted({least, least + 1, (least + used) // 2, used, (used + tokens) // 2, tokens}):
        made, notes = trim(model, text, size=size)
        kept = set(ids_of(notes["kept"]))
        assert made.config.vocab_size == len(kept) == size == Vocab(size).shape(model.config).vocab_size
        assert made.tokenizer.backend.get_vocab_size() == size
        assert (notes["covered"] == 1) == (size >= used)
        if size in (least, used):
            assert before <= kept
        before = kept
    assert ids_of(trim(model, text, size=used)[1]["kept"]) == ids_of(everything["kept"])
    for size in (least - 1, tokens + 1):
        with pytest.raises(RecipeError, match=f"vocab.size is {size}; the tokenizer has {tokens} tokens, of which"):
            trim(model, text, size=size)


def test_frequent_tokens_stay_first(tmp_path: Path) -> None:
    """Each as soon as there is room for it, for its parts, and for all that is more frequent."""
    (tmp_path / "t.txt").write_text(" storyteller" * 10 + " garden" * 20 + " sunshine" * 30)
    model = model_with()
    choice = Vocab().choice(model.tokenizer)
    needed = set(choice.required)
    parts = parts_of(json.loads(choice.tokenizer.backend.to_str())["model"])
    for token in ("Ġsunshine", "Ġgarden", "Ġstoryteller"):
        number = choice.tokenizer.backend.token_to_id(token)
        needed |= {token, *(parts(token) or ())}
        for size, there in ((len(needed) - 1, False), (len(needed), True), (len(needed) + 1, True)):
            kept = ids_of(trim(model, tmp_path / "t.txt", size=size)[1]["kept"])
            assert (number in kept) == there, (token, size)


def test_texts_and_tokens_that_are_kept_in_any_case(text: Path, tmp_path: Path) -> None:
    (tmp_path / "short.txt").write_text("a")
    model = model_with()
    backend = model.tokenizer.backend
    made, notes = trim(
        model, tmp_path / "short.txt", keep=(" storyteller garden", "Ġsunshine", "<|tool|>"), added=False
    )
    kept = ids_of(notes["kept"])
    for token in ("Ġstoryteller", "Ġgarden", "Ġsunshine", "<|tool|>", "<s>", "</s>"):
        assert backend.token_to_id(token) in kept, token
    for token in ("<|user|>", "<|reserved|>", "Ġfriendly"):
        assert backend.token_to_id(token) not in kept
    assert len(made.tokenizer.encode(" storyteller garden")) == 3
    own, notes = trim(model, text, file=str(tmp_path / "short.txt"))
    assert own.config.vocab_size == notes["required"] and notes["text"] == "short.txt"


def test_logits_of_the_tokens_that_are_left_are_the_same_bits(text: Path) -> None:
    """As the chip computes them, with matrices rounded afterwards: rows are rounded one by one."""
    for tied in (True, False):
        model = model_with(tied_embeddings=tied)
        made, notes = trim(model, text, size=333)
        kept = ids_of(notes["kept"])
        runners = [ReferenceRunner(p.graphs, p.consts) for p in (planned(m, "host", recipe()) for m in (model, made))]
        for runner, ids in zip(runners, ([kept[i] for i in (5, 300, 7, 261)], [5, 300, 7, 261]), strict=True):
            runner.prefill(ids)
        assert np.array_equal(runners[1].logits, runners[0].logits[kept])
        assert runners[0].logits.shape == (model.config.vocab_size,)


@pytest.mark.parametrize(
    ("options", "change", "words"),
    [
        ({}, {"tokenizer": None}, "has no tokenizer, so no token can go; name one with --tokenizer"),
        ({"size": 1000}, {}, "vocab.size is 1,000; the tokenizer has 435 tokens"),
        ({"size": 100}, {}, "vocab.size is 100; the tokenizer has 435 tokens, of which 261 must stay"),
        ({"size": 438}, {}, "the tokenizer has 435 tokens"),  # there are rows, but no tokens
        ({"file": "nowhere.txt"}, {}, "nowhere.txt does not exist"),
    ],
)
def test_what_is_impossible_is_one_sentence_before_any_stage(
    options: dict[str, Any], change: dict[str, Any], words: str, text: Path, tmp_path: Path
) -> None:
    model = replace(model_with(), **change)
    stages = (Depth(remove=(0,)), Vocab(**options))
    with pytest.raises(RecipeError, match=words) as caught:
        compress(model, Recipe(stages=stages, calibration=Calibration(str(text))), tmp_path / "out")
    assert "\n" not in str(caught.value) and not (tmp_path / "out").exists()


def test_no_text_and_an_end_without_a_token(text: Path) -> None:
    model = model_with()
    with pytest.raises(RecipeError, match=r"name one with vocab.file or --calibration"):
        Vocab().run(model, Work(lambda: model))
    with pytest.raises(RecipeError, match="a number of tokens"):
        Vocab(size=-1)
    beyond = replace(model.tokenizer, eos_ids=(438,))
    with pytest.raises(RecipeError, match="with token 438, which the tokenizer does not have"):
        trim(replace(model, tokenizer=beyond), text)


def test_ranges() -> None:
    for ids in ([], [3], [0, 1, 2, 5, 7, 8], list(range(1000))):
        assert ids_of(ranges_of(ids)) == ids
    assert ranges_of([0, 1, 2, 5, 7, 8]) == "0-2 5 7-8"


def test_a_model_without_tokenizer_keeps_rows() -> None:
    """A teacher may have none."""
    model = replace(model_with(), tokenizer=None)
    made = with_tokens(model, [1, 5])
    assert made.tokenizer is None and np.array_equal(made.tensor(ROWS[0]), model.tensor(ROWS[0])[[1, 5]])
