"""Trimmed tokenizers: texts whose tokens are left have the same ones, and every text is still read and written."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest

from edgec.compress.token_choice import TokenChoice
from edgec.compress.token_parts import BYTES, alphabet, parts_of
from edgec.compress.trimmed_tokenizer import PROBE, check_same_text, trimmed_tokenizer
from edgec.errors import RecipeError
from edgec.frontend.checkpoint import TextTokenizer
from edgec.frontend.load import load_checkpoint
from tests.compress.small_tokenizers import KINDS, WORDS, text_of, tokenizer_of

LOSSLESS = ("byte_level", "whole_words", "byte_fallback", "unigram_bytes", "stories")


def kind_of(name: str) -> TextTokenizer:
    if name == "stories":
        found = load_checkpoint("stories").tokenizer
        assert found is not None
        return found
    return tokenizer_of(name)


def ids_in(tokenizer: TextTokenizer, text: str) -> list[int]:
    return list(tokenizer.backend.encode(text, add_special_tokens=False).ids)


def random_text(seed: int) -> str:
    """Up to 40 characters: anywhere in Unicode, control characters, emoji joined and with skins, words, spaces."""
    rng = np.random.default_rng(seed)
    chosen = []
    for _ in range(rng.integers(1, 40)):
        point = int(rng.choice([rng.integers(0x20), rng.integers(0x100), rng.integers(0x3000), rng.integers(0x110000)]))
        emoji = str(rng.choice(["👩\u200d🚀", "👍🏽", "🇨🇭", "❤\ufe0f", "🙂"]))
        chosen.append(str(rng.choice([chr(point), emoji, " ", "  ", "\n", "".join(rng.choice(WORDS, 1))])))
    # No lone surrogates, which are no text, and no U+2581, which SentencePiece reads as a space.
    return "".join(c for c in "".join(chosen) if not 0xD800 <= ord(c) < 0xE000 and c != "▁")


@pytest.mark.parametrize("kind", [*KINDS, "stories"])
def test_a_text_whose_tokens_are_left_has_the_same_ones(kind: str) -> None:
    """For many choices of tokens and many texts, each of which some choices cover and others do not."""
    old = kind_of(kind)
    texts = [text_of(seed, words=3) for seed in range(60)]
    covered = 0
    for seed in range(100, 108):
        ids = TokenChoice(old).used(text_of(seed, words=9 * (seed - 99)))
        new = trimmed_tokenizer(old, ids)
        assert new.backend.get_vocab_size() == len(ids) < old.backend.get_vocab_size()
        place = {token: row for row, token in enumerate(ids)}
        assert [old.backend.id_to_token(i) for i in ids] == [new.backend.id_to_token(i) for i in range(len(ids))]
        for text in texts:
            before, after = ids_in(old, text), ids_in(new, text)
            if place.keys() >= set(before):
                covered += 1
                assert after == [place[i] for i in before], (kind, text)
            else:
                assert after != [place.get(i) for i in before]
            assert new.decode(after) == old.decode(before) or (kind not in LOSSLESS and not place.keys() >= set(before))
    assert 0 < covered < 8 * len(texts)


@pytest.mark.parametrize("kind", LOSSLESS)
def test_any_text_comes_back(kind: str) -> None:
    old = kind_of(kind)
    new = trimmed_tokenizer(old, TokenChoice(old).used(text_of(3, 12)))
    beyond = 0
    for text in [PROBE, *map(random_text, range(300))]:
        after = ids_in(new, text)
        # Metaspace puts a space in front of a text that has none, and takes one away from every text.
        spelled = text.removeprefix(" ") if kind == "unigram_bytes" else text
        assert new.decode(after) == spelled == old.decode(ids_in(old, text))
        beyond += len(after) > len(ids_in(old, text))
    assert beyond > 10, "some texts must use tokens that are gone"


@pytest.mark.parametrize("kind", ["unigram", "wordpiece"])
def test_what_was_unknown_is_and_what_was_spelled_stays(kind: str) -> None:
    old = kind_of(kind)
    new = trimmed_tokenizer(old, TokenChoice(old).used("garden. "))
    assert new.decode(ids_in(new, "storyteller 漢 friendly")) == old.decode(ids_in(old, "storyteller 漢 friendly"))


@pytest.mark.parametrize("kind", ["byte_level", "byte_fallback"])
def test_a_merged_token_needs_all_its_parts(kind: str) -> None:
    """The closure is not larger than it must be."""
    old = kind_of(kind)
    data = json.loads(old.backend.to_str())
    parts = parts_of(data["model"])
    needed = 0
    for token in [t for t in old.backend.get_vocab() if t.strip("▁Ġ") in WORDS][:40]:
        for part in parts(token) or ():
            if part not in alphabet(data["model"]):
                rest = sorted(i for t, i in old.backend.get_vocab().items() if t != part)
                new = trimmed_tokenizer(old, rest)
                text = token.replace("▁", " ").replace("Ġ", " ")
                assert [new.backend.id_to_token(i) for i in ids_in(new, text)] != [token], (token, part)
                needed += 1
    assert needed > 40


@pytest.mark.parametrize("first", ["a", "e"])
def test_a_path_through_an_unknown_character_does_not_become_cheaper(first: str) -> None:
    """Unigram: "a" has a piece of score -60 that no path takes, "e" has none; unknown costs 10 more than any piece.

    Were the lowest piece gone, the path through an unknown character would win, at a score of -30 - 1.
    """
    from tokenizers import Tokenizer, decoders, models

    pieces = [(first + "b", -20.0), ("cd", -20.0), ("bcd", -1.0), ("a", -60.0), *((c, -15.0) for c in "bcd")]
    backend = Tokenizer(models.Unigram([("<unk>", 0.0), *((b, 0.0) for b in BYTES), *pieces], 0, byte_fallback=True))
    backend.decoder = decoders.ByteFallback()
    old = TextTokenizer(backend, None, (), False)
    ids = TokenChoice(old).used(first + "bcd")
    new = trimmed_tokenizer(old, sorted({*ids, backend.token_to_id("bcd")}))
    for tokenizer in (old, new):
        assert tokenizer.backend.encode(first + "bcd").tokens == [first + "b", "cd"]


def test_bos_end_and_what_surrounds_a_text_get_new_ids() -> None:
    old = tokenizer_of("byte_level")
    ids = TokenChoice(old, added=False).used("once upon")
    new = trimmed_tokenizer(old, ids)
    assert new.backend.token_to_id("<s>") == new.bos_id != old.bos_id
    assert [new.backend.id_to_token(i) for i in new.eos_ids] == ["</s>"]
    assert new.encode("once")[0] == new.backend.encode("once").ids[0] == new.bos_id
    assert new.backend.token_to_id("<|tool|>") is None and old.backend.token_to_id("<|tool|>") is not None
    with pytest.raises(RecipeError, match="texts begin or end"):
        trimmed_tokenizer(old, [i for i in ids if i != old.bos_id])


def test_all_forms_of_post_processors(monkeypatch: pytest.MonkeyPatch) -> None:
    from tokenizers import processors

    old = tokenizer_of("wordpiece")
    ends = [("</s>", old.eos_ids[0]), ("<s>", old.bos_id)]
    template = processors.TemplateProcessing(single="<|user|> $A", special_tokens=[("<|user|>", 362)])
    for made in (processors.BertProcessing(*ends), processors.RobertaProcessing(*ends)):
        old.backend.post_processor = processors.Sequence([made, template])
        new = trimmed_tokenizer(old, TokenChoice(old, added=False).used("garden"))
        tokens = new.backend.encode("garden").tokens
        assert tokens[0] == "<|user|>" and tokens[-1] == "</s>"
        assert new.backend.encode("garden").ids == [new.backend.token_to_id(token) for token in tokens]


def test_texts_that_read_special_tokens_as_letters_still_do() -> None:
    """A flag that tokenizer.json does not keep: llama2.c's files have it."""
    old = tokenizer_of("byte_fallback")
    old.backend.encode_special_tokens = True
    new = trimmed_tokenizer(old, TokenChoice(old).used("once"))
    assert len(ids_in(new, "<s>")) > 1 and new.decode(ids_in(new, "<s>")) == "<s>"


def test_a_merge_that_reaches_a_token_without_its_parts_is_found_out() -> None:
    """check_same_text is a proof: a choice without a token's parts fails it."""
    old = tokenizer_of("byte_level")
    text = text_of(5, 12)
    whole = TokenChoice(old).used(text)
    data = json.loads(old.backend.to_str())
    named = {old.backend.token_to_id(t): t for t in old.backend.get_vocab()}
    seen, always = set(ids_in(old, text)), TokenChoice(old).required
    part = next(i for i in whole if i not in seen and named[i] not in always)
    less = [i for i in whole if i != part]
    assert parts_of(data["model"])(named[part]) is not None
    with pytest.raises(RecipeError, match="reads a text differently"):
        check_same_text(old, trimmed_tokenizer(old, less), less, text)
    assert check_same_text(old, trimmed_tokenizer(old, whole), whole, text)[2] == 1


@pytest.mark.parametrize("change", [{"continuing_subword_prefix": "##"}, {"end_of_word_suffix": "</w>"}])
def test_kinds_that_are_not_known_are_refused(change: dict[str, str]) -> None:
    from tokenizers import Tokenizer

    old = tokenizer_of("byte_level")
    data = json.loads(old.backend.to_str())
    data["model"] |= change
    with pytest.raises(RecipeError, match="cannot be trimmed"):
        alphabet(data["model"])
    data["model"]["type"] = "Other"
    with pytest.raises(RecipeError, match="of the kind Other"):
        alphabet(data["model"])
    no_unknown = Tokenizer.from_str(tokenizer_of("wordlevel").backend.to_str().replace("[UNK]", "[unk]", 1))
    with pytest.raises(RecipeError, match="no token for unknown words"):
        TokenChoice(replace(old, backend=no_unknown)).used("once")
