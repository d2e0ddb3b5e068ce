"""Tokenizers given as pieces with scores: llama2.c's `tokenizer.bin`, and SentencePiece BPE in general.

The file is little-endian: int32 longest piece, then for each token float32 score, int32 length, and
the piece in UTF-8. Tokens 0, 1, 2 are <unk>, BOS and EOS, 3 to 258 stand for the bytes.
"""

from __future__ import annotations

import math
import struct
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from edgec.errors import ModelError

if TYPE_CHECKING:
    from tokenizers import Tokenizer

SPECIAL = ["<unk>", "<s>", "</s>"]
BOS, EOS, FIRST_BYTE = 1, 2, 3
MAX_TOKENS = 1 << 20
MAX_PIECE = 1 << 12  # bytes


def read_llama2c_tokenizer(path: str | Path) -> Tokenizer:
    """The tokenizer of a llama2.c `.bin` file, encoding as llama2.c does.

    A text with U+2581 is the one exception: as in SentencePiece, that character reads as a space.
    Raises ModelError if the file is not such a tokenizer.
    """
    from tokenizers import processors

    path = Path(path)
    try:
        data = path.read_bytes()
    except OSError as error:
        raise ModelError(f"{path} cannot be read: {error.strerror or error}.") from error
    pieces, scores = _read_pieces(path, data)
    expected = [f"<0x{byte:02X}>" for byte in range(256)]
    if pieces[FIRST_BYTE : FIRST_BYTE + 256] != expected:
        raise ModelError(f"{path} is not a llama2.c tokenizer: tokens 3 to 258 must be <0x00> to <0xFF>.")
    pieces = SPECIAL + [piece.replace(" ", "▁") for piece in pieces[FIRST_BYTE:]]
    if len(set(pieces)) != len(pieces):
        twice = next(piece for i, piece in enumerate(pieces) if piece in pieces[:i])
        raise ModelError(f"{path} holds the piece {twice!r} twice.")
    tokenizer = scored_bpe(pieces, scores, special=range(len(SPECIAL)), first_mergeable=FIRST_BYTE + 256)
    tokenizer.post_processor = processors.TemplateProcessing(
        single="<s> $A", pair="<s> $A <s> $B", special_tokens=[("<s>", BOS)]
    )
    tokenizer.encode_special_tokens = True  # llama2.c reads "<s>" in a text as three letters
    return tokenizer


def scored_bpe(
    pieces: Sequence[str],
    scores: Sequence[float],
    special: Sequence[int],
    first_mergeable: int = 0,
    prefix_space: bool = True,
) -> Tokenizer:
    """SentencePiece's BPE over `pieces` (spaces spelled ▁): merge the pair whose result scores best, leftmost first.

    Tokenizers rank pairs instead of results, so each piece contributes all its splits, best piece
    first. Characters outside the vocabulary become byte tokens.
    """
    from tokenizers import AddedToken, Tokenizer, decoders, models, normalizers

    vocab = {piece: i for i, piece in enumerate(pieces)}
    skipped = set(special)
    ranked = sorted((i for i in range(first_mergeable, len(pieces)) if i not in skipped), key=lambda i: (-scores[i], i))
    splits = ((pieces[i][:k], pieces[i][k:]) for i in ranked for k in range(1, len(pieces[i])))
    merges = [(left, right) for left, right in splits if left in vocab and right in vocab]
    unknown = pieces[0] if 0 in skipped else None
    tokenizer = Tokenizer(models.BPE(vocab=vocab, merges=merges, unk_token=unknown, fuse_unk=True, byte_fallback=True))
    tokenizer.add_special_tokens([AddedToken(pieces[i], special=True, normalized=False) for i in special])
    prefix = [normalizers.Prepend("▁")] if prefix_space else []
    tokenizer.normalizer = normalizers.Sequence([*prefix, normalizers.Replace(" ", "▁")])
    strip = [decoders.Strip(" ", 1, 0)] if prefix_space else []
    tokenizer.decoder = decoders.Sequence(
        [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse(), *strip]
    )
    return tokenizer


def _read_pieces(path: Path, data: bytes) -> tuple[list[str], list[float]]:
    """Pieces and scores of the file, every length checked against what is left of it."""
    pieces: list[str] = []
    scores: list[float] = []
    at = 4
    while at < len(data) and len(pieces) <= MAX_TOKENS:
        if at + 8 > len(data):
            raise ModelError(f"{path} ends at byte {len(data):,} inside the header of token {len(pieces)}.")
        score, size = struct.unpack_from("<fi", data, at)
        at += 8
        if not 0 <= size <= MAX_PIECE or not math.isfinite(score):
            raise ModelError(f"{path} is not a llama2.c tokenizer: token {len(pieces)} claims {size:,} bytes.")
        if at + size > len(data):
            raise ModelError(f"{path} ends at byte {len(data):,} inside token {len(pieces)}, which needs {size} bytes.")
        try:
            pieces.append(data[at : at + size].decode())
        except UnicodeDecodeError as error:
            raise ModelError(f"{path} is not a llama2.c tokenizer: token {len(pieces)} is not UTF-8.") from error
        scores.append(score)
        at += size
    if not FIRST_BYTE + 256 <= len(pieces) <= MAX_TOKENS:
        raise ModelError(f"{path} is not a llama2.c tokenizer: it holds {len(pieces)} tokens, at least 259 are needed.")
    return pieces, scores
