"""The tokenizer inside a GGUF file, rebuilt from its metadata.

A GGUF file stores pieces, merges or scores, and the *name* of the rule that cuts text into words
(`tokenizer.ggml.pre`). The rules below are those of the models' own tokenizer.json; a name that is
not listed is refused, because a wrong rule gives other tokens only for some texts.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgec.errors import ModelError
from edgec.frontend.checkpoint import TextTokenizer
from edgec.frontend.checks import one_line
from edgec.frontend.llama2c_tokenizer import scored_bpe

if TYPE_CHECKING:
    from tokenizers import Tokenizer

LLAMA3_WORDS = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}"
    r"| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)
QWEN2_WORDS = LLAMA3_WORDS.replace(r"\p{N}{1,3}", r"\p{N}")
TEKKEN_WORDS = (
    r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+"
    r"|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*"
    r"|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)
REGEX_WORDS = {
    "llama-bpe": LLAMA3_WORDS,
    "llama3": LLAMA3_WORDS,
    "llama-v3": LLAMA3_WORDS,
    "qwen2": QWEN2_WORDS,
    "deepseek-r1-qwen": QWEN2_WORDS,
    "tekken": TEKKEN_WORDS,
}
DIGITS_APART = ("smollm", "starcoder", "refact", "command-r")  # GPT-2's words, each digit its own
GPT2 = ("gpt-2",)
WHOLE_WORDS_FIRST = (LLAMA3_WORDS, TEKKEN_WORDS)  # a word that is a token is not merged up to
NORMAL_FORM_C = ("qwen2", "deepseek-r1-qwen")
CONTROL, USER_DEFINED, BYTE = 3, 4, 6  # token types


def metadata_tokenizer(path: Path, metadata: Mapping[str, Any]) -> TextTokenizer:
    """The tokenizer that `metadata` describes. Raises ModelError if there is none or its rule is unknown."""
    values = {
        key.removeprefix("tokenizer.ggml."): v for key, v in metadata.items() if key.startswith("tokenizer.ggml.")
    }
    tokens = values.get("tokens")
    if not isinstance(tokens, list) or not tokens or not all(isinstance(token, str) for token in tokens):
        raise ModelError(f"{path} has no tokenizer (tokenizer.ggml.tokens); name one with --tokenizer.")
    types = values.get("token_type", [1] * len(tokens))
    if not isinstance(types, list) or len(types) != len(tokens) or len(set(tokens)) != len(tokens):
        raise ModelError(f"{path} has a damaged tokenizer: {len(tokens)} tokens, some twice or without a type.")
    kind = values.get("model")
    try:
        if kind == "gpt2":
            backend = _byte_level(path, values, tokens, types)
        elif kind == "llama":
            backend = _sentencepiece(path, values, tokens, types)
        else:
            raise ModelError(f"{path} has a tokenizer of kind {kind!r}; edgec knows gpt2 and llama.")
    except ModelError:
        raise
    except Exception as error:  # the tokenizers library raises bare Exception
        raise ModelError(f"{path} has a damaged tokenizer: {one_line(error)}.") from error
    bos = _token_id(path, values, tokens, "bos_token_id")
    ends = [_token_id(path, values, tokens, key) for key in ("eos_token_id", "eot_token_id", "eom_token_id")]
    # llama.cpp puts BOS in front for SentencePiece, Llama 3 and Tekken files that do not say otherwise.
    add_bos = bool(values.get("add_bos_token", kind == "llama" or _whole_words_first(values.get("pre"))))
    eos = tuple(dict.fromkeys(i for i in ends if i is not None))
    return TextTokenizer(backend, bos_id=bos, eos_ids=eos, add_bos=add_bos and bos is not None)


def _whole_words_first(rule: Any) -> bool:
    return isinstance(rule, str) and REGEX_WORDS.get(rule) in WHOLE_WORDS_FIRST


def _token_id(path: Path, values: Mapping[str, Any], tokens: list[str], key: str) -> int | None:
    value = values.get(key)
    if value is not None and (not isinstance(value, int) or not 0 <= value < len(tokens)):
        raise ModelError(f"{path} gives tokenizer.ggml.{key} as {value!r}, but has {len(tokens):,} tokens.")
    return value


def _byte_level(path: Path, values: Mapping[str, Any], tokens: list[str], types: list[int]) -> Tokenizer:
    """GPT-2's BPE over bytes, cut into words by the rule that `tokenizer.ggml.pre` names."""
    from tokenizers import Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers

    rule = values.get("pre")
    words: list[pre_tokenizers.PreTokenizer]
    if rule in REGEX_WORDS:
        words = [
            pre_tokenizers.Split(Regex(REGEX_WORDS[rule]), behavior="isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    elif rule in DIGITS_APART or rule in GPT2:
        digits = [pre_tokenizers.Digits(individual_digits=True)] if rule in DIGITS_APART else []
        words = [*digits, pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=True)]
    else:
        known = ", ".join([*REGEX_WORDS, *DIGITS_APART, *GPT2])
        raise ModelError(
            f"{path} splits words by the rule {rule!r}, edgec knows {known}; name another tokenizer with --tokenizer."
        )
    merges = [tuple(merge.split(" ")) for merge in values.get("merges", [])]
    if any(len(merge) != 2 for merge in merges):
        raise ModelError(f"{path} has a damaged tokenizer: a merge is not a pair.")
    vocab = {token: i for i, token in enumerate(tokens)}
    tokenizer = Tokenizer(models.BPE(vocab=vocab, merges=merges, ignore_merges=_whole_words_first(rule)))
    if rule in NORMAL_FORM_C:
        tokenizer.normalizer = normalizers.NFC()
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(words)
    tokenizer.decoder = decoders.ByteLevel()
    _add_special(tokenizer, tokens, types)
    return tokenizer


def _sentencepiece(path: Path, values: Mapping[str, Any], tokens: list[str], types: list[int]) -> Tokenizer:
    """SentencePiece's BPE from pieces and scores."""
    scores = values.get("scores")
    if not isinstance(scores, list) or len(scores) != len(tokens) or not all(map(math.isfinite, scores)):
        raise ModelError(f"{path} has a damaged tokenizer: {len(tokens):,} tokens need as many finite scores.")
    first_normal = types.index(BYTE) + 256 if BYTE in types else 0
    special = [i for i, kind in enumerate(types) if kind == CONTROL or i == values.get("unknown_token_id", 0)]
    tokenizer = scored_bpe(tokens, scores, special, first_normal, bool(values.get("add_space_prefix", True)))
    _add_special(tokenizer, tokens, [USER_DEFINED if kind == USER_DEFINED else 0 for kind in types])
    return tokenizer


def _add_special(tokenizer: Tokenizer, tokens: list[str], types: list[int]) -> None:
    """Control tokens are special (left out of decoded text); both they and the user's are never cut."""
    from tokenizers import AddedToken

    for kind, special in ((CONTROL, True), (USER_DEFINED, False)):
        group = [t for t, k in zip(tokens, types, strict=True) if k == kind]
        added = [AddedToken(token, normalized=False, special=special) for token in group]
        if special:
            tokenizer.add_special_tokens(added)
        else:
            tokenizer.add_tokens(added)
