"""llama2.c's tokenizer: the same ids as its C code on any text, and damaged files refused."""

from __future__ import annotations

import struct
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edgec.frontend.llama2c import text_tokenizer
from edgec.frontend.llama2c_tokenizer import read_llama2c_tokenizer

STORIES = Path(__file__).resolve().parents[2].parent / "shared" / "data" / "models" / "stories260K" / "tok512.bin"
MERGED = [" t", "he", " the", "ab", "aba", "bab", "aa", "aaa", "  ", "    ", " a", "<s", "ba", "s>", "th", " th"]
LETTERS = [*" abehst<>", "é", "🙂"]
WORDS = st.lists(st.sampled_from([*"abths <>\n\t0é🙂∂", "the", "  ", "<s>", "</s>", "<0x41>", "aaaa", "abab"]))


def write(path: Path, pieces: list[tuple[float, bytes]]) -> Path:
    longest = max((len(piece) for _, piece in pieces), default=0)
    entries = (struct.pack("<fi", score, len(piece)) + piece for score, piece in pieces)
    path.write_bytes(struct.pack("<i", longest) + b"".join(entries))
    return path


def small_vocabulary() -> list[tuple[float, bytes]]:
    special = [
        (0.0, b"<unk>"),
        (0.0, b"\n<s>\n"),
        (0.0, b"\n</s>\n"),
        *((0.0, f"<0x{i:02X}>".encode()) for i in range(256)),
    ]
    return special + [(-float(i), piece.encode()) for i, piece in enumerate([*MERGED, *LETTERS])]


def llama2c_encode(pieces: list[tuple[float, bytes]], text: str) -> list[int]:
    """encode() of llama2.c's run.c, line by line, without BOS."""
    ids = {piece: i for i, (_, piece) in enumerate(pieces)}
    tokens = [ids[b" "]] if text else []
    for letter in text:
        encoded = letter.encode()
        tokens += [ids[encoded]] if encoded in ids else [byte + 3 for byte in encoded]
    while True:
        best_score, best_id, best_at = -1e10, -1, -1
        for at in range(len(tokens) - 1):
            merged = ids.get(pieces[tokens[at]][1] + pieces[tokens[at + 1]][1])
            if merged is not None and pieces[merged][0] > best_score:
                best_score, best_id, best_at = pieces[merged][0], merged, at
        if best_at < 0:
            return tokens
        tokens[best_at : best_at + 2] = [best_id]


def pieces_of(path: Path) -> list[tuple[float, bytes]]:
    data, at, pieces = path.read_bytes(), 4, []
    while at < len(data):
        score, size = struct.unpack_from("<fi", data, at)
        pieces.append((score, data[at + 8 : at + 8 + size]))
        at += 8 + size
    return pieces


@pytest.fixture(scope="module", params=["small", "stories"])
def file(request: Any, tmp_path_factory: Any) -> Path:
    if request.param == "small":
        return write(tmp_path_factory.mktemp("tokenizer") / "tok.bin", small_vocabulary())
    if not STORIES.is_file():
        pytest.skip("tok512.bin is not in ../shared/data")
    return STORIES


def test_any_text_encodes_as_in_c(file: Path) -> None:
    """U+2581 stands for a space inside the tokenizer and is left out, and NUL ends a text in C."""
    tokenizer, pieces = read_llama2c_tokenizer(file), pieces_of(file)
    text = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="▁\0"))

    @settings(max_examples=200, deadline=None)
    @given(st.one_of(text, WORDS.map("".join)))
    def check(text: str) -> None:
        ids = tokenizer.encode(text, add_special_tokens=False).ids
        assert ids == llama2c_encode(pieces, text)
        assert tokenizer.decode(ids) == text

    check()


def test_ids_for_generation(file: Path) -> None:
    tokenizer = text_tokenizer(file)
    ids = tokenizer.encode("the <s>")
    assert ids[0] == tokenizer.bos_id == 1 and tokenizer.eos_ids == (1, 2)
    assert 1 not in ids[1:]
    assert tokenizer.decode(ids) == "the <s>"
    assert tokenizer.backend.encode("the").ids[0] == 1  # also as the tokenizer itself says


@pytest.mark.parametrize("keep", [0, 4, 9, 3000, -1])
def test_truncated(keep: int, tmp_path: Path, refuses: Any) -> None:
    path = write(tmp_path / "tok.bin", small_vocabulary())
    path.write_bytes(path.read_bytes()[:keep])
    refuses(lambda: read_llama2c_tokenizer(path), "tok.bin")


@pytest.mark.parametrize(
    ("at", "piece", "word"),
    [
        (5, (0.0, b"x"), "<0x00>"),
        (300, (0.0, b"ab"), "twice"),
        (261, (float("nan"), b"q"), "261"),
        (262, (0.0, b"\xff"), "UTF-8"),
    ],
)
def test_damaged(at: int, piece: tuple[float, bytes], word: str, tmp_path: Path, refuses: Any) -> None:
    pieces = small_vocabulary()
    pieces[at : at + 1] = [piece]
    path = write(tmp_path / "tok.bin", pieces)
    refuses(lambda: read_llama2c_tokenizer(path), "tok.bin", word)


def test_absurd_length_and_missing_file(tmp_path: Path, refuses: Any) -> None:
    path = tmp_path / "tok.bin"
    path.write_bytes(struct.pack("<ifi", 7, 0.0, 2**31 - 1) + bytes(20))
    refuses(lambda: read_llama2c_tokenizer(path), "tok.bin", "2,147,483,647")
    refuses(lambda: read_llama2c_tokenizer(tmp_path / "none.bin"), "none.bin")
