"""EncoderConfig: the shape of a BERT-type encoder, which turns a text into one vector.

Tensors carry the decoders' names where they are the same thing (`model.layers.0.self_attn.q_proj.weight`), so that
everything that works on matrices by name and role knows them. Different are layer norms behind attention and
feed-forward network instead of root-mean-square norms before them, biases everywhere, no gate, and a table of
positions, to which the front end adds the embedding of token type 0.
"""

from __future__ import annotations

from dataclasses import dataclass

from edgec.errors import ModelError
from edgec.frontend.model_config import POSITIONS, ModelConfig

NORMS = ("self_attn_norm", "mlp_norm")


@dataclass(frozen=True)
class EncoderConfig(ModelConfig):
    """Sizes as of a decoder; a vector is pooled from the last layer's rows.

    gelu: the activation's form, erf or tanh. pooling: mean or first, see edgec/ops/pool.py.
    """

    gelu: str = "erf"
    pooling: str = "mean"
    normalize: bool = False  # the vector has length 1

    def __post_init__(self) -> None:
        if self.n_heads * self.head_dim != self.hidden_dim or self.n_heads != self.n_kv_heads:
            raise ModelError(f"{self.n_heads} heads do not divide a hidden size of {self.hidden_dim} evenly.")

    def tensor_shapes(self) -> dict[str, tuple[int, ...]]:
        """Name and shape of every tensor that a model of this shape must have."""
        hidden = self.hidden_dim
        shapes: dict[str, tuple[int, ...]] = {
            "model.embed_tokens.weight": (self.vocab_size, hidden),
            POSITIONS: (self.max_seq_len, hidden),
            "model.embed_norm.weight": (hidden,),
            "model.embed_norm.bias": (hidden,),
        }
        for layer in range(self.n_layers):
            p = f"model.layers.{layer}."
            matrices = dict.fromkeys([f"self_attn.{role}_proj" for role in "qkvo"], (hidden, hidden))
            matrices |= {"mlp.up_proj": (self.ffn_dim, hidden), "mlp.down_proj": (hidden, self.ffn_dim)}
            for name, shape in matrices.items():
                shapes |= {f"{p}{name}.weight": shape, f"{p}{name}.bias": shape[:1]}
            for name in NORMS:
                shapes |= {f"{p}{name}.weight": (hidden,), f"{p}{name}.bias": (hidden,)}
        return shapes

    def optional_shapes(self) -> dict[str, tuple[int, ...]]:
        """None: every encoder has all of its tensors."""
        return {}


def encodes(config: ModelConfig) -> bool:
    """Whether the model turns a text into a vector; else it continues one."""
    return isinstance(config, EncoderConfig)
