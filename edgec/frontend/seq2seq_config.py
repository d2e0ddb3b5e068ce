"""Seq2SeqConfig: the shape of a BART-type model, which reads a text with an encoder and writes another with a decoder.

Tensors of the decoder carry the decoders' names (`model.layers.0.self_attn.q_proj.weight`), those of the encoder the
same behind `model.encoder.`; what a decoder's block reads of the encoder is `cross_attn`. Norms are layer norms behind
each part, matrices have biases, and one table of tokens serves encoder, decoder and head.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from edgec.errors import ModelError
from edgec.frontend.encoder_config import encodes
from edgec.frontend.model_config import POSITIONS, ModelConfig

ENCODER = "model.encoder."  # in front of the encoder's names; `model.` is in front of the decoder's
ENCODER_POSITIONS = "model.encoder.embed_positions.weight"
HEAD_BIAS = "lm_head.bias"


@dataclass(frozen=True)
class Seq2SeqConfig(ModelConfig):
    """The decoder's sizes as of any decoder, and the encoder's. max_seq_len: of a source, and of what is written.

    decoder_start: the tokens that everything written begins with. logits_bias: logits have a bias that is not zero.
    """

    encoder_layers: int = 1
    encoder_heads: int = 1
    encoder_ffn_dim: int = 1
    decoder_start: tuple[int, ...] = ()
    logits_bias: bool = False

    def __post_init__(self) -> None:
        for part, heads in (("encoder", self.encoder_heads), ("decoder", self.n_heads)):
            if self.hidden_dim % heads:
                raise ModelError(
                    f"{heads} heads of the {part} do not divide a hidden size of {self.hidden_dim} evenly."
                )
        super().__post_init__()

    @classmethod
    def of(cls, **fields: Any) -> Seq2SeqConfig:
        """What is the same in all models of this kind, filled in."""
        same: dict[str, Any] = {"rope_inv_freq": (), "tied_embeddings": True, "gated": False}
        same |= {"layer_norms": True, "learned_positions": True}
        heads, hidden = fields["n_heads"], fields["hidden_dim"]
        return cls(n_kv_heads=heads, head_dim=hidden // heads, **same, **fields)

    @property
    def encoder_head_dim(self) -> int:
        """Elements of one of the encoder's heads."""
        return self.hidden_dim // self.encoder_heads

    @property
    def cached_layers(self) -> int:
        """Two caches a decoder's block, two that the encoder's take turns with, and rows of floats as large as two."""
        return 2 * self.n_layers + 4

    def with_blocks(self, order: Sequence[int]) -> ModelConfig:
        """Stages that choose blocks are made for models of one kind of block."""
        raise NotImplementedError("blocks of an encoder and a decoder are not chosen by number")

    def tensor_shapes(self) -> dict[str, tuple[int, ...]]:
        """Name and shape of every tensor that a model of this shape must have, the encoder's first."""
        hidden = self.hidden_dim
        shapes: dict[str, tuple[int, ...]] = {
            "model.embed_tokens.weight": (self.vocab_size, hidden),
            ENCODER_POSITIONS: (self.max_seq_len, hidden),
            **_norm(f"{ENCODER}embed_norm", hidden),
        }
        for layer in range(self.encoder_layers):
            shapes |= _block(f"{ENCODER}layers.{layer}.", ("self_attn",), hidden, self.encoder_ffn_dim)
        shapes |= {POSITIONS: (self.max_seq_len, hidden), **_norm("model.embed_norm", hidden)}
        for layer in range(self.n_layers):
            shapes |= _block(f"model.layers.{layer}.", ("self_attn", "cross_attn"), hidden, self.ffn_dim)
        return shapes | ({HEAD_BIAS: (self.vocab_size,)} if self.logits_bias else {})

    def optional_shapes(self) -> dict[str, tuple[int, ...]]:
        """None: every model of this kind has all of its tensors."""
        return {}


def _norm(name: str, size: int) -> dict[str, tuple[int, ...]]:
    return {f"{name}.weight": (size,), f"{name}.bias": (size,)}


def _block(path: str, attentions: Sequence[str], hidden: int, ffn: int) -> dict[str, tuple[int, ...]]:
    shapes: dict[str, tuple[int, ...]] = {}
    for attention in attentions:
        for role in "qkvo":
            shapes |= _matrix(f"{path}{attention}.{role}_proj", hidden, hidden)
        shapes |= _norm(f"{path}{attention}_norm", hidden)
    shapes |= _matrix(f"{path}mlp.up_proj", ffn, hidden) | _matrix(f"{path}mlp.down_proj", hidden, ffn)
    return shapes | _norm(f"{path}mlp_norm", hidden)


def _matrix(name: str, n: int, k: int) -> dict[str, tuple[int, ...]]:
    return {f"{name}.weight": (n, k), f"{name}.bias": (n,)}


def part_of(name: str) -> str:
    """Where in such a model a block's tensor is: in the encoder, the decoder, or its cross attention."""
    return "encoder" if name.startswith(ENCODER) else "cross" if ".cross_attn." in name else "decoder"


def decoder_start(config: ModelConfig) -> tuple[int, ...]:
    """The tokens that everything a model writes about a source begins with; none of other kinds of models."""
    return config.decoder_start if isinstance(config, Seq2SeqConfig) else ()


def seq2seq(config: ModelConfig) -> bool:
    """Whether the model reads one text and writes another."""
    return isinstance(config, Seq2SeqConfig)


def has_encoder(config: ModelConfig) -> bool:
    """Whether the model reads a text as a whole, to make a vector of it or to write another."""
    return encodes(config) or seq2seq(config)
