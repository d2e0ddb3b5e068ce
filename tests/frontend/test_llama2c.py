"""llama2.c checkpoints: both float exports, the order of q and k rows, and every way a file can lie."""

from __future__ import annotations

import struct
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edgec.frontend.llama2c import MAGIC, halves_from_pairs, load_llama2c
from edgec.frontend.load import load_checkpoint

DATA = Path(__file__).resolve().parents[2].parent / "shared" / "data" / "models" / "stories260K"
SIZES = {"dim": 16, "ffn": 24, "layers": 2, "heads": 4, "kv_heads": 2, "vocab": 11, "seq": 8}
V0 = ["embed", "norm1", "q", "k", "v", "o", "norm2", "gate", "down", "up", "norm"]
V1 = ["norm1", "norm2", "norm", "embed", "q", "k", "v", "o", "gate", "down", "up"]
NAMES = {
    "norm1": "input_layernorm",
    "norm2": "post_attention_layernorm",
    **{x: f"self_attn.{x}_proj" for x in "qkvo"},
    **{x: f"mlp.{x}_proj" for x in ("gate", "up", "down")},
}


def tensors() -> dict[str, np.ndarray[Any, Any]]:
    s, random = SIZES, np.random.default_rng(0)
    kv, n = s["dim"] // s["heads"] * s["kv_heads"], s["layers"]
    shapes = {
        "embed": (s["vocab"], s["dim"]), "norm1": (n, s["dim"]), "norm2": (n, s["dim"]), "norm": (s["dim"],),
        "q": (n, s["dim"], s["dim"]), "k": (n, kv, s["dim"]), "v": (n, kv, s["dim"]), "o": (n, s["dim"], s["dim"]),
        "gate": (n, s["ffn"], s["dim"]), "down": (n, s["dim"], s["ffn"]), "up": (n, s["ffn"], s["dim"]),
        "head": (s["vocab"], s["dim"]),
    }  # fmt: skip
    return {name: random.standard_normal(shape).astype(np.float32) for name, shape in shapes.items()}


def write(path: Path, version: int, tied: bool) -> dict[str, np.ndarray[Any, Any]]:
    stored, sizes = tensors(), list(SIZES.values())
    if version == 0:
        sizes[5] = sizes[5] if tied else -sizes[5]
        header = struct.pack("<7i", *sizes)
        tables = np.zeros(SIZES["seq"] * SIZES["dim"] // SIZES["heads"], np.float32)
        parts = [*(stored[name] for name in V0), tables]
    else:
        header = struct.pack("<Ii7iB", MAGIC, version, *sizes, tied).ljust(256, b"\0")
        parts = [stored[name] for name in V1]
    if not tied:
        parts.append(stored["head"])
    path.write_bytes(header + b"".join(part.tobytes() for part in parts))
    return stored


@pytest.mark.parametrize("tied", [True, False])
@pytest.mark.parametrize("version", [0, 1])
def test_every_tensor(version: int, tied: bool, tmp_path: Path) -> None:
    path = tmp_path / "model.bin"
    stored = write(path, version, tied)
    checkpoint = load_llama2c(path, "model.bin")
    config = checkpoint.config
    assert (config.hidden_dim, config.ffn_dim, config.n_layers, config.n_heads, config.n_kv_heads) == (16, 24, 2, 4, 2)
    assert (config.vocab_size, config.max_seq_len, config.head_dim, config.norm_eps) == (11, 8, 4, 1e-5)
    assert config.tied_embeddings == tied == ("lm_head.weight" not in checkpoint)
    assert config.rope_inv_freq == pytest.approx((1.0, 0.01))
    assert checkpoint.readers.keys() == config.tensor_shapes().keys()
    for layer in range(2):
        for short, long in NAMES.items():
            got = checkpoint.tensor(f"model.layers.{layer}.{long}.weight")
            expected = stored[short][layer]
            if short in "qk":
                head = np.r_[0:4:2, 1:4:2]  # pairs (0, 1), (2, 3) become (0, 2), (1, 3)
                expected = expected[np.concatenate([head + 4 * h for h in range(len(expected) // 4)])]
            assert np.array_equal(got, expected), (layer, short)
    assert np.array_equal(checkpoint.tensor("model.embed_tokens.weight"), stored["embed"])
    assert np.array_equal(checkpoint.tensor("model.norm.weight"), stored["norm"])
    if not tied:
        assert np.array_equal(checkpoint.tensor("lm_head.weight"), stored["head"])


def test_rotation_is_the_same_after_permutation() -> None:
    """Rotating pairs (2i, 2i+1) and then reordering equals reordering and then rotating halves."""
    random = np.random.default_rng(1)
    x, angle = random.standard_normal(8).astype(np.float32), random.standard_normal(4)
    turn = np.exp(1j * angle)
    pairs = (x[0::2] + 1j * x[1::2]) * turn
    rotated = np.stack([pairs.real, pairs.imag], 1).reshape(-1)
    y = halves_from_pairs(x, 1)
    halves = (y[:4] + 1j * y[4:]) * turn
    assert np.allclose(halves_from_pairs(rotated.astype(np.float32), 1), np.concatenate([halves.real, halves.imag]))


@pytest.mark.parametrize("version", [0, 1])
@pytest.mark.parametrize("cut", [1, 4, 1000])
def test_truncated(cut: int, version: int, tmp_path: Path, refuses: Any) -> None:
    path = tmp_path / "model.bin"
    write(path, version, tied=True)
    whole = path.stat().st_size
    path.write_bytes(path.read_bytes()[:-cut])
    refuses(lambda: load_llama2c(path, "x"), "model.bin", "truncated", f"{whole:,}", f"{whole - cut:,}")


def test_longer(tmp_path: Path, refuses: Any) -> None:
    path = tmp_path / "model.bin"
    write(path, 0, tied=True)
    path.write_bytes(path.read_bytes() + b"\0")
    refuses(lambda: load_llama2c(path, "x"), "model.bin", "longer")


@pytest.mark.parametrize(
    ("header", "word"),
    [
        (b"", "28"),
        (b"short", "28"),
        (struct.pack("<Ii", MAGIC, 2).ljust(256, b"\0"), "version 2"),
        (struct.pack("<Ii", MAGIC, 9).ljust(256, b"\0"), "version 9"),
        (struct.pack("<Ii", MAGIC, 1).ljust(40, b"\0"), "truncated"),
        (bytes(28), "0 heads"),
        (struct.pack("<7i", 16, 24, 2**31 - 1, 4, 2, 11, 8), "n_layers"),
        (struct.pack("<7i", 2**31 - 2, 24, 2, 1, 1, 11, 8), "head_dim"),
        (struct.pack("<7i", 2**30, 2**30, 1024, 2**20, 2**20, 2**30, 2**30), "truncated"),
        (struct.pack("<7i", 16, -24, 2, 4, 2, 11, 8), "ffn_dim"),
        (struct.pack("<7i", 16, 24, 2, 4, 3, 11, 8), "3"),
        (struct.pack("<7i", 16, 24, 2, 4, 0, 11, 8), "n_kv_heads"),
        (b"\x7fELF" * 20, "model.bin"),
    ],
)
def test_header_that_lies(header: bytes, word: str, tmp_path: Path, refuses: Any) -> None:
    path = tmp_path / "model.bin"
    path.write_bytes(header)
    refuses(lambda: load_llama2c(path, "x"), "model.bin", word)


def test_nan(tmp_path: Path, refuses: Any) -> None:
    path = tmp_path / "model.bin"
    write(path, 0, tied=True)
    data = bytearray(path.read_bytes())
    data[28:32] = struct.pack("<f", float("nan"))
    path.write_bytes(data)
    checkpoint = load_llama2c(path, "x")
    refuses(lambda: checkpoint.tensor("model.embed_tokens.weight"), "model.embed_tokens.weight")


@pytest.mark.skipif(not DATA.is_dir(), reason="stories260K is not in ../shared/data")
def test_stories260k() -> None:
    checkpoint = load_checkpoint(str(DATA / "stories260K.bin"))
    config = checkpoint.config
    assert (config.hidden_dim, config.n_layers, config.n_heads, config.n_kv_heads, config.ffn_dim) == (64, 5, 8, 4, 172)
    assert config.tied_embeddings and config.max_seq_len == 512
    shapes = config.tensor_shapes()
    assert sum(checkpoint.tensor(name).size for name in shapes) == 260_032
    assert checkpoint.tokenizer is not None and checkpoint.tokenizer.eos_ids == (1, 2)
    assert checkpoint.provenance["format"] == "llama2c" and "stories260K.bin" in checkpoint.provenance["files"]
