"""A decoder as a graph: the same graph for decode (one row) and prefill (a chunk of rows).

embed → [norm → q, k, v → rope → cache → attention → o → add → norm → gate, up → silu_mul → down → add] × layers
      → last_row → norm → head → sample

That is LLaMA. What other families do differently is in `ModelConfig`: norms before both adds or with means and biases,
another activation, without a gate, windows and caps of scores, a cap of the logits, learned positions. A block without
attention (ModelConfig.without_attention) begins at its second norm and has no cache.

q, k and v, and gate and up, are one matmul each in a model whose matrices were joined
(`edgec/passes/join_projections.py`).
"""

from __future__ import annotations

from collections.abc import Mapping
from itertools import accumulate
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgec.compress.quantized import QuantizedModel
from edgec.frontend.model_config import ModelConfig, learned_positions
from edgec.ir.graph import Attr, Graph, TensorType, Value
from edgec.ir.verify import verify_graph
from edgec.lower.builder import Builder
from edgec.ops import rope
from edgec.passes.join_projections import joint_name

Array = NDArray[Any]


def constants(model: QuantizedModel, context: int) -> dict[str, Array]:
    """Every constant by name: packed matrices and what lies beside them (SIDES), norms, biases, the rope table."""
    consts: dict[str, Array] = {}
    for name, matrix in model.matrices.items():
        consts[name] = matrix.packed
        consts[f"{name}.scale"] = matrix.scale
        if matrix.zero is not None:
            consts[f"{name}.zero"] = matrix.zero
        if matrix.minimum is not None:
            consts[f"{name}.minimum"] = matrix.minimum
        if matrix.places is not None:
            consts[f"{name}.places"] = matrix.places
        if matrix.tail is not None:
            consts[f"{name}.tail"] = matrix.tail
        if matrix.fold is not None:
            consts[f"{name}.fold"] = matrix.fold
    for name, branch in model.branches.items():
        for side, matrix in zip("ab", branch, strict=True):
            path = f"{name.removesuffix('weight')}lora_{side}.weight"
            consts |= {path: matrix.packed, f"{path}.scale": matrix.scale}
    consts.update({name: array for name, array in model.floats.items() if not learned_positions(name)})
    consts.update({f"{attn}.k_centre": centre for attn, centre in model.key_centres.items()})
    return consts | tables(model.config, context, model.floats)


def tables(config: ModelConfig, context: int, floats: Mapping[str, Array]) -> dict[str, Array]:
    """The tables by position: angles of all layers, of those with a window where they have their own; or learned ones.

    floats: among them the learned ones, float32, by their tensors' names.
    """
    learned = {name: array for name, array in floats.items() if learned_positions(name)}
    if learned:
        return {positions_table(name): array[:context].astype(np.float16) for name, array in learned.items()}
    found = {"rope.table": rope.table(config.rope_inv_freq, context)}
    if config.local_inv_freq:
        found["rope_local.table"] = rope.table(config.local_inv_freq, context)
    return found


def positions_table(name: str) -> str:
    """The constant that stands for a tensor of learned positions: `model.encoder.embed_...` is an encoder's own."""
    owner = name.removeprefix("model.").removesuffix("embed_positions.weight")
    return f"{owner.replace('.', '_')}positions.table"


def lower(
    model: QuantizedModel, consts: dict[str, Array], name: str, rows: int, context: int, layers: int | None = None
) -> Graph:
    """The graph of one run of at most `rows` tokens over a cache of `context` positions.

    Of the constants only shapes and types matter. layers: of the first so many blocks that have attention only, as
    those ask for most of the compute memory.
    """
    config = model.config
    b = Builder(Graph(name, rows), model, consts)
    b.graph.values["tokens"] = Value("tokens", TensorType((rows,), "i32"), "input")
    b.graph.values["sampling"] = Value("sampling", TensorType((6,), "i32"), "state")
    x = b.looked_up("embed")
    if config.learned_positions:
        inputs = {"x": x, "table": b.const("positions.table")}
        x = b.add("add_positions", "positions", inputs, {}, "model.embed_positions")["y"]
    for layer in range(config.n_layers) if layers is None else config.attention_layers[:layers]:
        x = _block(b, x, layer, context)
    if rows > 1:
        x = b.add("last_row", "last", {"x": x}, {}, "model.norm")["y"]
    x = b.norm(x, "norm", "model.norm")
    head = "model.embed_tokens" if config.tied_embeddings else "lm_head"
    cap = config.logit_softcap
    logits = b.matmul(b.quantize(x, [f"{head}.weight"], "model.norm"), "scores" if cap else "logits", head)
    if cap:
        logits = b.add("softcap", "logits", {"x": logits}, {"cap": cap}, head)["y"]
    token = b.add("sample", "token", {"logits": logits, "params": "sampling"}, {}, "sample")["token"]
    b.graph.outputs = [logits, token]
    verify_graph(b.graph, "lowering")
    return b.graph


def _block(b: Builder, x: str, layer: int, context: int) -> str:
    if layer not in b.model.config.without_attention:
        x = _attention(b, x, layer, context)
    return _feed_forward(b, x, layer)


def _attention(b: Builder, x: str, layer: int, context: int) -> str:
    config = b.model.config
    p, source = f"l{layer}", f"model.layers.{layer}"
    attn = f"{source}.self_attn"
    kv, d = config.n_kv_heads, config.head_dim
    heads: dict[str, Attr] = {"n_heads": config.n_heads, "n_kv_heads": kv, "head_dim": d}
    limits = {"scale": config.query_scale, "window": config.window(layer), "softcap": config.score_softcap}
    heads |= {name: value for name, value in limits.items() if value}
    local = config.is_local(layer)

    h = b.norm(x, f"{p}.attn_norm", f"{source}.input_layernorm")
    widths = {"q": config.n_heads * d, "k": kv * d, "v": kv * d}
    projected, first = _projections(b, h, f"{source}.input_layernorm", p, attn, widths)
    for r in "qk":
        if b.known(f"{attn}.{r}_norm.weight"):
            projected[r] = b.norm(projected[r], f"{p}.{r}_norm", f"{attn}.{r}_norm")
        if config.learned_positions:
            continue
        inputs = {"x": projected[r], "table": b.const("rope_local.table" if local else "rope.table")}
        attrs: dict[str, Attr] = {"head_dim": d, "unit": (1.0 if local else config.rope_factor) / rope.ONE}
        if first:
            attrs |= {"first": first[r], "width": widths[r]}
        projected[r] = b.add("rope", f"{p}.{r}_rope", inputs, attrs, attn)["y"]
    cache, width = {}, b.model.kv_bits
    kind = TensorType((context, kv * d), "i8") if width == 8 else TensorType((context, kv * d // 2), "u8")
    suffix = "" if width == 8 else f"_i{width}"
    for r in "kv":
        cache[f"{r}_cache"] = b.state(f"{p}.{r}_cache", kind, attn)
        cache[f"{r}_scale"] = b.state(f"{p}.{r}_cache.scale", TensorType((context, kv), "f16"), attn)
    new = {"k": projected["k"], "v": projected["v"]}
    if f"{attn}.k_centre" in b.consts:
        new["k_centre"] = b.const(f"{attn}.k_centre")
    attrs = {"head_dim": d, **({"v_first": first["v"]} if first else {})}
    b.add(f"kv_append{suffix}", f"{p}.kv", new | cache, attrs, attn)
    a = b.add(f"attention{suffix}", f"{p}.attn", {"q": projected["q"], **cache}, heads, attn)["y"]
    o = b.matmul(b.quantize(a, [f"{attn}.o_proj.weight"], attn), f"{p}.o", f"{attn}.o_proj")
    if config.double_norms:
        o = b.norm(o, f"{p}.attn_out_norm", f"{source}.post_attention_layernorm")
    return b.add("add", f"{p}.attn_add", {"a": x, "b": o}, {}, attn)["y"]


def _feed_forward(b: Builder, x: str, layer: int) -> str:
    config = b.model.config
    p, source = f"l{layer}", f"model.layers.{layer}"
    mlp, before_mlp = f"{source}.mlp", f"{source}.{config.mlp_norm}"
    h = b.norm(x, f"{p}.mlp_norm", before_mlp)
    h = _activated(b, h, before_mlp, p, mlp)
    down = b.matmul(b.quantize(h, [f"{mlp}.down_proj.weight"], mlp), f"{p}.down", f"{mlp}.down_proj")
    if config.double_norms:
        down = b.norm(down, f"{p}.mlp_out_norm", f"{source}.post_feedforward_layernorm")
    return b.add("add", f"{p}.mlp_add", {"a": x, "b": down}, {}, mlp)["y"]


def _activated(b: Builder, x: str, norm: str, block: str, module: str) -> str:
    """What goes into a block's down projection: act(gate x) * up x, or act(up x)."""
    config = b.model.config
    name = config.activation.partition("_")[0]
    if not config.gated:
        up = b.matmul(b.quantize(x, [f"{module}.up_proj.weight"], norm), f"{block}.up", f"{module}.up_proj")
        form = {"gelu": "erf", "gelu_tanh": "tanh"}[config.activation]
        return b.add("gelu", f"{block}.gelu", {"x": up}, {"form": form}, module)["y"]
    gated, joint = _projections(b, x, norm, block, module, {"gate": config.ffn_dim, "up": config.ffn_dim})
    return b.add(f"{name}_mul", f"{block}.{name}", {"gate_up": gated["gate"]} if joint else gated, {}, module)["y"]


def _projections(
    b: Builder, x: str, norm: str, block: str, module: str, widths: dict[str, int]
) -> tuple[dict[str, str], dict[str, int]]:
    """x by several matrices of a module: results by role and, if one matrix computes all, each role's first column."""
    joint = joint_name(module, list(widths))
    names = [joint] if b.known(f"{joint}.weight") else [f"{module}.{role}_proj" for role in widths]
    quantized = b.quantize(x, [f"{name}.weight" for name in names], norm)
    made = [b.matmul(quantized, f"{block}.{name.rpartition('.')[2].removesuffix('_proj')}", name) for name in names]
    if names != [joint]:
        return dict(zip(widths, made, strict=True)), {}
    ends = list(accumulate(widths.values(), initial=0))
    return dict.fromkeys(widths, made[0]), dict(zip(widths, ends, strict=False))
