"""Where the files of a family keep the tensors that a Checkpoint names: one table for reading and for writing.

    phi3             q, k and v are rows of one matrix, gate and up of another
    gemma2, gemma3   a norm's stored weight w stands for the gain 1 + w, in float32
    gpt2             names of its own; q, k and v are columns of one matrix, and all matrices are [inputs, outputs]
    gpt_neo          names of its own

Families that are not listed keep every tensor as the Checkpoint has it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from edgec.errors import ModelError
from edgec.frontend.checkpoint import FloatArray
from edgec.frontend.model_config import ModelConfig
from edgec.frontend.safetensors_file import StoredTensor

GPT_ENDS = {
    "model.embed_tokens.weight": "transformer.wte.weight",
    "model.embed_positions.weight": "transformer.wpe.weight",
    "model.norm.weight": "transformer.ln_f.weight",
    "model.norm.bias": "transformer.ln_f.bias",
    "lm_head.weight": "lm_head.weight",
}
_BOTH = {
    "input_layernorm": "ln_1",
    "post_attention_layernorm": "ln_2",
    "mlp.up_proj": "mlp.c_fc",
    "mlp.down_proj": "mlp.c_proj",
}
GPT = {
    "gpt2": _BOTH
    | dict.fromkeys(("self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj"), "attn.c_attn")
    | {"self_attn.o_proj": "attn.c_proj"},
    "gpt_neo": _BOTH
    | {f"self_attn.{role}_proj": f"attn.attention.{role}_proj" for role in "qkv"}
    | {"self_attn.o_proj": "attn.attention.out_proj"},
}
GAINS_OF_ONE_MORE = ("gemma2", "gemma3_text")


@dataclass(frozen=True)
class Source:
    """A tensor's place: rows from `first` on of the stored tensor `name`, whose transpose it may be.

    less: what was subtracted from it.
    """

    name: str
    first: int = 0
    less: float = 0.0
    transposed: bool = False

    @property
    def whole(self) -> bool:
        """Whether what is stored is the tensor itself, but for its name."""
        return self.first == 0 and not self.less and not self.transposed


@dataclass(frozen=True)
class PlacedTensor:
    """A tensor that is part of a stored one."""

    stored: StoredTensor
    source: Source
    shape: tuple[int, ...]

    @property
    def path(self) -> Path:
        """The file."""
        return self.stored.path

    def check_dtype(self) -> None:
        """Raise ModelError if it is not stored as a float that edgec reads."""
        self.stored.check_dtype()

    def read(self) -> FloatArray:
        """The tensor as float32."""
        first, count = self.source.first, self.shape[0]
        if self.source.transposed:
            return np.ascontiguousarray(self.stored.read().T[first : first + count])
        array = self.stored.rows(first, count).read()
        return array + np.float32(self.source.less) if self.source.less else array


def sources(config: ModelConfig) -> dict[str, Source]:
    """The place of every tensor that a model of this family may have, by its name in a Checkpoint."""
    shapes = config.tensor_shapes() | config.optional_shapes()
    if config.family == "phi3":
        return {name: _fused(config, name) for name in shapes}
    if config.family in GPT:
        return {name: _gpt(config, name) for name in shapes}
    less = 1.0 if config.family in GAINS_OF_ONE_MORE else 0.0
    return {name: Source(name, less=less if name.endswith("norm.weight") else 0.0) for name in shapes}


def _fused(config: ModelConfig, name: str) -> Source:
    q, kv = config.n_heads * config.head_dim, config.n_kv_heads * config.head_dim
    starts = {"q_proj": 0, "k_proj": q, "v_proj": q + kv, "gate_proj": 0, "up_proj": config.ffn_dim}
    module, _, kind = name.rpartition(".")
    parent, _, role = module.rpartition(".")
    if role not in starts:
        return Source(name)
    return Source(f"{parent}.{'qkv' if role[0] in 'qkv' else 'gate_up'}_proj.{kind}", starts[role])


def _gpt(config: ModelConfig, name: str) -> Source:
    """GPT-2's names, or GPT-Neo's, whose attention is a module deeper and whose matrices are as ours."""
    if name in GPT_ENDS:
        return Source(GPT_ENDS[name])
    *_, layer, rest = name.split(".", 3)
    module, _, kind = rest.rpartition(".")
    names, turned = GPT[config.family], config.family == "gpt2" and kind == "weight" and module.endswith("_proj")
    if module not in names:  # what the family does not have
        return Source(name)
    role, part = module.rpartition(".")[2], config.n_heads * config.head_dim
    first = {"k_proj": part, "v_proj": 2 * part}.get(role, 0) if config.family == "gpt2" else 0
    return Source(f"transformer.h.{layer}.{names[module]}.{kind}", first, transposed=turned)


def in_our_names(config: ModelConfig, stored: Mapping[str, StoredTensor]) -> dict[str, StoredTensor | PlacedTensor]:
    """The tensors of a file under a Checkpoint's names; what the family does not have stays under its own.

    Raises ModelError for a stored tensor that is longer or shorter than its parts.
    """
    shapes = config.tensor_shapes() | config.optional_shapes()
    if config.family in GPT and "wte.weight" in stored:  # saved without its head
        stored = {f"transformer.{name}": tensor for name, tensor in stored.items()}
    places = {name: source for name, source in sources(config).items() if source.name in stored}
    parts = Counter(source.name for source in places.values())
    found: dict[str, StoredTensor | PlacedTensor] = {}
    rows: Counter[str] = Counter()
    for name, source in places.items():
        whole = stored[source.name]
        if parts[source.name] == 1 and source.whole:
            found[name] = whole
            continue
        shape = whole.shape[::-1] if source.transposed else whole.shape
        count = shapes[name][0] if parts[source.name] > 1 else shape[0] if shape else 0
        found[name] = PlacedTensor(whole, source, (count, *shape[1:]))
        rows[source.name] += count
    turned = {source.name for source in places.values() if source.transposed}
    for name, count in rows.items():
        shape = stored[name].shape
        if not shape or (shape[-1] if name in turned else shape[0]) != count:
            what = "columns" if name in turned else "rows"
            raise ModelError(
                f"{stored[name].path}: tensor {name} has shape {list(shape)}, the configuration says {count} {what}."
            )
    return found | {name: tensor for name, tensor in stored.items() if not parts[name]}


def in_family_names(config: ModelConfig, tensors: Mapping[str, FloatArray]) -> dict[str, FloatArray]:
    """A Checkpoint's tensors as the files of its family keep them."""
    parts: dict[str, list[tuple[int, FloatArray]]] = {}
    places = sources(config)
    for name, tensor in tensors.items():
        source = places[name]
        parts.setdefault(source.name, []).append((source.first, tensor - np.float32(source.less)))
    turned = {source.name for source in places.values() if source.transposed}
    made = {}
    for name, found in parts.items():
        whole = np.concatenate([tensor for _, tensor in sorted(found, key=lambda part: part[0])])
        made[name] = np.ascontiguousarray(whole.T) if name in turned else whole
    return made


def changed_by_storing(config: ModelConfig, tensors: Mapping[str, FloatArray]) -> Collection[str]:
    """Names of tensors that come back with other bits: gains whose w cannot be a float32."""
    places = sources(config)
    shifts = {name: np.float32(places[name].less) for name in tensors}
    return [n for n, t in tensors.items() if shifts[n] and not np.array_equal((t - shifts[n]) + shifts[n], t)]
