"""load_checkpoint picks the front end, finds tokenizers, and explains what it cannot find."""

from __future__ import annotations

import struct
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from edgec.frontend import load
from edgec.frontend.load import load_checkpoint


@pytest.fixture
def stories(tmp_path: Path) -> Path:
    """A llama2.c model of zeros (dim 4, ffn 4, 1 layer, 2 heads) and a tokenizer with nothing but bytes and a space."""
    pieces = [b"<unk>", b"<s>", b"</s>", *(f"<0x{i:02X}>".encode() for i in range(256)), b" "]
    floats = 4 * len(pieces) + 4 + 4 * 16 + 4 + 3 * 16 + 4 + 2 * 8 * 1  # embedding, layer, last norm, rotary tables
    path = tmp_path / "model.bin"
    path.write_bytes(struct.pack("<7i", 4, 4, 1, 2, 2, len(pieces), 8) + bytes(4 * floats))
    entries = b"".join(struct.pack("<fi", 0.0, len(piece)) + piece for piece in pieces)
    (tmp_path / "tok.bin").write_bytes(struct.pack("<i", 6) + entries)
    return path


def test_tokenizer_beside_the_model(stories: Path, refuses: Any) -> None:
    checkpoint = load_checkpoint(str(stories))
    assert checkpoint.tokenizer is not None and checkpoint.tokenizer.bos_id == 1
    (stories.parent / "tokenizer.bin").write_bytes((stories.parent / "tok.bin").read_bytes())
    refuses(lambda: load_checkpoint(str(stories)), "tok.bin, tokenizer.bin", "--tokenizer")
    named = load_checkpoint(str(stories), str(stories.parent / "tok.bin"))
    assert any("tok.bin" in note for note in named.provenance["notes"])
    for path in stories.parent.glob("tok*.bin"):
        path.unlink()
    refuses(lambda: load_checkpoint(str(stories)), "no tokenizer", "--tokenizer")


def test_tokenizer_that_does_not_belong(stories: Path, make_model: Any, refuses: Any) -> None:
    folder, _ = make_model("llama")
    assert load_checkpoint(str(stories), str(folder)).tokenizer is not None
    assert load_checkpoint(str(stories), str(folder / "tokenizer.json")).tokenizer is not None
    small, _ = make_model("llama", vocab_size=100)
    refuses(lambda: load_checkpoint(str(small)), "257", "100", "do not belong together")
    refuses(lambda: load_checkpoint(str(stories), "/nowhere/tok.bin"), "/nowhere/tok.bin")
    refuses(lambda: load_checkpoint(str(stories), str(folder / "config.json")), "config.json")


@pytest.mark.parametrize("source", ["/nowhere/model", "nowhere.gguf", "a/b/c", "folder/model.bin", "", "org/name.gguf"])
def test_missing_path(source: str, refuses: Any) -> None:
    refuses(lambda: load_checkpoint(source), source)


def test_impossible_path(refuses: Any) -> None:
    refuses(lambda: load_checkpoint("x" * 5000), "cannot be read")


def test_unknown_things(tmp_path: Path, refuses: Any) -> None:
    (tmp_path / "model.onnx").write_bytes(b"x")
    refuses(lambda: load_checkpoint(str(tmp_path / "model.onnx")), "model.onnx", "not a format")
    refuses(lambda: load_checkpoint(str(tmp_path)), str(tmp_path), "config.json")


def test_embedded_model(monkeypatch: Any, make_model: Any, tmp_path: Path, refuses: Any) -> None:
    folder, _ = make_model("llama")
    monkeypatch.setitem(load.EMBEDDED, "stories", folder)
    assert load_checkpoint("stories").provenance["source"] == "stories"
    monkeypatch.setitem(load.EMBEDDED, "stories", tmp_path / "gone")
    refuses(lambda: load_checkpoint("stories"), "stories")


def test_hub(monkeypatch: Any, make_model: Any, refuses: Any) -> None:
    import huggingface_hub

    folder, _ = make_model("llama")
    asked: dict[str, Any] = {}

    def download(model_id: str, **options: Any) -> str:
        asked.update(options, id=model_id)
        return str(folder)

    monkeypatch.setattr(huggingface_hub, "snapshot_download", download)
    checkpoint = load_checkpoint("org/name")
    assert asked["id"] == "org/name" and checkpoint.provenance["source"] == "org/name"
    assert not any(pattern.endswith((".bin", ".py")) for pattern in asked["allow_patterns"])

    def fail(*_: Any, **__: Any) -> str:
        raise OSError("no\nnetwork.")

    monkeypatch.setattr(huggingface_hub, "snapshot_download", fail)
    refuses(lambda: load_checkpoint("org/name"), "org/name", "no network")


def test_import_is_light() -> None:
    heavy = "{'torch', 'transformers', 'gguf', 'tokenizers', 'safetensors'}"
    code = f"import sys, edgec.frontend.load; assert not {heavy} & sys.modules.keys(), sys.modules.keys()"
    subprocess.run([sys.executable, "-c", code], check=True, cwd=Path(__file__).resolve().parents[2])
