"""Vocabulary trimming: tokens that a text does not use leave the embedding, the head and the tokenizer.

    size = 4096        so many tokens are left: those that must stay, then the most frequent ones, then, if the text has
                       no more, the first of the others
    size = 0           all that the text uses

The idea is that of Abdaoui et al. 2020 (arXiv 2010.05609) and Ushio et al. 2023 (arXiv 2305.15020). What always stays:
tokens for bytes (or for single characters), so that any text is still read; BOS, end and unknown tokens and those added
beside the model's own, such as chat markers; and what a kept token is merged from (compress/token_parts.py). So a text
whose tokens are all left has the same ones as before, under new numbers in the old order.

No weight changes: logits of the tokens that are left are the same numbers, in float and as the chip computes them.
"""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, ClassVar

from edgec.compress.stage import Calibration, Work
from edgec.compress.token_parts import Parts, alphabet, parts_of, unknown
from edgec.compress.trimmed_tokenizer import check_same_text, trimmed_tokenizer
from edgec.compress.vocabulary import original_tokens, ranges_of, with_tokens
from edgec.errors import RecipeError
from edgec.frontend.checkpoint import Checkpoint, ModelConfig, TextTokenizer


@dataclass(frozen=True)
class Vocab:
    """How many tokens are left, by which text, and what stays in any case."""

    method: ClassVar[str] = "vocab"
    size: int = 0  # tokens; 0: all that the text uses
    file: str = ""  # the text whose tokens are counted; "": the calibration text
    keep: tuple[str, ...] = ()  # texts, or tokens as the tokenizer spells them, of which every token stays
    added: bool = True  # false: of the tokens added beside the model's own only those in use stay

    def __post_init__(self) -> None:
        if self.size < 0:
            raise RecipeError(f"vocab.size is {self.size}; it is a number of tokens, or 0 for all that the text uses.")

    def shape(self, config: ModelConfig) -> ModelConfig:
        """The model's with `size` tokens. Raises RecipeError if it has not as many, and for size 0: see `settled`."""
        if not self.size:
            raise RecipeError(
                "how many tokens vocab.size = 0 leaves depends on the text and the tokenizer, which a configuration "
                "does not have; set vocab.size."
            )
        if self.size > config.vocab_size:
            raise RecipeError(f"vocab.size is {self.size:,}, but the model has {config.vocab_size:,} tokens only.")
        return replace(config, vocab_size=self.size)

    def run(self, model: Checkpoint, work: Work) -> Checkpoint:
        """The model with fewer tokens.

        work.notes get `kept`, the tokens that are left as ids of the model before any trimming, `required`, how many of
        them had to stay, and of the text its `tokens` before, `tokens_after`, and `covered`, the share of those before
        that are left. Raises RecipeError without a text or tokenizer, and for a size below what must stay.
        """
        work.say("count tokens", 0, 1)
        text = self.text(work.calibration)
        ids, required = self.choose(model.tokenizer, text)
        made = with_tokens(model, ids)
        assert model.tokenizer is not None and made.tokenizer is not None
        work.say("compare texts", 0, 1)
        before, after, covered = check_same_text(model.tokenizer, made.tokenizer, ids, text)
        first = original_tokens(model.stages) or range(model.config.vocab_size)
        work.notes |= {
            "kept": ranges_of([first[i] for i in ids]),
            "required": required,
            "text": Path(self.file or work.calibration.file).name,
            "text_sha256": hashlib.sha256(text.encode()).hexdigest(),
            "tokens": before,
            "tokens_after": after,
            "covered": float(f"{covered:.6g}"),
        }
        return made

    def text(self, calibration: Calibration) -> str:
        """The text whose tokens are counted. Raises RecipeError if none is named or it cannot be read."""
        from edgec.compress.calibration import read_text

        file = self.file or calibration.file
        if not file:
            raise RecipeError("vocab counts the tokens of a text; name one with vocab.file or --calibration.")
        return read_text(file)

    def choose(self, tokenizer: TextTokenizer | None, text: str) -> tuple[list[int], int]:
        """Ids of the tokens that are left, ascending, and how many of them had to stay."""
        if tokenizer is None:
            raise RecipeError("the checkpoint has no tokenizer, so no token can go; name one with --tokenizer.")
        backend = tokenizer.backend
        data = json.loads(backend.to_str())
        numbers = backend.get_vocab(with_added_tokens=True)
        named = {i: token for token, i in numbers.items()}
        counted = Counter(backend.encode(text, add_special_tokens=False).ids)
        parts = parts_of(data["model"])
        kept = self._required(tokenizer, data, named, parts)
        required = len(kept)
        if self.size and not required <= self.size <= len(named):
            raise RecipeError(
                f"vocab.size is {self.size:,}; this tokenizer has {len(named):,} tokens, of which {required:,} must "
                "stay: bytes or characters, the ends of texts, and tokens added beside the model's own."
            )
        seen = [named[i] for i, _ in sorted(counted.items(), key=lambda pair: (-pair[1], pair[0]))]
        if not self.size:
            return sorted(numbers[token] for token in kept | _closure(seen, parts)), required
        others = [named[i] for i in sorted(named.keys() - counted.keys())]
        # What no text gives is of least use.
        fill = [t for t in others if parts(t) is not None] + [t for t in others if parts(t) is None]
        return sorted(numbers[token] for token in _filled(kept, [*seen, *fill], parts, self.size)), required

    def _required(
        self, tokenizer: TextTokenizer, data: dict[str, Any], named: dict[int, str], parts: Parts
    ) -> set[str]:
        """Tokens that stay whatever the text is."""
        backend = tokenizer.backend
        model = data["model"]
        found = alphabet(model)
        if model["type"] in ("WordLevel", "WordPiece") and unknown(model) not in model["vocab"]:
            raise RecipeError("this tokenizer has no token for unknown words, so none of its words can go.")
        ids = [i for i in (tokenizer.bos_id, *tokenizer.eos_ids) if i is not None]
        if nameless := [i for i in ids if i not in named]:
            raise RecipeError(f"texts begin or end with token {nameless[0]}, which the tokenizer does not have.")
        ids += _ids_in(data["post_processor"])
        for text in self.keep:
            ids += backend.encode(text, add_special_tokens=False).ids
            exact = backend.token_to_id(text)
            ids += [] if exact is None else [exact]
        found |= _closure([named[i] for i in ids], parts)
        return found | ({token["content"] for token in data["added_tokens"]} if self.added else set())


def _closure(tokens: Iterable[str], parts: Parts) -> set[str]:
    """The tokens and all that they are made from."""
    found = set(tokens)
    return found.union(*(parts(token) or () for token in found))


def _filled(kept: set[str], order: list[str], parts: Parts, size: int) -> set[str]:
    """`size` tokens: `kept`, then each of `order` for which, with its parts, there is still room.

    A token whose parts did not fit is tried again: in the end those whose parts are all there fill the last places.
    """
    kept = set(kept)
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


def settled(stages: tuple[Any, ...], model: Checkpoint, calibration: Calibration) -> tuple[Any, ...]:
    """The stages with a size wherever it depends on the text, so that every shape is known before the first one runs.

    Raises RecipeError for what a vocab stage will find impossible.
    """
    made = []
    tokenizer = model.tokenizer
    for stage in stages:
        if isinstance(stage, Vocab):
            ids, _ = stage.choose(tokenizer, stage.text(calibration))
            assert tokenizer is not None
            tokenizer = trimmed_tokenizer(tokenizer, ids)
            stage = replace(stage, size=len(ids))
        made.append(stage)
    return tuple(made)


STAGE = Vocab
