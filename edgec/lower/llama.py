"""A decoder as a graph: the same graph for decode (one row) and prefill (a chunk of rows).

embed → [norm → q, k, v → rope → cache → attention → o → add → norm → gate, up → silu_mul → down → add] × layers
      → last_row → norm → head → sample

That is LLaMA. What other families do differently is in `ModelConfig`: norms before both adds or with means and biases,
another activation, without a gate, windows and caps of scores, a cap of the logits, learned positions. A block without
attention (ModelConfig.without_attention) begins at its second norm and has no cache.

A matrix with a low-rank branch is two matmuls more and an add: y = W x + B (A x); one that is a product is two matmuls.
Tensors that blocks share are one constant. q, k and v, and gate and up, are one matmul each in a model whose matrices
were joined (`edgec/passes/join_projections.py`).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import accumulate
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgec.compress.quantized import QuantizedModel, QuantizedTensor
from edgec.frontend.model_config import ModelConfig, learned_positions
from edgec.frontend.structure import factor_names
from edgec.ir.graph import Attr, Graph, Node, TensorType, Value
from edgec.ir.verify import verify_graph
from edgec.ops import find, rope
from edgec.passes.join_projections import joint_name

Array = NDArray[Any]
NUMPY_TO_DTYPE = {"float32": "f32", "float16": "f16", "int8": "i8", "uint8": "u8", "int16": "i16", "int32": "i32"}
SIDES = (".scale", ".zero", ".minimum", ".places")  # what lies beside a packed matrix, by the matrix's name


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


@dataclass
class Builder:
    """Adds nodes and values to a graph of a model."""

    graph: Graph
    model: QuantizedModel
    consts: dict[str, Array]

    def const(self, name: str) -> str:
        """A constant, declared when it is first read; what stands for another is that one."""
        name = self.model.shared.get(name, name)
        if name not in self.graph.values:
            array = self.consts[name]
            kind = TensorType(array.shape, NUMPY_TO_DTYPE[array.dtype.name])
            source = name.rsplit(".", 2)[0] if name.endswith(SIDES) else name.rpartition(".")[0]
            self.graph.values[name] = Value(name, kind, "const", source)
        return name

    def state(self, name: str, kind: TensorType, source: str) -> str:
        """A state of this type."""
        self.graph.values[name] = Value(name, kind, "state", source)
        return name

    def add(self, op: str, name: str, inputs: dict[str, str], attrs: dict[str, Attr], source: str) -> dict[str, str]:
        """Append a node; its outputs are named after it, the main one (first) without a suffix."""
        types = find(op).infer({role: self.graph.type_of(v) for role, v in inputs.items()}, attrs)
        outputs = {role: name if i == 0 else f"{name}.{role}" for i, role in enumerate(types)}
        for role, value in outputs.items():
            self.graph.values[value] = Value(value, types[role], "activation", source)
        self.graph.nodes.append(Node(name, op, inputs, outputs, attrs, source))
        return outputs

    def known(self, name: str) -> bool:
        """Whether the model has this constant, be it another one's."""
        return self.model.shared.get(name, name) in self.consts

    def matrix(self, weight: str) -> QuantizedTensor:
        """The packed matrix that is applied as `weight`; of a product the factor that inputs meet first."""
        first = self.model.structure.parts(weight)[0]
        return self.model.matrices[self.model.shared.get(first, first)]

    def packed(self, weight: str, matrix: QuantizedTensor) -> dict[str, str]:
        """A matrix's constants by role."""
        inputs = {"w": self.const(weight), "w_scale": self.const(f"{weight}.scale")}
        if matrix.zero is not None:
            inputs["w_zero"] = self.const(f"{weight}.zero")
        if matrix.minimum is not None:
            inputs["w_min"] = self.const(f"{weight}.minimum")
        if matrix.places is not None:
            inputs["w_pos"] = self.const(f"{weight}.places")
        return inputs

    def quantize(self, x: str, consumers: list[str], source: str) -> dict[int, dict[str, str]]:
        """x quantised in the groups of the matrices that will read it, by group size."""
        return self.quantize_in(x, [self.matrix(name).group_size for name in consumers], source)

    def quantize_in(self, x: str, sizes: list[int], source: str) -> dict[int, dict[str, str]]:
        """x quantised in groups of these sizes, by size."""
        by_size: dict[int, dict[str, str]] = {}
        for size in dict.fromkeys(sizes):
            q = self.add("quantize_dynamic", f"{x}.q8g{size}", {"x": x}, {"group_size": size}, source)
            by_size[size] = {"x": q["q"], "x_scale": q["scale"], "x_sums": q["sums"]}
        return by_size

    def matmul(self, quantized: dict[int, dict[str, str]], name: str, source: str) -> str:
        """x W^T + bias of the matrix `source`.weight."""
        weight = f"{source}.weight"
        if weight in self.model.factors:
            return self.product(quantized, name, source)
        return self.single(quantized, name, source, source)

    def product(self, quantized: dict[int, dict[str, str]], name: str, source: str) -> str:
        """(x A^T) B^T + bias; what A gives is quantised for B."""
        a, b = (part.removesuffix(".weight") for part in factor_names(f"{source}.weight"))
        low = self.single(quantized, f"{name}.factor_a", a, a)
        return self.single(self.quantize(low, [f"{b}.weight"], a), name, b, source)

    def single(self, quantized: dict[int, dict[str, str]], name: str, path: str, source: str) -> str:
        """x by the stored matrix `path`.weight, with the bias of `source`."""
        weight = f"{path}.weight"
        matrix = self.matrix(weight)
        weight = self.model.shared.get(weight, weight)
        inputs = quantized[matrix.group_size] | self.packed(weight, matrix)
        if self.known(f"{source}.bias"):
            inputs["bias"] = self.const(f"{source}.bias")
        attrs: dict[str, Attr] = {"k": matrix.k, "group_size": matrix.group_size}
        op = f"matmul_w{matrix.bits}a8"
        if matrix.pattern is not None:
            op, attrs["removed"], attrs["of"] = f"{op}_nm", *matrix.pattern
        if matrix.layout:
            op = f"{op}_{matrix.layout}"
        if matrix.pattern is not None or matrix.layout:
            del inputs["x_sums"]
        y = self.add(op, name, inputs, attrs, path)["y"]
        return self.branch(y, quantized, name, weight) if weight in self.model.branches else y

    def branch(self, y: str, quantized: dict[int, dict[str, str]], name: str, weight: str) -> str:
        """y + B (A x), where A reads x as its matrix does and A's outputs are quantised for B."""
        a, b = self.model.branches[weight]
        source = weight.removesuffix(".weight")
        low = self.branch_matmul(quantized, a, f"{name}.lora_a", f"{source}.lora_a")
        rounded = self.quantize_in(low, [b.group_size], f"{source}.lora_a")
        high = self.branch_matmul(rounded, b, f"{name}.lora_b", f"{source}.lora_b")
        return self.add("add", f"{name}.lora_add", {"a": y, "b": high}, {}, source)["y"]

    def branch_matmul(
        self, quantized: dict[int, dict[str, str]], matrix: QuantizedTensor, name: str, source: str
    ) -> str:
        """x by one side of a branch."""
        inputs = quantized[matrix.group_size] | {"w": self.const(f"{source}.weight")}
        inputs["w_scale"] = self.const(f"{source}.weight.scale")
        attrs: dict[str, Attr] = {"k": matrix.k, "group_size": matrix.group_size}
        return self.add(f"matmul_w{matrix.bits}a8", name, inputs, attrs, source)["y"]

    def norm(self, x: str, name: str, source: str) -> str:
        """The root-mean-square norm of a module."""
        eps = self.model.config.norm_eps
        if self.known(f"{source}.bias"):
            inputs = {"x": x, "gain": self.const(f"{source}.weight"), "bias": self.const(f"{source}.bias")}
            return self.add("layernorm", name, inputs, {"eps": eps}, source)["y"]
        return self.add("rmsnorm", name, {"x": x, "gain": self.const(f"{source}.weight")}, {"eps": eps}, source)["y"]


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
    table = "model.embed_tokens.weight"
    matrix = model.matrices[table]
    inputs = {"tokens": "tokens", **b.packed(table, matrix)}
    attrs: dict[str, Attr] = {"k": matrix.k, "bits": matrix.bits, "group_size": matrix.group_size}
    if config.embed_scale != 1:
        attrs["factor"] = config.embed_scale
    x = b.add("embed", "embed", inputs, attrs, "model.embed_tokens")["y"]
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
