"""llama2.c checkpoints: the first export (version 0) and version 1, both float32.

Version 0 is seven int32 (dim, hidden_dim, n_layers, n_heads, n_kv_heads, vocab_size, seq_len; a
negative vocab_size says that the head is not tied) and the tensors in the order below, each with
all its layers. Version 1 starts with the magic number "ak42", the version, the same seven, and one
byte that says whether the head is tied, padded to 256 bytes; norms come first there.
"""

from __future__ import annotations

import math
import struct
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from edgec.errors import ModelError
from edgec.frontend.checkpoint import Checkpoint, FloatArray, TextTokenizer
from edgec.frontend.checks import checked_config
from edgec.frontend.llama2c_tokenizer import BOS, EOS
from edgec.frontend.model_config import ModelConfig
from edgec.frontend.provenance import describe
from edgec.frontend.rope import rotary

MAGIC = 0x616B3432
V1_HEADER_BYTES = 256

ATTENTION = [f"self_attn.{p}_proj.weight" for p in "qkvo"]
MLP = [f"mlp.{p}_proj.weight" for p in ("gate", "down", "up")]
NORMS = ["input_layernorm.weight", "post_attention_layernorm.weight"]
ROPE_TABLES = "rotary tables"  # cos and sin in version 0; edgec computes its own


def load_llama2c(path: Path, source: str, tokenizer: TextTokenizer | None = None) -> Checkpoint:
    """The checkpoint in a llama2.c file. Raises ModelError unless its size is exactly what its header says."""
    try:
        with path.open("rb") as stream:
            header = stream.read(V1_HEADER_BYTES)
        file_bytes = path.stat().st_size
    except OSError as error:
        raise ModelError(f"{path} cannot be read: {error.strerror or error}.") from error
    if len(header) < 28:
        raise ModelError(f"{path} holds {file_bytes} bytes, a llama2.c checkpoint starts with a header of 28.")
    version, start, numbers, tied = _read_header(path, header)
    dim, ffn_dim, n_layers, n_heads, n_kv_heads, vocab_size, seq_len = numbers
    if n_heads < 1 or dim < 1 or dim % n_heads:
        raise ModelError(f"{path} is not a llama2.c checkpoint: it claims {n_heads} heads in {dim} dimensions.")
    inv_freq, rope_factor = rotary(str(path), dim // n_heads, {"rope_theta": 10000.0}, seq_len)
    config = checked_config(
        str(path),
        family="llama",
        vocab_size=vocab_size,
        hidden_dim=dim,
        n_layers=n_layers,
        n_heads=n_heads,
        n_kv_heads=n_kv_heads,
        head_dim=dim // n_heads,
        ffn_dim=ffn_dim,
        norm_eps=1e-5,
        max_seq_len=seq_len,
        rope_inv_freq=inv_freq,
        rope_factor=rope_factor,
        tied_embeddings=tied,
    )
    readers: dict[str, Callable[[], FloatArray]] = {}
    at = start
    for name, shape in _layout(config, version):
        if name != ROPE_TABLES:
            readers[name] = partial(_read, path, at, shape, _heads_to_permute(config, name))
        at += 4 * math.prod(shape)
    if at != file_bytes:
        state = "truncated" if file_bytes < at else "longer than it should be"
        raise ModelError(f"{path} is {state}: its header promises {at:,} bytes, the file has {file_bytes:,}.")
    return Checkpoint(config, readers, tokenizer, describe(source, "llama2c", [path], []))


def text_tokenizer(path: Path) -> TextTokenizer:
    """The tokenizer in a llama2.c file, with the ids that run.c uses: both BOS and EOS end a text."""
    from edgec.frontend.llama2c_tokenizer import read_llama2c_tokenizer

    return TextTokenizer(read_llama2c_tokenizer(path), bos_id=BOS, eos_ids=(BOS, EOS), add_bos=True)


def _read_header(path: Path, header: bytes) -> tuple[int, int, list[int], bool]:
    """Version, first byte of the tensors, the seven sizes, and whether the head is tied."""
    if struct.unpack_from("<I", header)[0] != MAGIC:
        numbers = list(struct.unpack_from("<7i", header))
        tied = numbers[5] > 0
        numbers[5] = abs(numbers[5])
        return 0, 28, numbers, tied
    version = struct.unpack_from("<i", header, 4)[0]
    if version != 1:
        what = "int8 weights" if version == 2 else "unknown to edgec"
        raise ModelError(f"{path} is a llama2.c export of version {version} ({what}); export it as version 0 or 1.")
    if len(header) < V1_HEADER_BYTES:
        raise ModelError(f"{path} is truncated: it has {len(header)} of the {V1_HEADER_BYTES} bytes of its header.")
    return 1, V1_HEADER_BYTES, list(struct.unpack_from("<7i", header, 8)), bool(header[36])


def _layout(config: ModelConfig, version: int) -> Iterator[tuple[str, tuple[int, ...]]]:
    """Name and shape of every tensor in the order of the file."""
    embed, norm = "model.embed_tokens.weight", "model.norm.weight"
    if version == 0:
        order = [embed, NORMS[0], *ATTENTION, NORMS[1], *MLP, norm, ROPE_TABLES]
    else:
        order = [*NORMS, norm, embed, *ATTENTION, *MLP]
    shapes = config.tensor_shapes()
    for name in order if config.tied_embeddings else [*order, "lm_head.weight"]:
        if name == ROPE_TABLES:
            yield name, (2, config.max_seq_len, config.head_dim // 2)
        elif name in shapes:
            yield name, shapes[name]
        else:
            for layer in range(config.n_layers):
                full = f"model.layers.{layer}.{name}"
                yield full, shapes[full]


def _heads_to_permute(config: ModelConfig, name: str) -> int:
    """How many heads' rows are stored as pairs (2i, 2i+1); 0 for tensors that are not rotated."""
    if name.endswith("q_proj.weight"):
        return config.n_heads
    return config.n_kv_heads if name.endswith("k_proj.weight") else 0


def _read(path: Path, at: int, shape: tuple[int, ...], heads: int) -> FloatArray:
    try:
        array = np.memmap(path, dtype="<f4", mode="r", offset=at, shape=shape)
    except (OSError, ValueError) as error:
        raise ModelError(f"{path} changed while it was read.") from error
    return halves_from_pairs(array, heads) if heads else np.array(array, dtype=np.float32)


def halves_from_pairs(rows: FloatArray, heads: int) -> FloatArray:
    """Rows [heads*head_dim, ...] of each head reordered from rotary pairs (2i, 2i+1) to (i, i + head_dim/2)."""
    return np.ascontiguousarray(rows[halves_order(len(rows), heads)], dtype=np.float32)


def halves_order(rows: int, heads: int) -> NDArray[np.intp]:
    """Which row of rotary pairs (2i, 2i+1) comes at each place of (i, i + head_dim/2), within each of the heads."""
    return np.arange(rows).reshape(heads, -1, 2).swapaxes(1, 2).reshape(-1)
