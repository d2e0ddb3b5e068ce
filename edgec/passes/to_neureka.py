"""to_neureka: matrices that the accelerator multiplies faster than the cores get the form in which it reads them.

A matrix can go there if it is symmetric and dense, its groups are jobs (`edgec/ops/matmul_w4a8_neureka.py`), and the
memories that the accelerator streams from have room for it beside the cache. Of the two forms it gets the one that
takes less time for a token, one of a prompt and one that is generated counting the same: 3x3 jobs are short where
weights are narrow and inputs many, 1x1 jobs where rows are many. A form that makes the model too large for those
memories is not taken. Matrices that save most time per byte go first.

Where inputs are no whole blocks of the engine, the cores may have those behind them (`tail` of the op), or the engine
may have them folded (`fold`) but for a few, if that takes less time: what is the cores' passes through the compute
memory.

A table that tokens are looked up in stays, unless it is the head too: then there is still one constant, of which
`embed_neureka` reads rows, so nothing is folded, and what its calls take more is part of the price. A head has one row,
also of a prompt.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from math import prod
from typing import Any

import numpy as np

from edgec.compress.quantized import QuantizedModel, QuantizedTensor
from edgec.cost.engine import call_cycles
from edgec.neureka import matrix
from edgec.ops import embed_neureka
from edgec.ops import matmul_w4a8_neureka as op
from edgec.packing import unpack
from edgec.target import Target

LAYOUTS = {"3x3": "neureka", "1x1": "neureka_1x1"}
WORTHWHILE = 0.95  # of the cores' time: less is no reason for another form
TILE = 256  # channels, for the estimate; the planner chooses
ROWS = 16  # of a prompt, for the estimate
GROWTH = 0.05  # of its bytes that a matrix may gain where the model does not fit anyway
FILLED = 2  # of several groups each fills 1/FILLED of a block of the 3x3 form, which is read as a whole
TAIL_SHARE = 8  # the cores' weights of a matrix take at most 1/TAIL_SHARE of the compute memory, where a call has all
RESULT = 2  # a row of results takes at most 1/RESULT of the compute memory, in which one call leaves it
TABLE, HEADS = "model.embed_tokens.weight", ("model.embed_tokens.weight", "lm_head.weight")


@dataclass(frozen=True)
class Form:
    """A matrix in a mode of the accelerator, such inputs apart: its bytes there, the cycles a token saves."""

    mode: str
    split: matrix.Split
    size: int
    gain: float


def to_neureka(model: QuantizedModel, target: Target, context: int) -> QuantizedModel:
    """The model with such matrices encoded; the model itself where the target has no such accelerator."""
    unit = target.accelerator("neureka")
    if unit is None:
        return model
    room = _room(model, target, unit.weights, context)
    spare = sum(room.values()) - sum(m.packed.size + m.scale.nbytes for m in model.matrices.values())
    possible = {name: m for name, m in model.matrices.items() if _can(model, name, m, target)}
    found = {name: forms for name, m in possible.items() if (forms := _forms(name, m, target))}
    chosen: dict[str, QuantizedTensor] = {}
    for name in sorted(found, key=lambda name: -found[name][0].gain / found[name][0].size):
        own = model.matrices[name].packed.size
        for form in found[name]:
            level = next((level for level, left in room.items() if form.size <= left), None)
            if level is not None and form.size - own <= max(spare, GROWTH * own):
                room[level] -= form.size
                spare -= form.size - own
                chosen[name] = encoded(model.matrices[name], form.mode, form.split)
                break
    return replace(model, matrices=model.matrices | chosen)


def _room(model: QuantizedModel, target: Target, levels: tuple[str, ...], context: int) -> dict[str, int]:
    """Bytes for weights in each memory that the accelerator reads, beside the cache and the logits."""
    config = model.config
    cache = 2 * config.cached_layers * context * config.n_kv_heads * (config.head_dim * model.kv_bits // 8 + 2)
    room = {n: target.data_bytes(n) for n in target.placement.weights if n in levels}
    for level, size in ((target.placement.kv[0], cache), (target.placement.large[0], 8 * config.vocab_size)):
        if level in room:
            room[level] -= size
    return room


def _can(model: QuantizedModel, name: str, m: QuantizedTensor, target: Target) -> bool:
    plain = m.zero is None and m.minimum is None and m.pattern is None and not m.layout
    room = 4 * RESULT * m.packed.shape[0] <= target.data_bytes(target.compute)
    return plain and room and (name != TABLE or model.config.tied_embeddings)


def _forms(name: str, m: QuantizedTensor, target: Target) -> list[Form]:
    """The forms that are worth it, the one that saves most first."""
    (n, groups), rows = m.scale.shape, 1 if name in HEADS else ROWS
    numbers = {"n": n, "k": m.k, "group_size": m.group_size}
    cores = _per_token(target, f"matmul_w{m.bits}a8", numbers, rows)
    tile = numbers | {"tile": min(n, TILE), "first": min(TILE, op.half(n))}
    forms = []
    narrow = m.group_size < min(m.k, matrix.BLOCK // FILLED)
    for mode in (mode for mode in LAYOUTS if matrix.suits(m.k, m.group_size, mode) and not (narrow and mode == "3x3")):
        for split in _splits(name, m, mode, target):
            call = tile | {"tail": split.tail, "fold": op.folding(n, m.bits, split.fold)}
            loading = _loading(target, n * groups * split.tail)
            takes = _per_token(target, op.kernel_name(m.bits, mode), call, rows, loading)
            gain = WORTHWHILE * cores - takes
            if name == TABLE:
                gain -= _looking_up(target, m, mode, split.tail)
            size = n * groups * (_row_bytes(m, mode, split) + split.tail)
            size += prod(matrix.fold_shape(n, m.bits, split.fold)) if split.fold else 0
            forms.append(Form(mode, split, size, gain))
    return sorted((form for form in forms if form.gain > 0), key=lambda form: -form.gain)


def _per_token(target: Target, kernel: str, numbers: dict[str, int], rows: int, loading: float = 0.0) -> float:
    """Cycles of a token that is generated and of one of a prompt. rows: that a run of ROWS of a prompt's tokens has;
    loading: cycles of what passes through the compute memory meanwhile.
    """
    one, many = (max(loading, call_cycles(target, kernel, numbers | {"m": m})) for m in (1, rows))
    return one + many / ROWS


def _loading(target: Target, size: int) -> float:
    """Cycles in which so many bytes of weights come into the compute memory."""
    return sum(link.cycles(size) for link in target.route(target.placement.weights[0], target.compute)) if size else 0.0


def _looking_up(target: Target, m: QuantizedTensor, mode: str, tail: int) -> float:
    """Cycles that a token's look-up takes more in an encoded table, which has a call for each group."""
    numbers = {"k": m.k, "bits": m.bits, "group_size": m.group_size, "group": 0}
    coded = numbers | {"bits": _code_bits(m, mode), "tail": tail}
    calls = m.scale.shape[1] * _per_token(target, embed_neureka.kernel_name(mode), coded, ROWS)
    return calls - _per_token(target, "embed", numbers, ROWS)


def _splits(name: str, m: QuantizedTensor, mode: str, target: Target) -> list[matrix.Split]:
    """What inputs of a group may be apart, if any."""
    room, n = target.data_bytes(target.compute) // TAIL_SHARE, m.scale.shape[0]
    fits = [
        split
        for split in matrix.splits(m.k, m.group_size, mode)
        if m.scale.size * split.tail <= room
        and not (split.fold and (name == TABLE or n > op.FOLD_CHANNELS or 4 * RESULT * n > room * TAIL_SHARE))
    ]
    return [matrix.WHOLE, *fits]


def _row_bytes(m: QuantizedTensor, mode: str, split: matrix.Split = matrix.WHOLE) -> int:
    return matrix.row_bytes(m.k, m.group_size, _code_bits(m, mode), mode, split.apart)


def _code_bits(m: QuantizedTensor, mode: str) -> int:
    """The width in which a form stores a matrix's codes."""
    return m.bits if mode == "3x3" else 8


def encoded(m: QuantizedTensor, mode: str = "3x3", split: matrix.Split = matrix.WHOLE) -> QuantizedTensor:
    """A packed matrix in the accelerator's form, such inputs of a group apart. Of one that stands for a shape alone,
    another.
    """
    n, groups = m.packed.shape[0], m.scale.shape[1]
    bits, layout = _code_bits(m, mode), LAYOUTS[mode]
    if not any(m.packed.strides):
        parts = {"w": _empty((groups * n, _row_bytes(m, mode, split)), np.uint8)}
        if split.tail:
            parts["w_tail"] = _empty((n, groups * split.tail), np.int8)
        if split.fold:
            parts["w_fold"] = _empty(matrix.fold_shape(n, bits, split.fold), np.uint8)
    else:
        codes = unpack(m.packed, m.k, m.bits, m.group_size)
        parts = matrix.encode_apart(codes, m.bits, m.group_size, split, mode)
    tail, fold = parts.get("w_tail"), parts.get("w_fold")
    return replace(m, packed=parts["w"], bits=bits, layout=layout, tail=tail, fold=fold)


def _empty(shape: tuple[int, ...], kind: type) -> Any:
    """An array that stands for a shape and takes no memory."""
    return np.broadcast_to(np.zeros((), kind), shape)
