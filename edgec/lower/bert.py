"""A BERT-type encoder as a graph of sweeps over a text (`edgec/ops/state_rows.py`).

    embed → positions → norm → store ─┬→ k, v → cache
    [load → q → attention → o → add → norm → up → gelu → down → add → norm ─┬→ store → k, v → cache ] × layers
                                                                            └→ pool → unit length    (the last one)

A sweep ends with keys and values of the layer after it. Layers take turns with two caches: one is read by all rows of
a sweep while the other is written.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgec.compress.quantized import QuantizedModel
from edgec.frontend.encoder_config import EncoderConfig
from edgec.ir.graph import Attr, Graph, TensorType, Value
from edgec.ir.verify import verify_graph
from edgec.lower import llama
from edgec.lower.llama import Builder

Array = NDArray[Any]
TABLE, UNIT = "positions.table", "unit.gain"
TINY = 1e-24  # beside the mean square of a vector: one of zeros stays one


def constants(model: QuantizedModel, context: int) -> dict[str, Array]:
    """Every constant by name: a decoder's kinds, the table of positions, and what gives a vector the length 1."""
    consts = llama.constants(model, context)
    config = model.config
    if isinstance(config, EncoderConfig) and config.normalize:
        consts[UNIT] = np.full(config.hidden_dim, config.hidden_dim**-0.5, np.float32)
    return consts


def lower(
    model: QuantizedModel, consts: dict[str, Array], name: str, rows: int, context: int, layers: int | None = None
) -> Graph:
    """The graph of one text of at most `context` tokens, `rows` at a time. layers: of the first so many only."""
    config = model.config
    assert isinstance(config, EncoderConfig)
    b = _Encoder(Graph(name, rows), model, consts)
    b.begin(context)
    table = "model.embed_tokens.weight"
    matrix = model.matrices[table]
    inputs = {"tokens": "tokens", **b.packed(table, matrix)}
    attrs: dict[str, Attr] = {"k": matrix.k, "bits": matrix.bits, "group_size": matrix.group_size}
    x = b.add("embed", "embed", inputs, attrs, "model.embed_tokens")["y"]
    inputs = {"x": x, "table": b.const(TABLE)}
    x = b.add("add_positions", "embed_positions", inputs, {}, "model.embed_positions")["y"]
    x = b.layernorm(x, "embed_norm", "model.embed_norm")
    count = config.n_layers if layers is None else layers
    x = b.keep(x, 0)
    for layer in range(count):
        x = b.block(layer)
        if layer + 1 < count:
            x = b.keep(x, layer + 1)
    b.graph.outputs = [b.vector(x)]
    verify_graph(b.graph, "lowering")
    return b.graph


class _Encoder(Builder):
    """Parts of the graph; `rows` of hidden states and the caches are states."""

    def begin(self, context: int) -> None:
        """The text: its tokens and its length; what lives from sweep to sweep."""
        config, rows = self.model.config, self.graph.rows
        width = config.n_heads * config.head_dim
        self.graph.values["tokens"] = Value("tokens", TensorType((rows,), "i32"), "input")
        self.state("length", TensorType((1,), "i32"), "length")
        self.state("hidden.rows", TensorType((context, config.hidden_dim), "f32"), "model")
        for turn in range(2):
            for r in "kv":
                self.state(f"{r}_cache.{turn}", TensorType((context, width), "i8"), "model")
                self.state(f"{r}_cache.{turn}.scale", TensorType((context, config.n_heads), "f16"), "model")

    def cache(self, layer: int) -> dict[str, str]:
        """A layer's keys and values by role."""
        turn = layer % 2
        names = {f"{r}_cache": f"{r}_cache.{turn}" for r in "kv"}
        return names | {f"{r}_scale": f"{r}_cache.{turn}.scale" for r in "kv"}

    def keep(self, x: str, layer: int) -> str:
        """The end of a sweep: what enters a layer, and the keys and values that all of its rows will need."""
        p, attn = f"l{layer}", f"model.layers.{layer}.self_attn"
        x = self.add("store_rows", f"{p}.input", {"x": x, "rows": "hidden.rows"}, {}, attn)["y"]
        names = {r: f"{attn}.{r}_proj" for r in "kv"}
        quantized = self.quantize(x, [f"{name}.weight" for name in names.values()], attn)
        new = {r: self.matmul(quantized, f"{p}.{r}", name) for r, name in names.items()}
        attrs: dict[str, Attr] = {"head_dim": self.model.config.head_dim}
        self.add("kv_append", f"{p}.kv", new | self.cache(layer), attrs, attn)
        return x

    def block(self, layer: int) -> str:
        """A sweep: a layer on rows whose keys and values are all there."""
        config = self.model.config
        assert isinstance(config, EncoderConfig)
        p, source = f"l{layer}", f"model.layers.{layer}"
        attn, mlp = f"{source}.self_attn", f"{source}.mlp"
        heads: dict[str, Attr] = {"n_heads": config.n_heads, "n_kv_heads": config.n_heads, "head_dim": config.head_dim}
        x = self.add("load_rows", f"{p}.rows", {"tokens": "tokens", "rows": "hidden.rows"}, {}, attn)["y"]
        q = self.matmul(self.quantize(x, [f"{attn}.q_proj.weight"], attn), f"{p}.q", f"{attn}.q_proj")
        inputs = {"q": q, **self.cache(layer), "length": "length"}
        a = self.add("attention_full", f"{p}.attn", inputs, heads, attn)["y"]
        o = self.matmul(self.quantize(a, [f"{attn}.o_proj.weight"], attn), f"{p}.o", f"{attn}.o_proj")
        x = self.add("add", f"{p}.attn_add", {"a": x, "b": o}, {}, attn)["y"]
        x = self.layernorm(x, f"{p}.attn_norm", f"{source}.self_attn_norm")
        up = self.matmul(self.quantize(x, [f"{mlp}.up_proj.weight"], mlp), f"{p}.up", f"{mlp}.up_proj")
        h = self.add("gelu", f"{p}.gelu", {"x": up}, {"form": config.gelu}, mlp)["y"]
        down = self.matmul(self.quantize(h, [f"{mlp}.down_proj.weight"], mlp), f"{p}.down", f"{mlp}.down_proj")
        x = self.add("add", f"{p}.mlp_add", {"a": x, "b": down}, {}, mlp)["y"]
        return self.layernorm(x, f"{p}.mlp_norm", f"{source}.mlp_norm")

    def vector(self, x: str) -> str:
        """The rows so far as one vector, of length 1 where the model wants that."""
        config = self.model.config
        assert isinstance(config, EncoderConfig)
        total = self.state("pool.sum", TensorType((1, config.hidden_dim), "f32"), "pool")
        pooled = "pooled" if config.normalize else "embedding"
        y = self.add("pool", pooled, {"x": x, "sum": total}, {"mode": config.pooling}, "pool")["y"]
        if not config.normalize:
            return y
        # x / sqrt(mean square) is sqrt(k) long.
        return self.add("rmsnorm", "embedding", {"x": y, "gain": self.const(UNIT)}, {"eps": TINY}, "unit")["y"]

    def layernorm(self, x: str, name: str, source: str) -> str:
        """The norm of a module."""
        inputs = {"x": x, "gain": self.const(f"{source}.weight"), "bias": self.const(f"{source}.bias")}
        return self.add("layernorm", name, inputs, {"eps": self.model.config.norm_eps}, source)["y"]
