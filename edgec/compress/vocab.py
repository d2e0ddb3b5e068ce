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
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, ClassVar

from edgec.compress.stage import Calibration, Work
from edgec.compress.token_choice import TokenChoice
from edgec.compress.trimmed_tokenizer import check_same_text, trimmed_tokenizer
from edgec.compress.vocabulary import original_tokens, ranges_of, with_tokens
from edgec.errors import RecipeError
from edgec.frontend.checkpoint import Checkpoint, TextTokenizer
from edgec.frontend.model_config import ModelConfig


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
        ids = self.choose(model.tokenizer, text)
        made = with_tokens(model, ids)
        assert model.tokenizer is not None and made.tokenizer is not None
        work.say("compare texts", 0, 1)
        before, after, covered = check_same_text(model.tokenizer, made.tokenizer, ids, text)
        first = original_tokens(model.stages) or range(model.config.vocab_size)
        work.notes |= {
            "kept": ranges_of([first[i] for i in ids]),
            "required": len(self.choice(model.tokenizer).required),
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

    def choice(self, tokenizer: TextTokenizer | None) -> TokenChoice:
        """What can be chosen from. Raises RecipeError without a tokenizer, and for a size that it cannot have."""
        if tokenizer is None:
            raise RecipeError("the checkpoint has no tokenizer, so no token can go; name one with --tokenizer.")
        made = TokenChoice(tokenizer, self.keep, self.added)
        if self.size:
            made.check(self.size)
        return made

    def choose(self, tokenizer: TextTokenizer | None, text: str) -> list[int]:
        """Ids of the tokens that are left, ascending."""
        choice = self.choice(tokenizer)
        return choice.most_used(text, self.size) if self.size else choice.used(text)


def settled(stages: tuple[Any, ...], model: Checkpoint, calibration: Calibration) -> tuple[Any, ...]:
    """The stages with a size wherever it depends on the text, so that every shape is known before the first one runs.

    Raises RecipeError for what a vocab stage will find impossible.
    """
    made = []
    tokenizer = model.tokenizer
    for stage in stages:
        if isinstance(stage, Vocab):
            ids = stage.choose(tokenizer, stage.text(calibration))
            assert tokenizer is not None
            tokenizer = trimmed_tokenizer(tokenizer, ids)
            stage = replace(stage, size=len(ids))
        made.append(stage)
    return tuple(made)


STAGE = Vocab
