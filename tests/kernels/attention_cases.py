"""Random arguments for attention's kernels, as kernel_cases.py has them."""

from __future__ import annotations

import numpy as np
from case_values import Args, Rng, activations, f32, floats, integer, junk, positions
from numpy.typing import NDArray

from edgec.ops.attention import factor
from edgec.ops.attention_neureka import line_bytes, row_length


def _heads(rng: Rng) -> Args:
    kv, group = integer(rng, 1, 3), integer(rng, 1, 3)
    return {"m": integer(rng, 1, 4), "n_heads": kv * group, "n_kv_heads": kv, "head_dim": integer(rng, 1, 40)}


def _tile(rng: Rng) -> Args:
    first, count = int(rng.choice([0, 3, 20])), integer(rng, 1, 30)
    return {"first": first, "count": count, "lds": first + count + integer(rng, 0, 4)}


def attention_scores(rng: Rng) -> Args:
    """One tile of keys."""
    h, t = _heads(rng), _tile(rng)
    units = h["m"] * h["n_heads"]
    return {
        "q": activations(rng, units * h["head_dim"]),
        "q_scale": np.abs(floats(rng, units)),
        "k": activations(rng, t["count"] * h["n_kv_heads"] * h["head_dim"]),
        "k_scale": rng.random(t["count"] * h["n_kv_heads"]).astype(np.float16),
        "s": junk(rng, units * t["lds"] + 3, f32),
        **h,
        **t,
        "factor": factor(h["head_dim"]),
    }


def attention_softmax(rng: Rng) -> Args:
    """Score rows, peaked or flat, some beyond EXP2_FARTHEST, with scales of values that may be zero."""
    h, pos = _heads(rng), integer(rng, 0, 60)
    del h["head_dim"]
    units, length = h["m"] * h["n_heads"], pos + h["m"]
    lds = length + integer(rng, 0, 4)
    scale = rng.random(length * h["n_kv_heads"]) * 10.0 ** rng.integers(-7, 1)
    if rng.random() < 0.1:
        scale[:] = 0
    return {
        "s": floats(rng, units * lds, -2, 2) + f32(rng.choice([0, 0, 0, 7e4, -7e4, 3e5, -1e6])),
        "v_scale": scale.astype(np.float16),
        "p": junk(rng, units * lds + 3, np.uint8),
        "p_scale": junk(rng, units + 2, f32),
        **h,
        "pos": pos,
        "lds": lds,
        "window": int(rng.choice([0, 0, 1, 9, 40])),
    }


def attention_cap(rng: Rng) -> Args:
    """Score rows with a cap, and with or without a window."""
    h, pos = _heads(rng), integer(rng, 0, 60)
    lds = pos + h["m"] + integer(rng, 0, 4)
    s = floats(rng, h["m"] * h["n_heads"] * lds, -2, 4)
    window, cap = int(rng.choice([0, 1, 7, 40])), f32(rng.choice([0.7, 2.0, 72.1]))
    numbers = {"m": h["m"], "n_heads": h["n_heads"], "pos": pos, "lds": lds, "window": window, "cap": cap}
    return {"s": s, **numbers}


def attention_softmax_full(rng: Rng) -> Args:
    """attention_softmax's rows, of which a part of the positions belongs to the text."""
    args = attention_softmax(rng)
    whole = positions(args)
    del args["pos"], args["window"]
    return {**args, "length": np.array([integer(rng, 1, whole)], np.int32), "positions": whole}


def attention_values(rng: Rng) -> Args:
    """One tile of values; the accumulators hold something before."""
    h, t = _heads(rng), _tile(rng)
    units = h["m"] * h["n_heads"]
    return {
        "p": rng.integers(0, 256, size=units * t["lds"]).astype(np.uint8),
        "v": activations(rng, t["count"] * h["n_kv_heads"] * h["head_dim"]),
        "acc": rng.integers(-(10**6), 10**6, size=units * h["head_dim"] + 3).astype(np.int32),
        **h,
        **t,
    }


def _packed_cache(rng: Rng, count: int, h: Args) -> NDArray[np.uint8]:
    """A tile of 4-bit elements, two a byte; half of the time only the extremes."""
    shape = count * h["n_kv_heads"] * h["head_dim"] // 2
    low, high = rng.integers(1, 16, (2, shape)) if rng.random() < 0.5 else rng.choice([1, 8, 15], (2, shape))
    return (low | high << 4).astype(np.uint8)


def _even(args: Args) -> Args:
    """The same heads of an even size."""
    return {**args, "head_dim": 2 * args["head_dim"]}


def attention_scores_i4(rng: Rng) -> Args:
    """One tile of keys of 4 bits."""
    h, t = _even(_heads(rng)), _tile(rng)
    units = h["m"] * h["n_heads"]
    return {
        "q": activations(rng, units * h["head_dim"]),
        "q_scale": np.abs(floats(rng, units)),
        "k": _packed_cache(rng, t["count"], h),
        "k_scale": rng.random(t["count"] * h["n_kv_heads"]).astype(np.float16),
        "s": junk(rng, units * t["lds"] + 3, f32),
        **h,
        **t,
        "factor": factor(h["head_dim"]),
    }


def attention_values_i4(rng: Rng) -> Args:
    """One tile of values of 4 bits; the accumulators hold something before."""
    h, t = _even(_heads(rng)), _tile(rng)
    units = h["m"] * h["n_heads"]
    return {
        "p": rng.integers(0, 256, size=units * t["lds"]).astype(np.uint8),
        "v": _packed_cache(rng, t["count"], h),
        "acc": rng.integers(-(10**6), 10**6, size=units * h["head_dim"] + 3).astype(np.int32),
        **h,
        **t,
    }


def attention_finish(rng: Rng) -> Args:
    """Accumulators above float32's 24 bits too."""
    h = _heads(rng)
    del h["n_kv_heads"]
    units = h["m"] * h["n_heads"]
    acc = rng.integers(-(2**31), 2**31, size=units * h["head_dim"]).astype(np.int32)
    return {"acc": acc, "p_scale": np.abs(floats(rng, units)), "y": junk(rng, acc.size + 3, f32), **h}


def attention(rng: Rng) -> Args:
    """Queries over a whole cache, with room to work in; some that are huge, and scales of values of which each is the
    largest so far, or none is.
    """
    h, pos = _heads(rng), integer(rng, 0, 40)
    if rng.random() < 0.6:  # rows of a prompt, of heads whose words are whole
        h |= {"m": integer(rng, 3, 17), "head_dim": int(rng.choice([4, 4, 8, 12, 28]))}
    if shared := rng.random() < 0.4:  # heads of one row, at few and at many positions
        h["m"], pos = 1, integer(rng, 0, 160)
        h["n_heads"] = h["n_kv_heads"] * integer(rng, 1, 7)
    return attention_of(rng, h, pos, shared)


def attention_neureka(rng: Rng) -> Args:
    """One row, of whose heads two or more have the same keys; often at late positions."""
    kv = integer(rng, 1, 4)
    heads = kv * integer(rng, 2, 8)
    h: Args = {"m": 1, "n_heads": heads, "n_kv_heads": kv, "head_dim": 4 * integer(rng, 1, 16)}
    pos = integer(rng, 0, 60) if rng.random() < 0.3 else integer(rng, 60, 300)
    args = attention_of(rng, h, pos, True)
    lines = np.zeros((heads + 1) * line_bytes(kv, h["head_dim"]), np.uint8)
    return {**args, "lines": lines, "sums": np.zeros((pos + 1) * row_length(heads), np.int32)}


def attention_of(rng: Rng, h: Args, pos: int, shared: bool) -> Args:
    """The same for rows and heads of a shape."""
    units, length, d = h["m"] * h["n_heads"], pos + h["m"], h["head_dim"]
    lds, kv = (length + integer(rng, 0, 4) + 3) // 4 * 4, h["n_kv_heads"]
    cores, lanes = integer(rng, 8, 9), int(rng.choice([1, 4] if d == 4 else [1, 3]))
    rooms = max(cores * lanes, h["n_heads"]) + integer(rng, 0, 2) if shared else cores * lanes
    scales = rng.random((length, kv)) * 10.0 ** rng.integers(-6, 1)
    if (kind := rng.random()) < 0.3:
        scales = np.sort(scales, axis=0) if kind > 0.1 else 0 * scales
    return {
        "q": activations(rng, units * d),
        "q_scale": np.abs(floats(rng, units, *((-4, -1) if rng.random() < 0.9 else (4, 6)))),
        "k": activations(rng, length * kv * d),
        "k_scale": (rng.random(length * kv) * 0.05).astype(np.float16),
        "v": activations(rng, length * kv * d),
        "v_scale": scales.reshape(-1).astype(np.float16),
        "s": junk(rng, rooms * lds + 3, f32),
        "p": junk(rng, rooms * lds + 3, np.uint8),
        "r": junk(rng, cores * lds + 1, np.float16) if lanes > 1 else None,
        "found": junk(rng, 4 * rooms * cores + 2, f32) if shared else None,
        "y": junk(rng, units * d + 3, f32),
        **h,
        "pos": pos,
        "lds": lds,
        "cores": cores,
        "lanes": lanes,
        "rooms": rooms,
        "factor": factor(d, float(rng.choice([0.0, 0.3]))),
    }
