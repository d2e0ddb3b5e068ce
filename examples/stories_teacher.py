"""The teacher stories260K in llama2.c format: read it, convert or grow it, convert its tokenizer.

Used by `train_stories.py`.
"""

import math
import struct
from pathlib import Path
from typing import Any

import torch
from tokenizers import AddedToken, Tokenizer, decoders, models, normalizers, processors
from torch import Tensor
from transformers import LlamaConfig, LlamaForCausalLM

BOS, EOS = 1, 2
SIZES = (  # the llama2.c header, in its order, under the names of LlamaConfig
    "hidden_size",
    "intermediate_size",
    "num_hidden_layers",
    "num_attention_heads",
    "num_key_value_heads",
    "vocab_size",
    "max_position_embeddings",
)
ARCHITECTURE: dict[str, Any] = {
    "hidden_act": "silu",
    "rms_norm_eps": 1e-5,
    "rope_theta": 10000.0,
    "attention_bias": False,
    "mlp_bias": False,
    "tie_word_embeddings": True,
    "bos_token_id": BOS,
    "eos_token_id": [BOS, EOS],  # stories260K ends a story with the BOS of the next one
}


def read_teacher(path: Path) -> tuple[dict[str, int], dict[str, Tensor]]:
    """The SIZES of a llama2.c checkpoint and its tensors by name, [layers, out, in]."""
    data = path.read_bytes()
    header = struct.unpack("7i", data[:28])
    dim, hidden, layers, heads, kv_heads, vocab, _ = header
    if vocab < 0:
        raise ValueError(f"{path}: output weights of their own; only a tied checkpoint can be grown")
    kv_dim = dim // heads * kv_heads
    shapes = {
        "embed": (vocab, dim),
        "attention_norm": (layers, dim),
        "q": (layers, dim, dim),
        "k": (layers, kv_dim, dim),
        "v": (layers, kv_dim, dim),
        "o": (layers, dim, dim),
        "ffn_norm": (layers, dim),
        "gate": (layers, hidden, dim),
        "down": (layers, dim, hidden),
        "up": (layers, hidden, dim),
        "norm": (dim,),
    }
    flat = torch.frombuffer(bytearray(data[28:]), dtype=torch.float32)
    lengths = [math.prod(shape) for shape in shapes.values()]
    parts = torch.split(flat[: sum(lengths)], lengths)
    tensors = {n: p.reshape(s) for (n, s), p in zip(shapes.items(), parts, strict=True)}
    return dict(zip(SIZES, header, strict=True)), tensors


def grow(old: dict[str, int], t: dict[str, Tensor], new: dict[str, int], noise: float = 0.0) -> LlamaForCausalLM:
    """A model of the SIZES `new` that computes what the tensors `t` of the SIZES `old` compute.

    The residual stream [x] becomes [x, x]: what writes to it is repeated, what reads it is split
    into halves that differ by `noise` and add up to the old weights. New rows that read are noise,
    and the columns that would use them are zero. RoPE pairs (2i, 2i + 1) of llama2.c go to the rows
    (i, i + head_dim / 2) that turn at the frequency they had. `new == old` is a plain conversion.
    """
    width = new["hidden_size"] // old["hidden_size"]
    heads, kv_heads = old["num_attention_heads"], old["num_key_value_heads"]
    d_old, d_new = old["hidden_size"] // heads, new["hidden_size"] // heads
    plain, ffn = torch.arange(d_old), new["intermediate_size"]
    rope = plain // 2 * (d_new // d_old) + plain % 2 * (d_new // 2)
    q_scale = math.sqrt(d_new / d_old)  # attention divides by sqrt(head_dim)
    model = LlamaForCausalLM(LlamaConfig(**{**ARCHITECTURE, **new, "head_dim": d_new}))

    def read(w: Tensor) -> Tensor:
        if width == 1:
            return w
        delta = torch.randn(w.shape) * noise
        return torch.cat([w / 2 + delta, w / 2 - delta], dim=1)

    def write(w: Tensor) -> Tensor:
        return w.repeat(width, 1)

    def head_rows(w: Tensor, n: int, rows: Tensor, fill: float) -> Tensor:
        out = torch.randn(n, d_new, w.shape[1]) * fill
        out[:, rows] = w.reshape(n, d_old, -1)
        return out.flatten(0, 1)

    def more_rows(w: Tensor, size: int, fill: float) -> Tensor:
        return torch.cat([w, torch.randn(size - w.shape[0], w.shape[1]) * fill])

    with torch.no_grad():
        model.model.embed_tokens.weight.copy_(t["embed"].repeat(1, width))
        model.model.norm.weight.copy_(t["norm"].repeat(width) / width)
        for i, layer in enumerate(model.model.layers):
            attention, mlp = layer.self_attn, layer.mlp
            if i >= old["num_hidden_layers"]:  # a new layer starts as the identity
                attention.o_proj.weight.zero_()
                mlp.down_proj.weight.zero_()
                continue
            attention.q_proj.weight.copy_(read(head_rows(t["q"][i] * q_scale, heads, rope, noise)))
            attention.k_proj.weight.copy_(read(head_rows(t["k"][i], kv_heads, rope, 0)))
            attention.v_proj.weight.copy_(read(head_rows(t["v"][i], kv_heads, plain, noise)))
            attention.o_proj.weight.copy_(write(head_rows(t["o"][i].T, heads, plain, 0).T))
            mlp.gate_proj.weight.copy_(read(more_rows(t["gate"][i], ffn, noise)))
            mlp.up_proj.weight.copy_(read(more_rows(t["up"][i], ffn, noise)))
            mlp.down_proj.weight.copy_(write(more_rows(t["down"][i].T, ffn, 0).T))
            layer.input_layernorm.weight.copy_(t["attention_norm"][i].repeat(width))
            layer.post_attention_layernorm.weight.copy_(t["ffn_norm"][i].repeat(width))
    return model


def build_tokenizer(path: Path) -> Tokenizer:
    """llama2.c's tokenizer file as a Hugging Face BPE tokenizer that encodes and decodes the same.

    Two exceptions follow Hugging Face's conventions: a "▁" in the text counts as a space, and the
    texts "<unk>", "<s>" and "</s>" are read as those tokens.
    """
    data, at, pieces, scores = path.read_bytes(), 4, [], []
    while at < len(data):
        score, size = struct.unpack_from("fi", data, at)
        scores.append(score)
        pieces.append(data[at + 8 : at + 8 + size].decode().replace(" ", "▁"))
        at += 8 + size
    pieces[:3] = ["<unk>", "<s>", "</s>"]
    vocab = {piece: i for i, piece in enumerate(pieces)}
    ranked = sorted(range(259, len(pieces)), key=lambda i: (-scores[i], i))  # after the 256 bytes
    splits = ((pieces[i][:k], pieces[i][k:]) for i in ranked for k in range(1, len(pieces[i])))
    merges = [(left, right) for left, right in splits if left in vocab and right in vocab]
    tokenizer = Tokenizer(models.BPE(vocab=vocab, merges=merges, unk_token="<unk>", fuse_unk=True, byte_fallback=True))
    tokenizer.add_special_tokens([AddedToken(p, special=True, normalized=False) for p in pieces[:3]])
    tokenizer.normalizer = normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])
    tokenizer.decoder = decoders.Sequence(
        [
            decoders.Replace("▁", " "),
            decoders.ByteFallback(),
            decoders.Fuse(),
            decoders.Strip(" ", 1, 0),
        ]
    )
    tokenizer.post_processor = processors.TemplateProcessing(
        single="<s> $A", pair="<s> $A <s> $B", special_tokens=[("<s>", BOS)]
    )
    return tokenizer
