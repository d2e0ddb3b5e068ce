"""A BART-type model as three graphs over shared states: `encode` once for a source, then `prefill` and `decode`.

    encode            the encoder's sweeps → k, v → cross cache of each of the decoder's blocks
    prefill, decode   embed → positions → norm
                      → [q, k, v → cache → attention → o → add → norm
                         → q → cross attention → o → add → norm → up → gelu → down → add → norm] × layers
                      → last_row → head → sample

Cross attention sees as many rows of its cache as the source has tokens, which is the state `length`.
"""

from __future__ import annotations

from typing import Any

from numpy.typing import NDArray

from edgec.compress.quantized import QuantizedModel
from edgec.frontend.seq2seq_config import ENCODER, HEAD_BIAS, Seq2SeqConfig
from edgec.ir.graph import Attr, Graph, TensorType, Value
from edgec.ir.verify import verify_graph
from edgec.lower.encoder import EncoderBuilder, EncoderShape, PostNormBuilder

Array = NDArray[Any]
ENCODER_TABLE, DECODER_TABLE = "encoder_positions.table", "positions.table"
GELU = {"gelu": "erf", "gelu_tanh": "tanh"}


def lower(
    model: QuantizedModel, consts: dict[str, Array], name: str, rows: int, context: int, layers: int | None = None
) -> Graph:
    """The graph of a program. layers: of the first so many blocks only, of all if the decoder has no more."""
    config = model.config
    assert isinstance(config, Seq2SeqConfig)
    layers = None if layers is None or layers >= config.n_layers else layers
    return (_encode if name == "encode" else _write)(model, consts, name, rows, context, layers)


def _encode(
    model: QuantizedModel, consts: dict[str, Array], name: str, rows: int, context: int, layers: int | None
) -> Graph:
    config = model.config
    assert isinstance(config, Seq2SeqConfig)
    gelu = GELU[config.activation]
    shape = EncoderShape(ENCODER, "enc.", ENCODER_TABLE, config.encoder_layers, config.encoder_heads, gelu)
    b = EncoderBuilder(Graph(name, rows), model, consts, shape)
    x = b.encoded(context, layers)
    modules = [f"model.layers.{layer}.cross_attn" for layer in range(config.n_layers)[:layers]]
    quantized = b.quantize(x, [f"{cross}.{r}_proj.weight" for cross in modules for r in "kv"], modules[0])
    attrs: dict[str, Attr] = {"head_dim": config.head_dim}
    for layer, cross in enumerate(modules):
        new = {r: b.matmul(quantized, f"l{layer}.cross.{r}", f"{cross}.{r}_proj") for r in "kv"}
        b.add("kv_append", f"l{layer}.cross.kv", new | _cross_cache(b, layer, context, config), attrs, cross)
    verify_graph(b.graph, "lowering")
    return b.graph


def _write(
    model: QuantizedModel, consts: dict[str, Array], name: str, rows: int, context: int, layers: int | None
) -> Graph:
    config = model.config
    assert isinstance(config, Seq2SeqConfig)
    b = PostNormBuilder(Graph(name, rows), model, consts)
    b.graph.values["tokens"] = Value("tokens", TensorType((rows,), "i32"), "input")
    b.state("sampling", TensorType((6,), "i32"), "")
    b.state("length", TensorType((1,), "i32"), "length")
    x = b.embedded("model.", "", DECODER_TABLE)
    for layer in range(config.n_layers)[:layers]:
        x = _block(b, x, layer, context, config)
    if rows > 1:
        x = b.add("last_row", "last", {"x": x}, {}, "lm_head")["y"]
    embed = "model.embed_tokens"
    head = HEAD_BIAS.removesuffix(".bias")
    logits = b.single(b.quantize(x, [f"{embed}.weight"], head), "logits", embed, head)
    token = b.add("sample", "token", {"logits": logits, "params": "sampling"}, {}, "sample")["token"]
    b.graph.outputs = [logits, token]
    verify_graph(b.graph, "lowering")
    return b.graph


def _block(b: PostNormBuilder, x: str, layer: int, context: int, config: Seq2SeqConfig) -> str:
    name, block = f"l{layer}", f"model.layers.{layer}"
    heads, own, cross = b.heads(config.n_heads), f"{block}.self_attn", f"{block}.cross_attn"
    new = b.projected(x, "qkv", name, own)
    q, cache = new.pop("q"), b.new_cache(name + ".{}_cache", context, config.n_heads, own)
    b.add("kv_append", f"{name}.kv", new | cache, {"head_dim": config.head_dim}, own)
    a = b.add("attention", f"{name}.attn", {"q": q, **cache}, heads, own)["y"]
    x = b.attended(x, a, name, own)
    inputs = b.projected(x, "q", f"{name}.cross", cross) | _cross_cache(b, layer, context, config)
    a = b.add("attention_full", f"{name}.cross.attn", inputs | {"length": "length"}, heads, cross)["y"]
    x = b.attended(x, a, f"{name}.cross", cross)
    return b.fed_forward(x, name, block, GELU[config.activation])


def _cross_cache(b: PostNormBuilder, layer: int, context: int, config: Seq2SeqConfig) -> dict[str, str]:
    """Keys and values of a source for a block, by role."""
    source = f"model.layers.{layer}.cross_attn"
    return b.new_cache(f"l{layer}.cross." + "{}_cache", context, config.n_heads, source)
