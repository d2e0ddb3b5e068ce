"""to_neureka: matrices that the accelerator multiplies faster than the cores get the form in which it reads them.

A matrix can go there if it is symmetric and dense, its groups are jobs (`edgec/ops/matmul_w4a8_neureka.py`), and the
memories that the accelerator streams from have room for it beside the cache. Those that save most time per byte go
first. The tables that tokens are looked up in stay, as do heads that are tied to them.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from edgec.compress.quantized import QuantizedModel, QuantizedTensor
from edgec.cost.engine import call_cycles
from edgec.ops import matmul_w4a8_neureka as op
from edgec.packing import unpack
from edgec.target import Target

LAYOUT = "neureka"
WORTHWHILE = 0.95  # of the cores' time: less is no reason for another form
TILE = 256  # channels, for the estimate; the planner chooses


def to_neureka(model: QuantizedModel, target: Target, context: int) -> QuantizedModel:
    """The model with such matrices encoded; the model itself where the target has no such accelerator."""
    unit = target.accelerator("neureka")
    if unit is None:
        return model
    room = _room(model, target, unit.weights, context)
    found = {name: _gain(m, target) for name, m in model.matrices.items() if _can(name, m)}
    chosen: dict[str, QuantizedTensor] = {}
    for name in sorted(found, key=lambda name: -found[name] / _size(model.matrices[name])):
        size = _size(model.matrices[name])
        level = next((level for level, left in room.items() if size <= left), None)
        if found[name] > 0 and level is not None:
            room[level] -= size
            chosen[name] = encoded(model.matrices[name])
    return replace(model, matrices=model.matrices | chosen)


def _room(model: QuantizedModel, target: Target, levels: tuple[str, ...], context: int) -> dict[str, int]:
    """Bytes for weights in each memory that the accelerator reads, beside the cache and the logits."""
    config = model.config
    cache = 2 * config.n_layers * context * config.n_kv_heads * (config.head_dim * model.kv_bits // 8 + 2)
    room = {n: target.memory_by_name[n].capacity_bytes for n in target.placement.weights if n in levels}
    for level, size in ((target.placement.kv[0], cache), (target.placement.large[0], 8 * config.vocab_size)):
        if level in room:
            room[level] -= size
    return room


def _can(name: str, m: QuantizedTensor) -> bool:
    plain = m.zero is None and m.minimum is None and m.pattern is None and not m.layout
    return plain and op.suits(m.k, m.group_size) and not name.endswith("embed_tokens.weight")


def _size(m: QuantizedTensor) -> int:
    return m.packed.shape[0] * m.scale.shape[1] * op.row_bytes(m.k, m.group_size, m.bits)


def _gain(m: QuantizedTensor, target: Target) -> float:
    """Cycles that one token saves; not positive where it is not worth it."""
    n = m.packed.shape[0]
    numbers = {"m": 1, "n": n, "k": m.k, "group_size": m.group_size}
    cores = call_cycles(target, f"matmul_w{m.bits}a8", numbers)
    here = call_cycles(target, op.kernel_name(m.bits), numbers | {"tile": min(n, TILE)})
    return WORTHWHILE * cores - here


def encoded(m: QuantizedTensor) -> QuantizedTensor:
    """A packed matrix in the accelerator's form; of one that stands for a shape alone, another."""
    n, groups = m.packed.shape[0], m.scale.shape[1]
    if not any(m.packed.strides):
        shape = (groups * n, op.row_bytes(m.k, m.group_size, m.bits))
        return replace(m, packed=np.broadcast_to(np.zeros((), np.uint8), shape), layout=LAYOUT)
    codes = unpack(m.packed, m.k, m.bits, m.group_size)
    return replace(m, packed=op.encode(codes, m.bits, m.group_size), layout=LAYOUT)
