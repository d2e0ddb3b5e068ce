"""Random arguments for every kernel: `CASES[name](rng)` gives flat arrays and numbers, outputs full of junk."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from attention_cases import (
    attention,
    attention_cap,
    attention_finish,
    attention_neureka,
    attention_scores,
    attention_scores_i4,
    attention_softmax,
    attention_softmax_full,
    attention_values,
    attention_values_i4,
)
from case_values import Args, Rng, activations, f32, floats, integer, junk
from neureka_cases import NEUREKA_CASES

from edgec.neureka import matrix
from edgec.ops.matmul_w4a8 import sum_groups
from edgec.ops.matmul_w4a8_nm import WIDTHS, kernel_name, random_mask
from edgec.ops.rope import ONE, table
from edgec.ops.sample import Sampling
from edgec.packing import n_groups, pack
from edgec.packing_nm import PATTERNS, Pattern, kept, pack_codes, pack_places

USED_UP = ("attention_softmax", "attention_softmax_full")  # scores, but for those behind all positions


def add(rng: Rng) -> Args:
    """Two tensors."""
    rows, k = integer(rng, 1, 4), integer(rng, 1, 60)
    n = rows * k
    return {"a": floats(rng, n), "b": floats(rng, n), "y": junk(rng, n + 3, f32), "rows": rows, "k": k}


def add_positions(rng: Rng) -> Args:
    """Rows of a table of any finite binary16, subnormals among them."""
    m, k = integer(rng, 1, 4), integer(rng, 1, 60)
    table = rng.integers(0, 0x7C00, size=m * k) | rng.choice([0, 0x8000], size=m * k)
    halves = table.astype(np.uint16).view(np.float16)
    return {"x": floats(rng, m * k), "table": halves, "y": junk(rng, m * k + 3, f32), "m": m, "k": k}


def gelu(rng: Rng) -> Args:
    """Inputs from tiny to huge; squares may be infinite."""
    rows, k = integer(rng, 1, 4), integer(rng, 1, 60)
    x = floats(rng, rows * k, -4, 4 if rng.random() < 0.9 else 30)
    return {"x": x, "y": junk(rng, rows * k + 3, f32), "rows": rows, "k": k}


def silu_mul(rng: Rng) -> Args:
    """Gates from tiny to huge."""
    rows, k = integer(rng, 1, 4), integer(rng, 1, 60)
    ldx = k + int(rng.choice([0, 0, k]))
    gate, up = floats(rng, rows * ldx), floats(rng, rows * ldx)
    return {"gate": gate, "up": up, "y": junk(rng, rows * k + 3, f32), "rows": rows, "k": k, "ldx": ldx}


def softcap(rng: Rng) -> Args:
    """Elements far below and far above the cap."""
    n = integer(rng, 1, 100)
    return {"x": floats(rng, n), "y": junk(rng, n + 3, f32), "n": n, "cap": f32(rng.choice([0.5, 30.0, 72.1]))}


def silu_mul_quantize(rng: Rng) -> Args:
    """silu_mul's, in groups that may exceed the row."""
    args, group_size = silu_mul(rng), int(rng.choice([1, 8, 20, 64]))
    del args["y"]
    return {**args, **_quantised(rng, args["rows"], args["k"], group_size), "group_size": group_size}


def _quantised(rng: Rng, rows: int, k: int, group_size: int) -> Args:
    groups = rows * n_groups(k, group_size)
    q, sums = junk(rng, rows * k + 5, np.int8), junk(rng, groups + 2, np.int32)
    return {"q": q, "scale": junk(rng, groups + 2, f32), "sums": sums}


def copy_rows(rng: Rng) -> Args:
    """Some rows."""
    args = last_row(rng)
    return {**args, "y": junk(rng, args["x"].size + 3, f32)}


def pool(rng: Rng) -> Args:
    """Rows at the start of a text or behind others."""
    m, k, pos = integer(rng, 1, 9), integer(rng, 1, 60), int(rng.choice([0, 0, 5, 200]))
    rows = {"x": floats(rng, m * k), "sum": floats(rng, k), "y": junk(rng, k + 2, f32)}
    return {**rows, "m": m, "k": k, "pos": pos, "mean": integer(rng, 0, 1)}


def last_row(rng: Rng) -> Args:
    """A run of rows."""
    m, k = integer(rng, 1, 4), integer(rng, 1, 60)
    return {"x": floats(rng, m * k), "y": junk(rng, k + 2, f32), "m": m, "k": k}


def rmsnorm(rng: Rng, longest: int = 50) -> Args:
    """Rows shorter and longer than the eight lanes, some of them zero."""
    rows, k = integer(rng, 1, 9), integer(rng, 1, longest)
    x = floats(rng, rows * k, -6, 4)
    if rng.random() < 0.2:
        x[:k] = 0
    gain, y = floats(rng, k, -1, 1), junk(rng, rows * k + 3, f32)
    return {"x": x, "gain": gain, "y": y, "rows": rows, "k": k, "inv_k": f32(1.0 / k), "eps": f32(1e-5)}


def layernorm(rng: Rng) -> Args:
    """rmsnorm's rows, some of them far from zero, constant, or zeros of both signs."""
    args = rmsnorm(rng)
    x, k = args["x"], args["k"]
    if rng.random() < 0.3:
        x += f32(20) * np.abs(x).max()
    if rng.random() < 0.3:
        x[:k] = rng.choice([0.0, -0.0, 3.7])
    return {**args, "bias": floats(rng, k, -1, 1)}


def rmsnorm_quantize(rng: Rng) -> Args:
    """rmsnorm's, also rows too long to keep products of, in groups that may exceed the row; with sums or without."""
    longest, group_size = int(rng.choice([50, 70, 540])), int(rng.choice([1, 8, 20, 64, 600]))
    args = rmsnorm(rng, longest)
    if args["rows"] == 1 and rng.random() < 0.5:  # in parts
        args |= {"k": k} if (k := args["k"] // 2 * 2) else {}
    del args["y"]
    args |= _quantised(rng, args["rows"], args["k"], group_size)
    return {**args, "sums": args["sums"] if rng.random() < 0.7 else None, "group_size": group_size}


def rope(rng: Rng) -> Args:
    """Heads of some rows at a random position."""
    m, heads, d, pos = integer(rng, 1, 4), integer(rng, 1, 6), 2 * integer(rng, 1, 20), integer(rng, 0, 500)
    rows = table(tuple(10000.0 ** (-2 * i / d) for i in range(d // 2)), pos + m)[pos:].reshape(-1)
    n = m * heads * d
    unit = f32(float(rng.choice([1.0, 1.19])) / ONE)
    ldx = heads * d + int(rng.choice([0, 0, 7]))
    numbers = {"m": m, "heads": heads, "head_dim": d, "ldx": ldx, "unit": unit}
    return {"x": floats(rng, m * ldx), "table": rows, "y": junk(rng, n + 3, f32), **numbers}


def rope_append(rng: Rng) -> Args:
    """Queries, keys and values of some rows side by side; scales of what is kept reach binary16's limits."""
    m, kv, group, d = integer(rng, 1, 20), integer(rng, 1, 5), integer(rng, 1, 3), 2 * integer(rng, 1, 20)
    pos, heads = integer(rng, 0, 500), kv * group
    if rng.random() < 0.3:  # heads that stay in registers
        d = 4
    x = floats(rng, m * (heads + 2 * kv) * d, -9, 9)
    if rng.random() < 0.4:
        x[: heads * d + d] = 0
    args: Args = {
        "x": x,
        "table": table(tuple(10000.0 ** (-2 * i / d) for i in range(d // 2)), pos + m)[pos:].reshape(-1),
    }
    args["shift"] = floats(rng, kv * d) if rng.random() < 0.5 else None
    args |= {"q": junk(rng, m * heads * d + 3, np.int8), "q_scale": junk(rng, m * heads + 2, f32)}
    for role in "kv":
        args |= {f"{role}_q": junk(rng, m * kv * d + 5, np.int8), f"{role}_scale": junk(rng, m * kv + 2, np.float16)}
    unit = f32(float(rng.choice([1.0, 1.19])) / ONE)
    return {**args, "m": m, "n_heads": heads, "n_kv_heads": kv, "head_dim": d, "unit": unit}


def _rows(rng: Rng, low: int, high: int, scale: type, group_size: int | None = None) -> Args:
    rows, k = integer(rng, 1, 10), integer(rng, 1, 150)
    x = floats(rng, rows * k, low, high)
    if rng.random() < 0.4:
        x[:k] = 0
    if rng.random() < 0.3:
        x = np.round(x)
    scales = rows * n_groups(k, group_size or k)
    q, given = junk(rng, rows * k + 5, np.int8), junk(rng, scales + 2, scale)
    return {"x": x, "q": q, "scale": given, "rows": rows, "k": k}


def quantize_dynamic(rng: Rng) -> Args:
    """Rows over many magnitudes, in groups that may exceed the row; with sums or without."""
    group_size = int(rng.choice([1, 8, 20, 64, 252]))
    args = _rows(rng, -20, 20, f32, group_size)
    sums = junk(rng, args["rows"] * n_groups(args["k"], group_size) + 2, np.int32)
    return {**args, "sums": sums if rng.random() < 0.7 else None, "group_size": group_size}


def _shift(rng: Rng, args: Args) -> Args:
    """The arguments with a number of heads, tokens apart, and perhaps what is subtracted from each head."""
    heads = int(rng.choice([h for h in (1, 2, 3, 4) if args["rows"] % h == 0]))
    shift = floats(rng, heads * args["k"], -9, 6) if rng.random() < 0.5 else None
    ldx = heads * args["k"] + int(rng.choice([0, 0, 9]))
    x = np.zeros((args["rows"] // heads, ldx), f32)
    x[:, : heads * args["k"]] = args["x"].reshape(-1, heads * args["k"])
    return {**args, "x": x.reshape(-1), "shift": shift, "heads": heads, "ldx": ldx}


def kv_quantize(rng: Rng) -> Args:
    """Rows whose scales reach binary16's subnormals, zero and limit."""
    return _shift(rng, _rows(rng, -9, 9, np.float16))


def _weights(rng: Rng, n: int, k: int, bits: int, group_size: int) -> Args:
    """Packed rows, scales and perhaps zero points or minima."""
    groups = n_groups(k, group_size)
    u = rng.integers(0, 2**bits, size=(n, k)).astype(np.uint8)
    if rng.random() < 0.2:
        u[:] = 2**bits - 1
    scale = rng.normal(size=n * groups) * 10.0 ** rng.integers(-7, 2)
    args: Args = {"w": pack(u, bits, group_size).reshape(-1), "w_scale": scale.astype(np.float16)}
    args |= {"w_zero": None, "w_min": None}
    offset = rng.choice(["w_zero", "w_min", ""])
    if offset == "w_zero":
        args["w_zero"] = rng.integers(0, 2**bits, size=n * groups).astype(np.uint8)
    if offset == "w_min":
        args["w_min"] = (rng.normal(size=n * groups) * 10.0 ** rng.integers(-7, 2)).astype(np.float16)
    return args


def embed(rng: Rng) -> Args:
    """Gathered rows of a random width."""
    m, k, bits = integer(rng, 1, 4), integer(rng, 1, 150), integer(rng, 2, 8)
    group_size = int(rng.choice([8, 32, 64, 252]))
    weights = _weights(rng, m, k, bits, group_size)
    numbers = {"m": m, "k": k, "bits": bits, "group_size": group_size, "factor": f32(rng.choice([1.0, 25.298221]))}
    return {**weights, "y": junk(rng, m * k + 3, f32), **numbers}


def embed_encoded(mode: str) -> Callable[[Rng], Args]:
    """Gathered rows of one group of an encoded table: groups of whole blocks or one of any size.

    The last weights of such a one may be the cores'.
    """
    step = matrix.STEP[mode]

    def case(rng: Rng) -> Args:
        m, bits = integer(rng, 1, 4), integer(rng, 2, 8) if mode == "3x3" else 8
        size = step * integer(rng, 1, 2) if rng.random() < 0.5 else integer(rng, 1, 600)
        size = matrix.WORD * integer(rng, 64, 150) if mode == "3x3" and rng.random() < 0.4 else size
        groups = integer(rng, 1, 3) if size % step == 0 or (mode == "3x3" and rng.random() < 0.4) else 1
        group, k = integer(rng, 0, groups - 1), groups * size
        u = rng.integers(0, 2**bits, size=(m, size)).astype(np.uint8)
        possible = [split for split in matrix.splits(size, size, mode) if not split.fold]
        tail = possible[0].tail if possible and rng.random() < 0.8 else 0
        w = matrix.encode_apart(u, bits, size, matrix.Split(tail), mode)["w"]
        return {
            "w": w.reshape(-1),
            "w_tail": rng.integers(-128, 128, size=m * groups * tail).astype(np.int8) if tail else None,
            "tail": tail,
            "w_scale": (rng.normal(size=m * groups) * 10.0 ** rng.integers(-7, 2)).astype(np.float16),
            "y": junk(rng, m * k + 3, f32),
            **{"m": m, "k": k, "bits": bits, "group_size": size + (groups == 1) * integer(rng, 0, 1), "group": group},
            "factor": f32(rng.choice([1.0, 25.298221])),
        }

    return case


def matmul(bits: int) -> Callable[[Rng], Args]:
    """Arguments of one width."""

    def case(rng: Rng) -> Args:
        m, n, k = integer(rng, 1, 4), integer(rng, 1, 20), integer(rng, 1, 300)
        group_size = int(rng.choice([8, 20, 32, 64, 128, 252, 1000]))
        if rng.random() < 0.5:  # groups alike and strips of channels for several cores, which have loops of their own
            group_size = int(rng.choice([8, 32, 64]))
            m, n, k = integer(rng, 1, 9), integer(rng, 8, 100), group_size * integer(rng, 1, 256 // group_size)
        ldy = n + integer(rng, 0, 3)
        x = activations(rng, m, k)
        sums = sum_groups(x, group_size)
        if rng.random() < 0.1:
            sums = sums + rng.integers(-50, 50, size=sums.shape).astype(np.int32)
        return {
            "x": x.reshape(-1),
            "x_scale": floats(rng, m * n_groups(k, group_size), high=6 if rng.random() < 0.2 else 4),
            "x_sums": sums.reshape(-1),
            **_weights(rng, n, k, bits, group_size),
            "bias": floats(rng, n) if rng.random() < 0.5 else None,
            "addend": floats(rng, m * ldy) if rng.random() < 0.5 else None,
            "y": junk(rng, m * ldy + 3, f32),
            "m": m,
            "n": n,
            "k": k,
            "group_size": group_size,
            "ldy": ldy,
        }

    return case


def kv_quantize_i4(rng: Rng) -> Args:
    """Rows of even length whose scales reach binary16's subnormals, zero and limit."""
    rows, k = integer(rng, 1, 10), 2 * integer(rng, 1, 75)
    x = floats(rng, rows * k, -9, 8)
    if rng.random() < 0.4:
        x[:k] = 0
    q, scale = junk(rng, rows * k // 2 + 5, np.uint8), junk(rng, rows + 2, np.float16)
    return _shift(rng, {"x": x, "q": q, "scale": scale, "rows": rows, "k": k})


def sample(rng: Rng) -> Args:
    """Logits with and without ties, all settings."""
    n = int(rng.choice([1, 2, 7, 300, 2000]))
    logits = (rng.normal(size=n) * rng.choice([0.0, 0.1, 2.0, 20.0])).astype(f32)
    if rng.random() < 0.4:
        logits = np.round(logits)
    temperature = float(rng.choice([0.0, 0.3, 1.0, 2.5]))
    top_k, top_p = int(rng.choice([0, 1, 5, 40, 1000])), float(rng.choice([0.0, 1e-4, 0.1, 0.5, 0.9, 0.99, 1.0]))
    params = Sampling(temperature, top_k, top_p, int(rng.integers(0, 2**63))).params()
    return {"logits": logits, "params": params, "token": junk(rng, 2, np.int32), "n": n}


_ONE_OF_A_NAME = (
    *(add, add_positions, attention_softmax_full, copy_rows, layernorm, pool),
    *(attention, attention_finish, attention_neureka, attention_scores, attention_softmax, attention_values, embed),
    *(attention_scores_i4, attention_values_i4, kv_quantize_i4),
    *(kv_quantize, last_row, quantize_dynamic, rmsnorm, rmsnorm_quantize, rope, rope_append, sample),
    *(silu_mul, silu_mul_quantize, attention_cap, softcap),
)


def matmul_nm(bits: int, pattern: Pattern) -> Callable[[Rng], Args]:
    """Arguments of one width and pattern: runs of rows of x and what is left of them, short last groups and units."""

    def case(rng: Rng) -> Args:
        m, n = integer(rng, 1, 9), integer(rng, 1, 12)
        k, group_size = pattern[1] * integer(rng, 1, 20), pattern[1] * integer(rng, 1, 12)
        groups, ldy = n_groups(k, group_size), n + integer(rng, 0, 3)
        codes = rng.integers(0, 2**bits, size=(n, kept(k, pattern))).astype(np.uint8)
        if rng.random() < 0.2:
            codes[:] = 2**bits - 1
        return {
            "x": activations(rng, m, k).reshape(-1),
            "x_scale": floats(rng, m * groups),
            "w": pack_codes(codes, bits, group_size, pattern).reshape(-1),
            "w_pos": pack_places(random_mask(rng, n, k, pattern), group_size, pattern).reshape(-1),
            "w_scale": (rng.normal(size=n * groups) * 10.0 ** rng.integers(-7, 2)).astype(np.float16),
            "w_zero": rng.integers(0, 2**bits, size=n * groups).astype(np.uint8) if rng.random() < 0.5 else None,
            "bias": floats(rng, n) if rng.random() < 0.5 else None,
            "addend": floats(rng, m * ldy) if rng.random() < 0.5 else None,
            "y": junk(rng, m * ldy + 3, f32),
            "m": m,
            "n": n,
            "k": k,
            "group_size": group_size,
            "ldy": ldy,
        }

    return case


CASES: dict[str, Callable[[Rng], Args]] = {
    **{case.__name__: case for case in _ONE_OF_A_NAME},
    "gelu_mul": silu_mul,
    "embed_neureka": embed_encoded("3x3"),
    "embed_neureka_1x1": embed_encoded("1x1"),
    **{f"gelu_{form}": gelu for form in ("tanh", "erf")},
    **{f"matmul_w{bits}a8": matmul(bits) for bits in range(2, 9)},
    **NEUREKA_CASES,
    **{kernel_name(bits, pattern): matmul_nm(bits, pattern) for bits in WIDTHS for pattern in PATTERNS},
}
