"""Small tokenizers of every kind, made of the same words, and random texts of those words."""

from __future__ import annotations

import math
from collections import Counter

import numpy as np

from edgec.compress.token_parts import BYTES
from edgec.frontend.checkpoint import TextTokenizer
from edgec.frontend.llama2c_tokenizer import scored_bpe

TEXT = (
    "once upon a time there was little girl named lily she loved to play outside in the sunshine one day saw big red "
    "ball wanted see what inside so asked her mommy can i with it yes special happy and said thank you friend together "
    "running playing laughed unhappy friendly sunny rainy days stories storyteller garden gardener under over"
)
WORDS = TEXT.split()
KINDS = ("byte_level", "whole_words", "byte_fallback", "unigram", "unigram_bytes", "wordpiece", "wordlevel")


def text_of(seed: int, words: int) -> str:
    """Random words in sentences."""
    rng = np.random.default_rng(seed)
    return ". ".join(" ".join(rng.choice(WORDS, 6)) for _ in range(-(-words // 6))) + "."


def tokenizer_of(kind: str) -> TextTokenizer:
    """The tokenizer of a kind; BOS and EOS are added tokens, of which three more do nothing."""
    backend = {
        "byte_level": _byte_level,
        "whole_words": lambda: _byte_level(ignore_merges=True),
        "byte_fallback": _byte_fallback,
        "unigram": _unigram,
        "unigram_bytes": lambda: _unigram(bytes_too=True),
        "wordpiece": _wordpiece,
        "wordlevel": _wordlevel,
    }[kind]()
    from tokenizers import processors

    if kind != "byte_fallback":
        backend.add_special_tokens(["<s>", "</s>"])
    backend.add_special_tokens(["<|user|>", "<|tool|>", "<|reserved|>"])
    bos, eos = (backend.token_to_id(token) for token in ("<s>", "</s>"))
    backend.post_processor = processors.TemplateProcessing(single="<s> $A", special_tokens=[("<s>", bos)])
    return TextTokenizer(backend, bos, (eos,), True)


def _byte_level(ignore_merges: bool = False):
    """GPT-2's kind, merges learned from the words."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

    made = Tokenizer(models.BPE())
    made.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    made.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(vocab_size=460, initial_alphabet=alphabet, show_progress=False)
    made.train_from_iterator([text_of(1, 4000)], trainer)
    if not ignore_merges:
        return made
    vocab = made.get_vocab()
    vocab |= {token: len(vocab) + i for i, token in enumerate(("Ġunicorn", "Ġxyzzy"))}  # which no merge gives
    import json

    merges = [tuple(pair) for pair in json.loads(made.to_str())["model"]["merges"]]
    made.model = models.BPE(vocab, merges, ignore_merges=True)
    return made


def _pieces() -> list[tuple[str, int]]:
    """Starts and ends of words with how often they occur, by frequency."""
    counted: Counter[str] = Counter()
    for word in ("▁" + w.strip(".") + "." * w.endswith(".") for w in text_of(2, 4000).split()):
        counted.update({word[i:j] for i in range(len(word)) for j in range(i + 2, len(word) + 1)})
    return counted.most_common(300)


def _byte_fallback():
    """SentencePiece's BPE as llama2.c has it: every split of a piece is a merge."""
    letters = [*sorted(set("".join(WORDS))), "▁", "."]
    pieces = [p for p, _ in _pieces()] + letters
    scores = [0.0] * 259 + [-float(i) for i in range(len(pieces))]
    return scored_bpe(["<unk>", "<s>", "</s>", *BYTES, *pieces], scores, special=range(3), first_mergeable=259)


def _unigram(bytes_too: bool = False):
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers

    letters = [*sorted(set("".join(WORDS))), "▁", "."]
    total = sum(n for _, n in _pieces())
    pieces = [(p, math.log(n / total)) for p, n in _pieces()] + [(c, -12.0 - i / 10) for i, c in enumerate(letters)]
    pieces += [("▁neverseen", -20.0), ("nev", -14.0)]
    front = [("<unk>", 0.0), *((b, 0.0) for b in BYTES if bytes_too)]
    made = Tokenizer(models.Unigram(front + pieces, unk_id=0, byte_fallback=bytes_too))
    made.pre_tokenizer = pre_tokenizers.Metaspace()
    made.decoder = decoders.Sequence([decoders.ByteFallback(), decoders.Metaspace()])
    return made


def _wordpiece():
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers

    letters = sorted(set("".join(WORDS)))
    starts = dict.fromkeys(w[:n] for w in WORDS for n in range(2, len(w) + 1))
    ends = dict.fromkeys("##" + w[n:] for w in WORDS for n in range(1, len(w)) if len(w) - n > 1)
    tokens = ["[UNK]", ".", *letters, *("##" + c for c in letters), *starts, *ends]
    made = Tokenizer(models.WordPiece({t: i for i, t in enumerate(tokens)}, unk_token="[UNK]"))
    made.pre_tokenizer = pre_tokenizers.Whitespace()
    made.decoder = decoders.WordPiece()
    return made


def _wordlevel():
    from tokenizers import Tokenizer, models, pre_tokenizers

    ids = {token: (7 * i + 3) % (len(WORDS) + 2) for i, token in enumerate(["[UNK]", ".", *dict.fromkeys(WORDS)])}
    made = Tokenizer(models.WordLevel(ids, unk_token="[UNK]"))
    made.pre_tokenizer = pre_tokenizers.Whitespace()
    return made
