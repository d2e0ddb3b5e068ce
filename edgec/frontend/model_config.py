"""ModelConfig: the shape of a decoder, and the names and shapes of its tensors."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from edgec.errors import ModelError

POSITIONS = "model.embed_positions.weight"  # learned positions: a table of rows, not a matrix that multiplies


def learned_positions(name: str) -> bool:
    """Whether a tensor is a table of positions: the model's, or that of an encoder in it."""
    return name.endswith("embed_positions.weight")


@dataclass(frozen=True)
class ModelConfig:
    """The shape of a decoder and what it computes. All sizes in elements; the defaults are the LLaMA family's."""

    family: str  # transformers' name of the architecture: "llama", "qwen2", "gemma3_text", ...
    vocab_size: int
    hidden_dim: int
    n_layers: int
    n_heads: int
    n_kv_heads: int
    head_dim: int
    ffn_dim: int
    norm_eps: float
    max_seq_len: int  # longest position the checkpoint was made for
    rope_inv_freq: tuple[float, ...]  # head_dim/2 angular frequencies in radians per position, scaling applied
    rope_factor: float = 1.0  # factor on cos and sin (YaRN's attention factor)
    tied_embeddings: bool = False
    without_attention: tuple[int, ...] = ()  # blocks that are a feed-forward part alone, ascending
    activation: str = "silu"  # of the feed-forward network: "silu", "gelu_tanh" (GELU's tanh formula) or "gelu" (erf)
    gated: bool = True  # feed-forward down(act(gate x) * up x); else down(act(up x))
    layer_norms: bool = False  # norms subtract the mean and have a bias (not those of single heads)
    learned_positions: bool = False  # a table of max_seq_len rows is added to the embeddings; no rotation
    double_norms: bool = False  # what attention and feed-forward add is normalised first (Gemma 2 and 3)
    embed_scale: float = 1.0  # factor on a token's embedding
    query_scale: float = 0.0  # factor on q . k; 0: 1 / sqrt(head_dim)
    score_softcap: float = 0.0  # scores s become c tanh(s / c), after query_scale; 0: they stay
    logit_softcap: float = 0.0  # the same of the logits
    windows: tuple[int, ...] = ()  # by layer: how many positions it sees, its own included (0: all); (): all see all
    local_inv_freq: tuple[float, ...] = ()  # rope_inv_freq of layers with a window; (): they have no other

    def __post_init__(self) -> None:
        if self.n_heads % self.n_kv_heads:
            raise ModelError(f"{self.n_heads} query heads cannot share {self.n_kv_heads} key/value heads evenly.")
        if self.head_dim % 2 and not self.learned_positions:
            raise ModelError(f"head_dim {self.head_dim} is odd; rotary embedding needs an even one.")
        for frequencies in (self.rope_inv_freq, self.local_inv_freq or self.rope_inv_freq):
            if len(frequencies) != (0 if self.learned_positions else self.head_dim // 2):
                raise ModelError(f"{len(frequencies)} rotary frequencies for head_dim {self.head_dim}.")
        if self.windows and len(self.windows) != self.n_layers:
            raise ModelError(f"{len(self.windows)} attention windows for {self.n_layers} layers.")
        bare = self.without_attention
        if sorted(set(bare) & set(range(self.n_layers))) != list(bare) or (bare and not self.attention_layers):
            raise ModelError(
                f"blocks {list(bare)} of {self.n_layers} cannot be those without attention; one must have it."
            )

    def with_blocks(self, order: Sequence[int]) -> ModelConfig:
        """The configuration of a model that runs these blocks in this order."""
        bare = tuple(new for new, old in enumerate(order) if old in self.without_attention)
        windows = tuple(self.windows[old] for old in order) if self.windows else ()
        return replace(self, n_layers=len(order), without_attention=bare, windows=windows)

    @property
    def attention_layers(self) -> list[int]:
        """The blocks that have attention, and so a cache."""
        return [layer for layer in range(self.n_layers) if layer not in self.without_attention]

    @property
    def cached_layers(self) -> int:
        """How many layers' worth of keys and values, or of what takes as much, live from call to call."""
        return len(self.attention_layers)

    @property
    def mlp_norm(self) -> str:
        """The name of the norm in front of a layer's feed-forward network."""
        return "pre_feedforward_layernorm" if self.double_norms else "post_attention_layernorm"

    def window(self, layer: int) -> int:
        """How many positions a layer sees, its own included; 0: all."""
        return self.windows[layer] if self.windows else 0

    def is_local(self, layer: int) -> bool:
        """Whether a layer rotates by local_inv_freq."""
        return bool(self.local_inv_freq) and self.window(layer) > 0

    def tensor_shapes(self) -> dict[str, tuple[int, ...]]:
        """Name and shape of every tensor that a model of this shape must have (biases and q/k norms are extra)."""
        q, kv = self.n_heads * self.head_dim, self.n_kv_heads * self.head_dim
        shapes: dict[str, tuple[int, ...]] = {"model.embed_tokens.weight": (self.vocab_size, self.hidden_dim)}
        if self.learned_positions:
            shapes[POSITIONS] = (self.max_seq_len, self.hidden_dim)

        def norm(name: str) -> None:
            shapes[f"{name}.weight"] = (self.hidden_dim,)
            if self.layer_norms:
                shapes[f"{name}.bias"] = (self.hidden_dim,)

        for layer in range(self.n_layers):
            p = f"model.layers.{layer}."
            if layer not in self.without_attention:
                norm(p + "input_layernorm")
                shapes[p + "self_attn.q_proj.weight"] = (q, self.hidden_dim)
                shapes[p + "self_attn.k_proj.weight"] = (kv, self.hidden_dim)
                shapes[p + "self_attn.v_proj.weight"] = (kv, self.hidden_dim)
                shapes[p + "self_attn.o_proj.weight"] = (self.hidden_dim, q)
            if layer not in self.without_attention or not self.double_norms:
                norm(p + "post_attention_layernorm")
            if self.double_norms:
                norm(p + "pre_feedforward_layernorm")
            if self.gated:
                shapes[p + "mlp.gate_proj.weight"] = (self.ffn_dim, self.hidden_dim)
            shapes[p + "mlp.up_proj.weight"] = (self.ffn_dim, self.hidden_dim)
            shapes[p + "mlp.down_proj.weight"] = (self.hidden_dim, self.ffn_dim)
            if self.double_norms:
                norm(p + "post_feedforward_layernorm")
        norm("model.norm")
        if not self.tied_embeddings:
            shapes["lm_head.weight"] = (self.vocab_size, self.hidden_dim)
        return shapes

    def optional_shapes(self) -> dict[str, tuple[int, ...]]:
        """Tensors that some families have: projection biases and per-head q/k norms."""
        shapes: dict[str, tuple[int, ...]] = {}
        for name, shape in self.tensor_shapes().items():
            if name.endswith("_proj.weight"):
                shapes[name.removesuffix("weight") + "bias"] = (shape[0],)
        for layer in self.attention_layers:
            for norm in ("q_norm", "k_norm"):
                shapes[f"model.layers.{layer}.self_attn.{norm}.weight"] = (self.head_dim,)
        return shapes
