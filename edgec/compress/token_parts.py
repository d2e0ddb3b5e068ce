"""Which tokens a tokenizer needs so that others, and any text at all, still come out of it.

Removing tokens changes nothing about a text whose tokens are all left, together with their `parts`:

* BPE merges the pair of lowest rank, leftmost first. What is merged within a token of the result is what is merged when
  the token's characters stand alone: a pair that reaches over its edge never had the lowest rank. So the intermediate
  symbols of that one derivation are all that is needed. With fewer merges every step has fewer candidates, and the
  one that was taken is still there.
* Unigram takes the path of highest score; fewer pieces leave fewer paths. A character without a piece of its own
  becomes unknown, at a score that is below the lowest of all pieces by a constant: with the lowest piece still there,
  no path through such a character is better than it was.
* WordPiece takes the longest piece that matches, WordLevel whole words: nothing else is needed.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import cache
from itertools import pairwise
from math import inf
from typing import Any

from edgec.errors import RecipeError

SPACE = "▁"  # for which SentencePiece's normaliser changes a space; as three bytes it would not change back
BYTES = tuple(f"<0x{byte:02X}>" for byte in range(256))

Parts = Callable[[str], frozenset[str] | None]


def model_tokens(model: Mapping[str, Any]) -> list[str]:
    """Tokens of the "model" of a tokenizer.json, tokens added beside it not included.

    Raises RecipeError for a kind of model that is not known here.
    """
    kind = model.get("type")
    if kind not in ("BPE", "Unigram", "WordPiece", "WordLevel"):
        raise RecipeError(f"a tokenizer of the kind {kind} cannot be trimmed; BPE, Unigram, WordPiece, WordLevel can.")
    if kind == "BPE" and (model.get("continuing_subword_prefix") or model.get("end_of_word_suffix")):
        raise RecipeError("a BPE tokenizer that marks the inside or the end of words cannot be trimmed.")
    if kind == "Unigram":
        return [piece for piece, _ in model["vocab"]]
    return list(model["vocab"])


def alphabet(model: Mapping[str, Any]) -> set[str]:
    """Tokens with which every text is still represented as before: its bytes, or else all single characters.

    The characters of a byte-level tokenizer are its bytes.
    """
    tokens = set(model_tokens(model))
    found = {token for token in (SPACE, unknown(model)) if token in tokens}
    if model.get("byte_fallback"):
        found |= tokens.intersection(BYTES)
    if not model.get("byte_fallback") or not tokens.issuperset(BYTES):
        inside = model.get("continuing_subword_prefix") or ""
        found |= {token for token in tokens if len(token.removeprefix(inside)) == 1}
    if model["type"] == "Unigram":
        found.add(min(model["vocab"], key=lambda pair: pair[1])[0])
    return found


def spells_everything(model: Mapping[str, Any]) -> bool:
    """Whether a text is the same after encoding and decoding, whatever tokens beside the alphabet are gone."""
    return model["type"] == "BPE" or (bool(model.get("byte_fallback")) and set(model_tokens(model)).issuperset(BYTES))


def unknown(model: Mapping[str, Any]) -> str | None:
    """The token for what no other represents."""
    if model["type"] == "Unigram":
        return None if model.get("unk_id") is None else str(model["vocab"][model["unk_id"]][0])
    return model.get("unk_token")


def parts_of(model: Mapping[str, Any]) -> Parts:
    """A function from a token to the others that must be there for it to come out of a text.

    It gives None for a token that no text of its own gives.
    """
    return _merged_parts(model) if model["type"] == "BPE" else lambda token: frozenset()


def _merged_parts(model: Mapping[str, Any]) -> Parts:
    vocab = model["vocab"]
    ranks = {pair: rank for rank, pair in enumerate(merge_pairs(model))}

    @cache
    def parts(token: str) -> frozenset[str] | None:
        symbols = list(token)
        used = set(symbols)
        if not used <= vocab.keys():
            return None
        while len(symbols) > 1:
            ranked = [ranks.get((a, b), inf) for a, b in pairwise(symbols)]
            lowest = min(ranked)
            if lowest == inf:
                return None
            at = ranked.index(lowest)
            symbols[at : at + 2] = [symbols[at] + symbols[at + 1]]
            used.add(symbols[at])
        return frozenset(used) - {token}

    return parts


def merge_pairs(model: Mapping[str, Any]) -> list[tuple[str, str]]:
    """A BPE model's merges in the order of their ranks; older files write a pair as one string."""
    pairs = (merge.split(" ") if isinstance(merge, str) else merge for merge in model["merges"])
    return [(left, right) for left, right in pairs]
