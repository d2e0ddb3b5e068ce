"""How many bytes of each operand a kernel call touches, from the shapes that the kernels' headers state.

A kernel gets addresses and counts, never the size of a region, so nothing at run time notices a region that is too
small. `tests/kernels/test_operand_sizes.py` holds the shapes against the headers and against the kernels' NumPy twins.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import cache
from math import prod

from edgec.ir.graph import DTYPES
from edgec.memory.plan import Call, Extent, evaluate
from edgec.neureka import matrix
from edgec.neureka.engine import COUT
from edgec.ops import attention_neureka, kernel, kernel_module, matmul_w4a8_mlp_neureka, matmul_w4a8_neureka
from edgec.ops.matmul_w4a8 import bits_of
from edgec.packing import n_groups, row_bytes
from edgec.packing_nm import place_bytes, units

Shapes = Mapping[str, str]
Numbers = Mapping[str, int | float]

_QUANTISED = {"q": "[rows][k]", "scale": "[rows][groups]", "sums": "[rows][groups]"}
_ACTIVATIONS = {"x": "[m][k]", "x_scale": "[m][groups]"}
_CHANNELS = {"w_scale": "[n][groups]", "w_zero": "[n][groups]", "w_min": "[n][groups]", "bias": "[n]"}
_ENCODED = {"w": "[groups][n][line]", "w_scale": "[n][groups]", "bias": "[n]", "w_tail": "[n][groups][tail]"}
_ENCODED |= {"w_fold": "[filters][fold_line]", "fold_acc": "[m][9][filters]"}
_COLUMNS = {"addend": "[m][ldy] of which [m][n]", "y": "[m][ldy] of which [m][n]"}
_GATED = {"gate": "[rows][ldx] of which [rows][k]", "up": "[rows][ldx] of which [rows][k]"}
_HEADS, _SCORES, _FACTORS = "[m][n_heads][head_dim]", "[m][n_heads][lds]", "[m][n_heads]"
_TILE, _TILE_SCALES = "[count][n_kv_heads][head_dim]", "[count][n_kv_heads]"
_TILE_I4 = "[count][n_kv_heads][head_dim / 2]"
_SEEN, _SEEN_SCALES = "[pos + m][n_kv_heads][head_dim]", "[pos + m][n_kv_heads]"
_KV = {"x": "[rows / heads][ldx] of which [heads][k]", "shift": "[heads][k]", "scale": "[rows]"}

_WHOLE = {
    **{"q": _HEADS, "q_scale": _FACTORS, "y": _HEADS},
    **{"k": _SEEN, "k_scale": _SEEN_SCALES, "v": _SEEN, "v_scale": _SEEN_SCALES},
    **{"s": "[rooms][lds]", "p": "[rooms][lds]", "r": "[cores][lds]", "found": "[4][rooms][cores]"},
}

# By kernel, or by op where all its kernels are alike.
SHAPES: dict[str, Shapes] = {
    "add": dict.fromkeys(("a", "b", "y"), "[rows][k]"),
    "add_positions": dict.fromkeys(("x", "table", "y"), "[m][k]"),
    "attention_scores": {"q": _HEADS, "q_scale": _FACTORS, "k": _TILE, "k_scale": _TILE_SCALES, "s": _SCORES},
    "attention_scores_i4": {"q": _HEADS, "q_scale": _FACTORS, "k": _TILE_I4, "k_scale": _TILE_SCALES, "s": _SCORES},
    "attention_cap": {"s": _SCORES},
    "attention_softmax": {"s": _SCORES, "v_scale": _SEEN_SCALES, "p": _SCORES, "p_scale": _FACTORS},
    "attention_softmax_full": {
        **{"s": _SCORES, "v_scale": "[positions][n_kv_heads]", "length": "[1]", "p": _SCORES, "p_scale": _FACTORS},
    },
    "attention_values": {"p": _SCORES, "v": _TILE, "acc": _HEADS},
    "attention_values_i4": {"p": _SCORES, "v": _TILE_I4, "acc": _HEADS},
    "attention_finish": {"acc": _HEADS, "p_scale": _FACTORS, "y": _HEADS},
    "attention": _WHOLE,
    "attention_neureka": {**_WHOLE, "lines": "[n_heads + 1][line]", "sums": "[pos + m][row]"},
    "embed": {"w": "[m][row_bytes]", **dict.fromkeys(("w_scale", "w_zero", "w_min"), "[m][groups]"), "y": "[m][k]"},
    "embed_neureka": {
        "w": "[m][line]",
        "w_scale": "[m][groups]",
        "w_tail": "[m][groups][tail]",
        "y": "[m][k] of which [m][size]",
    },
    "gelu": dict.fromkeys(("x", "y"), "[rows][k]"),
    "gelu_mul": {**_GATED, "y": "[rows][k]"},
    "kv_append": {**_KV, "q": "[rows][k]"},
    "kv_append_i4": {**_KV, "q": "[rows][k / 2]"},
    "layernorm": {"x": "[rows][k]", "gain": "[k]", "bias": "[k]", "y": "[rows][k]"},
    "last_row": {"x": "[m][k]", "y": "[k]"},
    "matmul_w4a8": {**_ACTIVATIONS, "x_sums": "[m][groups]", "w": "[n][row_bytes]", **_CHANNELS, **_COLUMNS},
    "matmul_w4a8_neureka": {
        **{**_ACTIVATIONS, **_ENCODED},
        **{"addend": "[m][n]", "acc": "[slots][m][groups][tile]", "y": "[m][n]"},
    },
    "matmul_w4a8_silu_neureka": {
        **{**_ACTIVATIONS, **_ENCODED},
        **{"acc": "[slots][2][m][groups][tile]", "y": "[m][n]", "q": "[m][n / 2]"},
        **dict.fromkeys(("scale", "sums"), "[m][out_groups]"),
    },
    "matmul_w4a8_mlp_neureka": {
        **{**_ACTIVATIONS, **_ENCODED},
        **{"acc": "[slots][2][m][groups][tile]", "v": "[m][n]", "q": "[m][n / 2]", "scale": "[m][out_groups]"},
        **{"down_w": "[out_groups][down_n][down_line]", "down_scale": "[down_n][out_groups]"},
        **{"down_acc": "[out_groups][down_n]", "addend": "[m][down_n]", "y": "[m][down_n]"},
    },
    "matmul_w4a8_nm": {
        **{**_ACTIVATIONS, "w": "[n][units][bits]", "w_pos": "[n][units][bytes of a unit]"},
        **{**_CHANNELS, **_COLUMNS},
    },
    "pool": {"x": "[m][k]", "sum": "[k]", "y": "[k]"},
    "quantize_dynamic": {"x": "[rows][k]", **_QUANTISED},
    "rmsnorm": {"x": "[rows][k]", "gain": "[k]", "y": "[rows][k]"},
    "rmsnorm_quantize": {"x": "[rows][k]", "gain": "[k]", **_QUANTISED},
    "rope": {
        "x": "[m][ldx] of which [m][heads][head_dim]",
        **{"table": "[m][head_dim]", "y": "[m][heads][head_dim]"},
    },
    "rope_append": {
        **{"x": "[m][n_heads + n_kv_heads + n_kv_heads][head_dim]", "table": "[m][head_dim]"},
        **{"shift": "[n_kv_heads][head_dim]", "q": _HEADS, "q_scale": _FACTORS},
        **dict.fromkeys(("k_q", "v_q"), "[m][n_kv_heads][head_dim]"),
        **dict.fromkeys(("k_scale", "v_scale"), "[m][n_kv_heads]"),
    },
    "sample": {"logits": "[n]", "params": "[6]", "token": "[1]"},
    "copy_rows": dict.fromkeys(("x", "y"), "[m][k]"),
    "silu_mul": {**_GATED, "y": "[rows][k]"},
    "silu_mul_quantize": {**_GATED, **_QUANTISED},
    "softcap": dict.fromkeys(("x", "y"), "[n]"),
}


def most_bytes(call: Call, when: Extent | None, rows: int, context: int) -> dict[str, tuple[int, int]]:
    """operand_bytes of a call, each operand's most of any run in which the call is made. ValueError as there.

    Runs are of 1 to `rows` tokens, and those at the context's end touch most.
    """
    found: dict[str, tuple[int, int]] = {}
    for m in range(1, rows + 1):
        pos = context - m
        if when is None or when.at(m, pos):
            numbers = {name: evaluate(number, m, pos) for name, number in call.numbers.items()}
            for name, (size, row) in operand_bytes(call.kernel, numbers).items():
                found[name] = max(size, found.get(name, (0, 0))[0]), row
    return found


def shapes(name: str) -> Shapes:
    """The shapes of a kernel's operands, in its header's words."""
    return SHAPES[name] if name in SHAPES else SHAPES[kernel_module(name)]


def operand_bytes(name: str, numbers: Numbers) -> dict[str, tuple[int, int]]:
    """Of each operand of a call: bytes from its first to its last one touched, and bytes of a row (0: rows have gaps).

    Raises ValueError where rows overlap that should not, or where a number breaks a rule of the kernel.
    """
    try:
        known = {**numbers, **_derived(name, numbers)}
        return _sizes(name, known)
    except (KeyError, ZeroDivisionError):  # no such width; nothing is made of groups or heads of 0
        raise ValueError(f"numbers that do not belong together: {dict(numbers)}") from None


def _sizes(name: str, known: Numbers) -> dict[str, tuple[int, int]]:
    _obeys(known)
    found = {}
    for p in kernel(name).params:
        if p.is_pointer:
            size = DTYPES[p.dtype].itemsize
            outer, inner = _dimensions(shapes(name)[p.name])
            whole = [_value(term, known) for term in outer]
            if not inner:
                found[p.name] = prod(whole) * size, prod(whole[1:]) * size
                continue
            (rows, distance), width = whole, prod(_value(term, known) for term in inner)
            if distance < width:
                raise ValueError(f"rows of {width} of {p.name} that are {distance} apart")
            found[p.name] = (((rows - 1) * distance + width) * size if rows else 0), 0
    return found


@cache
def _dimensions(shape: str) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """The dimensions of the whole, and those of the part of a row that is touched where that is not all of it."""
    whole, _, part = shape.partition(" of which ")
    outer, inner = (tuple(re.findall(r"\[(.*?)\]", text)) for text in (whole, part))
    return outer, inner[1:] if inner[:1] == outer[:1] else inner


def _value(term: str, known: Numbers) -> int:
    """A dimension: a number, a name, a sum or a quotient of two."""
    if " / " in term:
        over, _, by = term.partition(" / ")
        return _value(over, known) // _value(by, known)
    if " + " in term:
        return sum(_value(part, known) for part in term.split(" + "))
    return int(term) if term.isdigit() else int(known[term])


def _derived(name: str, numbers: Numbers) -> dict[str, int]:
    """What a kernel computes from its numbers, under the names that its header uses."""
    if kernel_module(name) == "attention_neureka":
        heads, kv, d = (int(numbers[key]) for key in ("n_heads", "n_kv_heads", "head_dim"))
        return {"line": attention_neureka.line_bytes(kv, d), "row": attention_neureka.row_length(heads)}
    if "group_size" not in numbers:
        return {}
    k, group_size = int(numbers["k"]), int(numbers["group_size"])
    found = {"groups": n_groups(k, group_size)}
    module = kernel_module(name)
    if module == "embed_neureka":
        bits, mode = int(numbers["bits"]), matmul_w4a8_neureka.mode_of(name)
        if bits not in matmul_w4a8_neureka.WIDTHS or not matrix.suits(k, group_size, mode):
            raise ValueError(f"groups of {group_size} of {k} weights of {bits} bits")
        if not 0 <= numbers["group"] < found["groups"]:
            raise ValueError(f"group {numbers['group']} of {found['groups']}")
        line = matrix.row_bytes(k, group_size, bits, mode, _split(numbers, mode).apart)
        return found | {"size": min(k, group_size), "line": line}
    if not module.startswith("matmul_"):
        return found | ({"row_bytes": row_bytes(k, int(numbers["bits"]), group_size)} if "bits" in numbers else {})
    bits = bits_of(name)
    if module.endswith("_neureka"):
        n, tile, first = (int(numbers[key]) for key in ("n", "tile", "first"))
        width = n // 2 if "out_group" in numbers else n
        _fit(width, tile, first)
        split = _split(numbers, matmul_w4a8_neureka.mode_of(name))
        rule = matmul_w4a8_neureka.call_numbers(name, n, k, group_size, tile, first, split)
        filters, fold_line = matrix.fold_shape(n, bits, split.fold)
        if "down_n" in numbers:
            given = tuple(int(numbers[key]) for key in ("down_n", "out_group", "down_first"))
            _fit(given[0], given[0], given[2])
            rule |= matmul_w4a8_mlp_neureka.down_numbers(name, width, *given)
        if wrong := sorted(key for key in rule if numbers[key] != rule[key]):
            raise ValueError(f"{wrong[0]} of {numbers[wrong[0]]}, where it is {rule[wrong[0]]}")
        found |= {"slots": matmul_w4a8_neureka.slots(width, tile, first), "filters": filters, "fold_line": fold_line}
        if "out_group" in numbers:
            found |= {"out_groups": n_groups(n // 2, int(numbers["out_group"]))}
        return found
    if module == "matmul_w4a8":
        return found | {"row_bytes": row_bytes(k, bits, group_size)}
    pattern = (int(name.split("_")[-2]), int(name.split("_")[-1]))
    return found | {"units": units(k, group_size, pattern), "bits": bits, "bytes of a unit": place_bytes(pattern)}


def _split(numbers: Numbers, mode: str) -> matrix.Split:
    """A group's inputs that are apart."""
    split = matmul_w4a8_neureka.split_in(numbers)
    matrix.check_split(split, int(numbers["k"]), int(numbers["group_size"]), mode)
    return split


def _fit(width: int, tile: int, first: int) -> None:
    """Tiles of a matmul on N-EUREKA are of its channels."""
    if (tile % COUT and tile != width) or (first % COUT and first != width):
        raise ValueError(f"tiles of {first} and {tile} of {width} channels, not of whole passes of {COUT}")
    if not 0 < first <= tile <= width:
        raise ValueError(f"a first tile of {first} and others of {tile}, of {width} channels")


def _obeys(known: Numbers) -> None:
    """Rules of numbers beside each other."""
    if "lds" in known:
        if "first" in known:
            seen = known["first"] + known["count"]
        else:
            seen = known["positions"] if "positions" in known else known["pos"] + known["m"]
        if known["lds"] < seen:
            raise ValueError(f"score rows of {known['lds']} for {seen} positions")
    if "out_group" in known and known["n"] % 2:
        raise ValueError(f"gate and up of {known['n']} channels together")
