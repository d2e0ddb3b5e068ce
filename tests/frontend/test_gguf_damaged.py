"""GGUF files that lie about themselves: one sentence, at once, without taking memory."""

from __future__ import annotations

import struct
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edgec.errors import ModelError
from edgec.frontend.gguf_header import read_gguf


def string(text: str) -> bytes:
    return struct.pack("<Q", len(text)) + text.encode()


def file(
    entries: list[bytes] | None = None,
    tensors: list[bytes] | None = None,
    magic: bytes = b"GGUF",
    version: int = 3,
    n_tensors: int | None = None,
    n_entries: int | None = None,
    data: int = 64,
) -> bytes:
    entries, tensors = entries or [], tensors or []
    counts = struct.pack(
        "<IQQ",
        version,
        len(tensors) if n_tensors is None else n_tensors,
        len(entries) if n_entries is None else n_entries,
    )
    head = magic + counts + b"".join(entries) + b"".join(tensors)
    return head + bytes(-len(head) % 32) + bytes(data)


def tensor(
    name: str = "t", sizes: tuple[int, ...] = (8, 2), kind: int = 0, offset: int = 0, rank: int | None = None
) -> bytes:
    rank = len(sizes) if rank is None else rank
    return string(name) + struct.pack(f"<I{len(sizes)}QIQ", rank, *sizes, kind, offset)


def array(inner: int, count: int) -> bytes:
    return string("k") + struct.pack("<IIQ", 9, inner, count)


SOUND = file([string("k") + struct.pack("<If", 6, 1.5)], [tensor()])
BAD: dict[str, tuple[bytes, str]] = {
    "empty": (b"", "empty"),
    "short": (b"GGUF", "24 bytes"),
    "magic": (file(magic=b"GGML"), "not a GGUF file"),
    "version 1": (file(version=1), "version 1"),
    "version 4": (file(version=4), "version 4"),
    "big-endian": (file(version=3 << 24), "big-endian"),
    "tensors": (file(n_tensors=1 << 60), "tensors"),
    "entries": (file(n_entries=1 << 60), "metadata"),
    "numbers": (file([array(4, 1 << 60)]), "'k'"),
    "strings": (file([array(8, 1 << 60)]), "'k'"),
    "no bytes": (file([array(0, 1 << 60)]), "'k'"),
    "nested": (file([array(9, 1)]), "unknown type 9"),
    "type of entry": (file([string("k") + struct.pack("<I", 77)]), "unknown type 77"),
    "key": (file([struct.pack("<Q", 1 << 60)], data=64), "metadata entry 0"),
    "value": (file([string("k") + struct.pack("<IQ", 8, 1 << 62)]), "'k'"),
    "rank": (file(tensors=[tensor(rank=1 << 31)]), "dimensions"),
    "rank 0": (file(tensors=[tensor(rank=0)]), "dimensions"),
    "size": (file(tensors=[tensor(sizes=(1 << 62, 1 << 62))]), "truncated"),
    "size 0": (file(tensors=[tensor(sizes=(0, 2))]), "tensor t"),
    "offset": (file(tensors=[tensor(offset=1 << 62)]), "truncated"),
    "block": (file(tensors=[tensor(kind=2)]), "multiple of 32"),
    "type of tensor": (file(tensors=[tensor(kind=999)]), "type 999"),
    "twice": (file(tensors=[tensor(), tensor()]), "twice"),
    "alignment": (file([string("general.alignment") + struct.pack("<II", 4, 0)]), "alignment"),
    "cut data": (file(tensors=[tensor()], data=63), "truncated"),
}


@pytest.mark.parametrize("case", BAD)
def test_refused(case: str, tmp_path: Path, refuses: Any) -> None:
    data, word = BAD[case]
    path = tmp_path / "bad.gguf"
    path.write_bytes(data)
    refuses(lambda: read_gguf(path), "bad.gguf", word)


def test_sound(tmp_path: Path) -> None:
    path = tmp_path / "good.gguf"
    path.write_bytes(SOUND)
    read = read_gguf(path)
    assert read.metadata == {"k": 1.5}
    assert read.tensors["t"].shape == (2, 8) and not read.tensors["t"].read().any()


def test_every_cut_is_noticed(tmp_path: Path, refuses: Any) -> None:
    path = tmp_path / "cut.gguf"
    for keep in range(len(SOUND)):
        path.write_bytes(SOUND[:keep])
        refuses(lambda: read_gguf(path), "cut.gguf")


def test_any_damage_is_a_sentence_or_harmless(tmp_path: Path) -> None:
    path = tmp_path / "fuzz.gguf"

    @settings(max_examples=300, deadline=None)
    @given(st.integers(0, len(SOUND) - 1), st.binary(min_size=1, max_size=8))
    def check(at: int, junk: bytes) -> None:
        path.write_bytes((SOUND[:at] + junk + SOUND[at + len(junk) :])[: len(SOUND)])
        try:
            for stored in read_gguf(path).tensors.values():
                stored.read()
        except ModelError as error:
            assert "\n" not in str(error) and str(error).endswith(".")

    check()
