"""join_projections: matrices that read the same input become one: q, k and v; gate and up.

Their rows are put behind each other, so one call computes all of them and every core's share is larger. A matrix keeps
its own where it differs in width, groups or form from its neighbours, is a product, has a low-rank branch beside it, is
shared by other blocks than they are, or where a norm comes between it and its reader.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from edgec.compress.quantized import QuantizedModel, QuantizedTensor

JOINTS = (("self_attn", ("q", "k", "v")), ("mlp", ("gate", "up")))


def joint_name(module: str, roles: Sequence[str]) -> str:
    """`....self_attn.qkv_proj` or `....mlp.gate_up_proj`."""
    return f"{module}.{'qkv' if roles[0] == 'q' else '_'.join(roles)}_proj"


def parts(name: str) -> tuple[str, ...]:
    """Names of the tensors that a matrix or bias of this name is made of; its own if it is no joint one."""
    for part, roles in JOINTS:
        module, found, tail = name.partition(f"{joint_name(part, roles)}.")
        if found:
            return tuple(f"{module}{part}.{role}_proj.{tail}" for role in roles)
    return (name,)


def join_projections(model: QuantizedModel) -> QuantizedModel:
    """The model with joint matrices in place of those that can be joined. Their arrays are copied once."""
    matrices, floats, shared = dict(model.matrices), dict(model.floats), dict(model.shared)
    for layer in range(model.config.n_layers):
        for part, roles in JOINTS:
            module = f"model.layers.{layer}.{part}"
            names = [f"{module}.{role}_proj" for role in roles]
            if part == "self_attn" and model.config.learned_positions:
                continue  # nothing between the matrices and attention that would take columns of a joint result
            if not _alike(model, module, names):
                continue
            joint = joint_name(module, roles)
            matrices[f"{joint}.weight"] = _joined([matrices.pop(f"{name}.weight") for name in names])
            if f"{names[0]}.bias" in floats:
                floats[f"{joint}.bias"] = _stack([floats.pop(f"{name}.bias") for name in names])
            for user in _modules(model, f"{names[0]}.weight"):  # the joint matrix is shared as its parts were
                for tail in ("weight", "bias"):
                    gone = [shared.pop(f"{user}.{role}_proj.{tail}", None) for role in roles]
                    if user != module and gone[0]:
                        shared[f"{joint_name(user, roles)}.{tail}"] = f"{joint}.{tail}"
    return replace(model, matrices=matrices, floats=floats, shared=shared)


def _modules(model: QuantizedModel, name: str) -> list[str]:
    """The modules that use a stored tensor, its own first."""
    return [user.rsplit(".", 2)[0] for user in model.structure.users(name)]


def _alike(model: QuantizedModel, module: str, names: Sequence[str]) -> bool:
    found = [model.matrices.get(f"{name}.weight") for name in names]
    if any(m is None for m in found) or any(f"{name}.weight" in model.branches for name in names):
        return False
    if any(f"{module}.{r}_norm.weight" in model.floats for r in "qk"):
        return False
    tails = ["weight", "bias"] if any(f"{name}.bias" in model.floats for name in names) else ["weight"]
    if len({tuple(_modules(model, f"{name}.{tail}")) for name in names for tail in tails}) > 1:
        return False
    forms = {
        (m.k, m.bits, m.group_size, m.pattern, m.zero is None, m.minimum is None, f"{name}.bias" in model.floats)
        for m, name in zip(found, names, strict=True)
        if m is not None
    }
    return len(forms) == 1


def _joined(parts: Sequence[QuantizedTensor]) -> QuantizedTensor:
    sides: dict[str, Any] = {
        side: None if getattr(parts[0], side) is None else _stack([getattr(p, side) for p in parts])
        for side in ("zero", "minimum", "places", "tail", "fold")
    }
    packed, scale = _stack([p.packed for p in parts]), _stack([p.scale for p in parts])
    return replace(parts[0], packed=packed, scale=scale, **sides)


def _stack(arrays: Sequence[Any]) -> Any:
    """Rows behind each other; of arrays that stand for a shape alone, another that takes no memory."""
    if all(not any(a.strides) for a in arrays):
        rows = sum(a.shape[0] for a in arrays)
        return np.broadcast_to(np.zeros((), arrays[0].dtype), (rows, *arrays[0].shape[1:]))
    return np.concatenate(arrays)
