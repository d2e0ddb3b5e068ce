"""The decoders that edgec knows as a torch module: what calibration, pruning, training and float evaluation run.

Module names are the checkpoint's (`model.layers.0.self_attn.q_proj`), blocks can be run one by one, and an
`Activations` object may round what the chip rounds (see compress/chip_numerics.py). Float32; tested
against transformers' logits.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812

from edgec.errors import EdgecError
from edgec.frontend.checkpoint import Checkpoint, LowRank
from edgec.frontend.model_config import ModelConfig
from edgec.frontend.seq2seq_config import has_encoder
from edgec.frontend.structure import Structure, factor_names


class Activations:
    """What happens to values on their way into matrices and caches. This one leaves them alone."""

    def into_matrix(self, x: Tensor, name: str) -> Tensor:
        """Inputs [..., k] of the matrix `name`."""
        return x

    def heads(self, x: Tensor, role: str) -> Tensor:
        """Queries, keys or values [batch, heads, tokens, head_dim]; role is "q", "k" or "v"."""
        return x


class RmsNorm(nn.Module):
    """x / sqrt(mean(x^2) + eps) * gain."""

    def __init__(self, size: int, eps: float) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(size))
        self.eps = eps

    def forward(self, x: Tensor) -> Tensor:
        """Normalised along the last axis."""
        return F.rms_norm(x, self.weight.shape, self.weight, self.eps)


def norm(config: ModelConfig) -> nn.Module:
    """A norm of hidden states."""
    if config.layer_norms:
        return nn.LayerNorm(config.hidden_dim, config.norm_eps)
    return RmsNorm(config.hidden_dim, config.norm_eps)


class Matrix(nn.Linear):
    """A linear layer with an optional low-rank branch that is not trained."""

    branch: tuple[Tensor, Tensor] | None = None

    def forward(self, x: Tensor) -> Tensor:
        """x W^T + bias + (x A^T) B^T."""
        y = super().forward(x)
        return y if self.branch is None else y + (x @ self.branch[0].T) @ self.branch[1].T


class Factored(nn.Module):
    """A matrix stored as a product: x A^T B^T + bias. The factors are matrices like any other."""

    def __init__(self, k: int, n: int, rank: int, bias: bool) -> None:
        super().__init__()
        self.factor_a, self.factor_b = Matrix(k, rank, bias=False), Matrix(rank, n, bias=False)
        self.bias = nn.Parameter(torch.empty(n)) if bias else None

    def forward(self, x: Tensor, name: str, act: Activations) -> Tensor:
        """Outputs [..., n] of the matrix `name`; what goes into each factor passes `act`."""
        a, b = factor_names(name)
        y = self.factor_b(act.into_matrix(self.factor_a(act.into_matrix(x, a)), b))
        return y if self.bias is None else y + self.bias


def through(matrix: nn.Module, x: Tensor, name: str, act: Activations) -> Tensor:
    """The matrix `name`, a product or not, of inputs that pass `act` first."""
    return matrix(x, name, act) if isinstance(matrix, Factored) else matrix(act.into_matrix(x, name))


def softcap(x: Tensor, cap: float) -> Tensor:
    """cap tanh(x / cap), or x itself for a cap of 0."""
    return cap * (x / cap).tanh() if cap else x


class Attention(nn.Module):
    """Grouped-query attention over a whole text, rotary embedding inside. window: positions that one sees; 0: all."""

    def __init__(self, structure: Structure, extras: set[str], path: str, window: int = 0) -> None:
        super().__init__()
        self.config, self.path, self.window = structure.config, path, window
        for role in "qkvo":
            setattr(self, f"{role}_proj", _matrix(structure, extras, f"{path}.{role}_proj"))
        for role in "qk":
            if f"{path}.{role}_norm.weight" in extras:
                setattr(self, f"{role}_norm", RmsNorm(self.config.head_dim, self.config.norm_eps))

    def forward(self, x: Tensor, rope: tuple[Tensor, Tensor], act: Activations) -> Tensor:
        """[batch, tokens, hidden] to the same."""
        batch, length, _ = x.shape
        heads = {}
        for role in "qkv":
            name = f"{self.path}.{role}_proj.weight"
            y = through(getattr(self, f"{role}_proj"), x, name, act).view(batch, length, -1, self.config.head_dim)
            if norm := getattr(self, f"{role}_norm", None):
                y = norm(y)
            y = y.transpose(1, 2)
            still = role == "v" or self.config.learned_positions
            heads[role] = act.heads(y if still else rotate(y, rope), role)
        y = self.mixed(heads).transpose(1, 2).reshape(batch, length, -1)
        return through(self.o_proj, y, f"{self.path}.o_proj.weight", act)

    def mixed(self, heads: dict[str, Tensor]) -> Tensor:
        """Values weighted by the softmax of queries times keys, [batch, n_heads, tokens, head_dim]."""
        q, k, v = heads["q"], heads["k"], heads["v"]
        shared, scale = self.config.n_heads != self.config.n_kv_heads, self.config.query_scale or None
        length = q.shape[2]
        if not self.config.score_softcap and not 0 < self.window < length:
            return F.scaled_dot_product_attention(q, k, v, is_causal=True, enable_gqa=shared, scale=scale)
        distance = torch.arange(length)[:, None] - torch.arange(length)
        seen = (distance >= 0) & (distance < (self.window or length))
        if not self.config.score_softcap:
            return F.scaled_dot_product_attention(q, k, v, attn_mask=seen, enable_gqa=shared, scale=scale)
        group = self.config.n_heads // self.config.n_kv_heads
        k, v = k.repeat_interleave(group, dim=1), v.repeat_interleave(group, dim=1)
        scores = softcap(q @ k.transpose(2, 3) * (scale or q.shape[3] ** -0.5), self.config.score_softcap)
        return scores.masked_fill(~seen, -torch.inf).softmax(-1) @ v


class Mlp(nn.Module):
    """down(act(gate x) * up x), or down(act(up x))."""

    def __init__(self, structure: Structure, extras: set[str], path: str) -> None:
        super().__init__()
        self.path, self.config = path, structure.config
        self.roles = ("gate", "up") if self.config.gated else ("up",)
        for role in (*self.roles, "down"):
            setattr(self, f"{role}_proj", _matrix(structure, extras, f"{path}.{role}_proj"))

    def forward(self, x: Tensor, act: Activations) -> Tensor:
        """[batch, tokens, hidden] to the same."""
        found = [through(getattr(self, f"{r}_proj"), x, f"{self.path}.{r}_proj.weight", act) for r in self.roles]
        h = self.activated(found[0]) * found[1] if self.config.gated else self.activated(found[0])
        return through(self.down_proj, h, f"{self.path}.down_proj.weight", act)

    def activated(self, x: Tensor) -> Tensor:
        """The activation of every element."""
        if self.config.activation == "silu":
            return F.silu(x)
        return F.gelu(x, approximate="tanh" if self.config.activation == "gelu_tanh" else "none")


class Block(nn.Module):
    """One decoder layer; `self_attn` is None in one that is a feed-forward part alone."""

    def __init__(self, structure: Structure, extras: set[str], layer: int) -> None:
        super().__init__()
        config, path = structure.config, f"model.layers.{layer}"
        attends = layer not in config.without_attention
        self.double_norms = config.double_norms
        self.input_layernorm = norm(config) if attends else None
        self.self_attn = Attention(structure, extras, f"{path}.self_attn", config.window(layer)) if attends else None
        if attends or not config.double_norms:
            self.post_attention_layernorm = norm(config)
        self.mlp = Mlp(structure, extras, f"{path}.mlp")
        if config.double_norms:
            self.pre_feedforward_layernorm = norm(config)
            self.post_feedforward_layernorm = norm(config)

    def forward(self, x: Tensor, rope: tuple[Tensor, Tensor], act: Activations) -> Tensor:
        """[batch, tokens, hidden] to the same."""
        if self.self_attn is not None and self.input_layernorm is not None:
            attended = self.self_attn(self.input_layernorm(x), rope, act)
            x = x + (self.post_attention_layernorm(attended) if self.double_norms else attended)
        return self.feed_forward(x, act)

    def feed_forward(self, x: Tensor, act: Activations) -> Tensor:
        """The second half, [batch, tokens, hidden] to the same."""
        if self.double_norms:
            return x + self.post_feedforward_layernorm(self.mlp(self.pre_feedforward_layernorm(x), act))
        return x + self.mlp(self.post_attention_layernorm(x), act)


class TorchModel(nn.Module):
    """A decoder whose parts can be run one by one. `act` may be exchanged at any time.

    Tensors that stand for others are one parameter with them.
    """

    def __init__(self, structure: Structure, extras: set[str]) -> None:
        super().__init__()
        self.structure, self.config = structure, structure.config
        config = self.config
        self.act = Activations()
        self.model = nn.Module()
        self.model.embed_tokens = nn.Embedding(config.vocab_size, config.hidden_dim)
        if config.learned_positions:
            self.model.embed_positions = nn.Embedding(config.max_seq_len, config.hidden_dim)
        self.model.layers = nn.ModuleList(Block(structure, extras, i) for i in range(config.n_layers))
        self.model.norm = norm(config)
        self.lm_head = None if config.tied_embeddings else Matrix(config.hidden_dim, config.vocab_size, bias=False)
        self._rope: dict[tuple[float, ...], tuple[Tensor, Tensor]] = {}

    @property
    def blocks(self) -> list[Block]:
        """The decoder layers in order."""
        return list(self.model.layers)

    def embed(self, tokens: Tensor) -> Tensor:
        """Token ids [batch, tokens] to hidden states [batch, tokens, hidden]."""
        found: Tensor = self.model.embed_tokens(tokens)
        if self.config.learned_positions:
            return found + self.model.embed_positions.weight[: tokens.shape[1]]
        return found * self.config.embed_scale if self.config.embed_scale != 1 else found

    def block(self, layer: int, hidden: Tensor) -> Tensor:
        """Hidden states after decoder layer `layer`."""
        return self.blocks[layer](hidden, self.rope(hidden.shape[1], layer), self.act)

    def head(self, hidden: Tensor) -> Tensor:
        """Logits [batch, tokens, vocabulary] of the last block's hidden states; the final norm is inside."""
        x = self.act.into_matrix(self.model.norm(hidden), "lm_head.weight")
        y = F.linear(x, self.model.embed_tokens.weight) if self.lm_head is None else self.lm_head(x)
        return softcap(y, self.config.logit_softcap)

    def forward(self, tokens: Tensor) -> Tensor:
        """Logits [batch, tokens, vocabulary]."""
        hidden = self.embed(tokens)
        for layer in range(self.config.n_layers):
            hidden = self.block(layer, hidden)
        return self.head(hidden)

    def linear(self, name: str) -> Matrix:
        """The module of a matrix or a factor, by the checkpoint's tensor name."""
        return self.get_submodule(name.removesuffix(".weight"))

    def matrices(self) -> Iterator[tuple[str, Matrix]]:
        """The blocks' matrices by tensor name, in the order of computation: factors in place of products, and those
        that stand for others too."""
        for name in self.structure.applied_matrices():
            yield name, self.linear(name)

    def rope(self, length: int, layer: int) -> tuple[Tensor, Tensor]:
        """cos and sin [length, head_dim/2] of the positions in a layer, computed in float64."""
        local = self.config.is_local(layer)
        frequencies = self.config.local_inv_freq if local else self.config.rope_inv_freq
        if frequencies not in self._rope or len(self._rope[frequencies][0]) < length:
            inv_freq = torch.tensor(frequencies, dtype=torch.float64)
            angle = torch.arange(max(length, 512), dtype=torch.float64)[:, None] * inv_freq
            factor = 1.0 if local else self.config.rope_factor
            self._rope[frequencies] = (angle.cos() * factor).float(), (angle.sin() * factor).float()
        cos, sin = self._rope[frequencies]
        return cos[:length], sin[:length]


def rotate(x: Tensor, rope: tuple[Tensor, Tensor]) -> Tensor:
    """Rotary embedding of [batch, heads, tokens, head_dim]; element i is paired with i + head_dim/2."""
    cos, sin = rope
    a, b = x.chunk(2, dim=-1)
    return torch.cat((a * cos - b * sin, b * cos + a * sin), dim=-1)


def load_torch(checkpoint: Checkpoint) -> TorchModel:
    """The checkpoint as a module in evaluation mode; branches beside their matrices. EdgecError for an encoder."""
    if has_encoder(checkpoint.config):
        raise EdgecError(f"a {checkpoint.config.family} model does not continue text, which this asks of it.")
    extras = {name for name in checkpoint.config.optional_shapes() if name in checkpoint}
    with torch.device("meta"):
        model = TorchModel(checkpoint.structure, extras)
    model = model.to_empty(device="cpu")
    state: dict[str, Any] = {}
    for name in checkpoint.stored_tensors():
        state[name] = torch.from_numpy(checkpoint.tensor(name).copy())
    model.load_state_dict(state, assign=True, strict=not checkpoint.shared)
    for name, owner in checkpoint.shared.items():
        path, _, field = name.rpartition(".")
        setattr(model.get_submodule(path), field, model.get_parameter(owner))
    for name, branch in checkpoint.branches.items():
        set_branch(model, name, branch)
    return model.eval().requires_grad_(False)


def set_branch(model: TorchModel, name: str, branch: LowRank | None) -> None:
    """Put a low-rank branch beside a stored matrix, wherever it is used, or take it away."""
    for user in model.structure.users(name):
        model.linear(user).branch = None if branch is None else (torch.from_numpy(branch.a), torch.from_numpy(branch.b))


def _matrix(structure: Structure, extras: set[str], path: str) -> nn.Module:
    weight, bias = f"{path}.weight", f"{path}.bias" in extras
    n, k = structure.config.tensor_shapes()[weight]
    return Factored(k, n, structure.factors[weight], bias) if weight in structure.factors else Matrix(k, n, bias)
