"""Sweeps of an encoder with norms behind attention and feed-forward network, over a text (`edgec/ops/state_rows.py`).

    embed → positions → norm → store ─┬→ k, v → cache
    [load → q → attention → o → add → norm → up → gelu → down → add → norm ─┬→ store → k, v → cache ] × layers
                                                                            └→ what follows      (the last one)

A sweep ends with keys and values of the layer after it. Layers take turns with two caches: one is read by all rows of
a sweep while the other is written.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from edgec.ir.graph import Attr, TensorType, Value
from edgec.lower.builder import Builder


@dataclass(frozen=True)
class EncoderShape:
    """What the graph of an encoder depends on beside the model's own sizes.

    path, name: in front of the names of its tensors, and of values; table: of positions; gelu: erf or tanh.
    """

    path: str
    name: str
    table: str
    n_layers: int
    n_heads: int
    gelu: str

    def layer(self, number: int) -> str:
        """A layer's path."""
        return f"{self.path}layers.{number}"


@dataclass
class PostNormBuilder(Builder):
    """Parts of blocks whose norms stand behind what they normalise."""

    def embedded(self, path: str, name: str, table: str) -> str:
        """Tokens and their positions, normalised. path, name: in front of tensors' and of values' names."""
        x = self.looked_up(f"{name}embed")
        inputs = {"x": x, "table": self.const(table)}
        x = self.add("add_positions", f"{name}embed_positions", inputs, {}, f"{path}embed_positions")["y"]
        return self.norm(x, f"{name}embed_norm", f"{path}embed_norm")

    def projected(self, x: str, roles: str, name: str, module: str) -> dict[str, str]:
        """x by matrices of an attention, by role."""
        quantized = self.quantize(x, [f"{module}.{r}_proj.weight" for r in roles], module)
        return {r: self.matmul(quantized, f"{name}.{r}", f"{module}.{r}_proj") for r in roles}

    def attended(self, x: str, a: str, name: str, module: str) -> str:
        """What attention mixed, through its last matrix, added to its input and normalised."""
        o = self.matmul(self.quantize(a, [f"{module}.o_proj.weight"], module), f"{name}.o", f"{module}.o_proj")
        x = self.add("add", f"{name}.attn_add", {"a": x, "b": o}, {}, module)["y"]
        return self.norm(x, f"{name}.attn_norm", f"{module}_norm")

    def fed_forward(self, x: str, name: str, block: str, gelu: str) -> str:
        """The feed-forward network of a block, added to its input and normalised."""
        mlp = f"{block}.mlp"
        up = self.matmul(self.quantize(x, [f"{mlp}.up_proj.weight"], mlp), f"{name}.up", f"{mlp}.up_proj")
        h = self.add("gelu", f"{name}.gelu", {"x": up}, {"form": gelu}, mlp)["y"]
        down = self.matmul(self.quantize(h, [f"{mlp}.down_proj.weight"], mlp), f"{name}.down", f"{mlp}.down_proj")
        x = self.add("add", f"{name}.mlp_add", {"a": x, "b": down}, {}, mlp)["y"]
        return self.norm(x, f"{name}.mlp_norm", f"{mlp}_norm")

    def heads(self, n_heads: int) -> dict[str, Attr]:
        """Attributes of attention with as many heads of keys and values."""
        return {"n_heads": n_heads, "n_kv_heads": n_heads, "head_dim": self.model.config.hidden_dim // n_heads}

    def new_cache(self, name: str, context: int, n_heads: int, source: str) -> dict[str, str]:
        """States for keys and values of a context, by role; `name` has a place for k or v."""
        made = {}
        for r in "kv":
            kind = TensorType((context, self.model.config.hidden_dim), "i8")
            made[f"{r}_cache"] = self.state(name.format(r), kind, source)
            made[f"{r}_scale"] = self.state(f"{name.format(r)}.scale", TensorType((context, n_heads), "f16"), source)
        return made


@dataclass
class EncoderBuilder(PostNormBuilder):
    """Parts of the graph; `rows` of hidden states and the caches are states."""

    shape: EncoderShape
    caches: list[dict[str, str]] = field(default_factory=list)

    def encoded(self, context: int, layers: int | None) -> str:
        """The last rows of a text, in its last sweep. layers: of the first so many only."""
        self.begin(context)
        count = self.shape.n_layers if layers is None else min(layers, self.shape.n_layers)
        x = self.keep(self.embedded(self.shape.path, self.shape.name, self.shape.table), 0)
        for layer in range(count):
            x = self.block(x, layer)
            if layer + 1 < count:
                x = self.keep(x, layer + 1)
        return x

    def begin(self, context: int) -> None:
        """The text: its tokens and its length; what lives from sweep to sweep."""
        config, rows = self.model.config, self.graph.rows
        self.graph.values["tokens"] = Value("tokens", TensorType((rows,), "i32"), "input")
        self.state("length", TensorType((1,), "i32"), "length")
        self.state("hidden.rows", TensorType((context, config.hidden_dim), "f32"), "model")
        self.caches = [self.new_cache("{}_cache." + str(turn), context, self.shape.n_heads, "model") for turn in (0, 1)]

    def keep(self, x: str, layer: int) -> str:
        """The end of a sweep: what enters a layer, and the keys and values that all of its rows will need."""
        name, attn = f"{self.shape.name}l{layer}", f"{self.shape.layer(layer)}.self_attn"
        x = self.add("store_rows", f"{name}.input", {"x": x, "rows": "hidden.rows"}, {}, attn)["y"]
        attrs: dict[str, Attr] = {"head_dim": self.model.config.hidden_dim // self.shape.n_heads}
        new = self.projected(x, "kv", name, attn)
        self.add("kv_append", f"{name}.kv", new | self.caches[layer % 2], attrs, attn)
        return x

    def block(self, x: str, layer: int) -> str:
        """A sweep: a layer on rows whose keys and values are all there."""
        name, block = f"{self.shape.name}l{layer}", self.shape.layer(layer)
        attn = f"{block}.self_attn"
        x = self.add("load_rows", f"{name}.rows", {"tokens": "tokens", "rows": "hidden.rows"}, {}, attn)["y"]
        inputs = {**self.projected(x, "q", name, attn), **self.caches[layer % 2], "length": "length"}
        a = self.add("attention_full", f"{name}.attn", inputs, self.heads(self.shape.n_heads), attn)["y"]
        return self.fed_forward(self.attended(x, a, name, attn), name, block, self.shape.gelu)
