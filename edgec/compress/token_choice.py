"""Which tokens of a vocabulary are left: those that must stay, and then those that a text uses most."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from edgec.compress.token_parts import Parts, alphabet, parts_of, unknown
from edgec.errors import RecipeError
from edgec.frontend.checkpoint import TextTokenizer


@dataclass(frozen=True)
class TokenChoice:
    """The tokens of a tokenizer, and a choice among them.

    keep: texts, or tokens as the tokenizer spells them, of which every token stays. added: so do all tokens that were
    added beside the model's own; otherwise those only that the text, `keep`, or the ends of texts need.
    """

    tokenizer: TextTokenizer
    keep: tuple[str, ...] = ()
    added: bool = True

    @cached_property
    def required(self) -> set[str]:
        """Tokens that stay whatever the text is. Raises RecipeError for a tokenizer that no token can leave."""
        backend, model = self.tokenizer.backend, self._data["model"]
        found = alphabet(model)
        if model["type"] in ("WordLevel", "WordPiece") and unknown(model) not in model["vocab"]:
            raise RecipeError("this tokenizer has no token for unknown words, so none of its words can go.")
        ids = [i for i in (self.tokenizer.bos_id, *self.tokenizer.eos_ids) if i is not None]
        if nameless := [i for i in ids if i not in self._named]:
            raise RecipeError(f"texts begin or end with token {nameless[0]}, which the tokenizer does not have.")
        ids += _ids_in(self._data["post_processor"])
        for text in self.keep:
            exact = self._numbers.get(text)
            ids += backend.encode(text, add_special_tokens=False).ids if exact is None else [exact]
        if self.added:
            found |= {token["content"] for token in self._data["added_tokens"]}
        return found | _closure([self._named[i] for i in ids], self._parts)

    def check(self, size: int) -> None:
        """Raise RecipeError if the tokenizer cannot have `size` tokens."""
        if not len(self.required) <= size <= len(self._numbers):
            raise RecipeError(
                f"vocab.size is {size:,}; the tokenizer has {len(self._numbers):,} tokens, of which "
                f"{len(self.required):,} must stay: bytes or characters, the ends of texts, and tokens added beside "
                "the model's own."
            )

    def used(self, text: str) -> list[int]:
        """Ids of the required tokens and all that a text uses, with their parts, ascending."""
        return self._ids(self.required | _closure(self._by_frequency(text), self._parts))

    def most_used(self, text: str, size: int) -> list[int]:
        """Ids of `size` tokens, ascending: the required ones, the text's most frequent ones, the first of the others.

        Raises RecipeError for a size that the tokenizer cannot have.
        """
        self.check(size)
        seen = self._by_frequency(text)
        others = [self._named[i] for i in sorted(self._named.keys() - {self._numbers[token] for token in seen})]
        others.sort(key=lambda token: self._parts(token) is None)  # what no text gives comes last
        return self._ids(_filled(self.required, [*seen, *others], self._parts, size))

    def _by_frequency(self, text: str) -> list[str]:
        counted = Counter(self.tokenizer.backend.encode(text, add_special_tokens=False).ids)
        return [self._named[i] for i, _ in sorted(counted.items(), key=lambda pair: (-pair[1], pair[0]))]

    def _ids(self, tokens: Iterable[str]) -> list[int]:
        return sorted(self._numbers[token] for token in tokens)

    @cached_property
    def _data(self) -> dict[str, Any]:
        return dict(json.loads(self.tokenizer.backend.to_str()))

    @cached_property
    def _numbers(self) -> dict[str, int]:
        return self.tokenizer.backend.get_vocab(with_added_tokens=True)

    @cached_property
    def _named(self) -> dict[int, str]:
        return {i: token for token, i in self._numbers.items()}

    @cached_property
    def _parts(self) -> Parts:
        return parts_of(self._data["model"])


def _closure(tokens: Iterable[str], parts: Parts) -> set[str]:
    """The tokens and all that they are made from."""
    found = set(tokens)
    return found.union(*(parts(token) or () for token in found))


def _filled(required: set[str], order: Sequence[str], parts: Parts, size: int) -> set[str]:
    """`size` tokens: the required ones, then each of `order` for which, with its parts, there is still room.

    A token whose parts did not fit is tried again: in the end those whose parts are all there fill the last places.
    """
    kept = set(required)
    while len(kept) < size:
        for token in order:
            new = _closure([token], parts) - kept
            if len(kept) + len(new) <= size:
                kept |= new
            if len(kept) == size:
                break
    return kept


def _ids_in(processor: Any) -> list[int]:
    """Tokens that a post-processor puts around a text."""
    if processor is None:
        return []
    found = [i for part in processor.get("processors", ()) for i in _ids_in(part)]
    found += [i for token in processor.get("special_tokens", {}).values() for i in token["ids"]]
    return found + [processor[end][1] for end in ("sep", "cls") if end in processor]
