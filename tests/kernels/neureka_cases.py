"""Random arguments for matmuls on N-EUREKA, as kernel_cases.py has them."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from case_values import Args, Rng, activations, f32, floats, integer, junk

from edgec.neureka import matrix
from edgec.neureka.matrix import row_bytes
from edgec.ops import matmul_w4a8_mlp_neureka as mlp
from edgec.ops import matmul_w4a8_neureka as neureka
from edgec.ops import matmul_w4a8_silu_neureka as silu_neureka
from edgec.ops.op import Array
from edgec.packing import n_groups

TAIL_BYTES, WEIGHT_BYTES = 50_000, 600_000  # of weights in L1 and outside it at most


def matmul_neureka(bits: int, mode: str = "3x3", wide: bool = False) -> Callable[[Rng], Args]:
    """Arguments of one width: groups of whole blocks or one of any size, tiles of some passes or of all channels.

    Inputs behind whole blocks are the cores', folded, both or neither.
    wide: a row of many channels."""
    step = matrix.STEP[mode]

    def case(rng: Rng) -> Args:
        m, n = integer(rng, 1, 3 if mode == "3x3" else 16), integer(rng, 1, int(rng.choice([40, 140, 300])))
        m = 1 if rng.random() < 0.3 else m  # which kernels for a token see to apart
        m, n = (1, integer(rng, 300, 900)) if wide else (m, n)
        k = step * integer(rng, 1, 3) if rng.random() < 0.5 else integer(rng, 1, 600)
        k = matrix.WORD * integer(rng, 64, 150) if mode == "3x3" and rng.random() < 0.45 else k
        group_size = int(rng.choice([step, k, k + 5])) if k % step == 0 else k + integer(rng, 0, 1)
        if mode == "3x3" and rng.random() < 0.2:  # groups that fill no block
            group_size = integer(rng, 1, 140) if rng.random() < 0.5 else 256 + matrix.WORD * integer(rng, 0, 5)
            k = group_size * integer(rng, 2, 4)
        groups = n_groups(k, group_size)
        n = min(n, WEIGHT_BYTES // (groups * row_bytes(k, group_size, bits, mode)))
        tile, first = tiles_of(rng, n)
        u = rng.integers(0, 2**bits, size=(n, k)).astype(np.uint8)
        if rng.random() < 0.2:
            u[:] = 2**bits - 1
        possible = [split for split in matrix.splits(k, group_size, mode) if n * groups * split.tail < TAIL_BYTES]
        split = possible[integer(rng, 0, len(possible) - 1)] if possible and rng.random() < 0.85 else matrix.WHOLE
        huge = f32(1e6 if rng.random() < 0.2 else 1)  # beyond what kernels multiply by 2^112
        return {
            "x": activations(rng, m, k).reshape(-1),
            "x_scale": floats(rng, m * groups) * huge,
            **apart(u, bits, group_size, split, mode),
            "fold_acc": sums_of_folded(m, n, split),
            "w_scale": (rng.normal(size=n * groups) * 10.0 ** rng.integers(-7, 2)).astype(np.float16),
            "bias": floats(rng, n) if rng.random() < 0.4 else None,
            "addend": floats(rng, m * n) if rng.random() < 0.5 else None,
            "acc": np.zeros(neureka.slots(n, tile, first) * m * groups * tile, np.int32),
            "y": junk(rng, m * n + 3, f32),
            **{"m": m, **neureka.call_numbers(neureka.kernel_name(bits, mode), n, k, group_size, tile, first, split)},
        }

    return case


def apart(u: Array, bits: int, group_size: int, split: matrix.Split, mode: str) -> dict[str, Array | None]:
    """A matrix's constants, flat; None where it lacks one."""
    found = matrix.encode_apart(u, bits, group_size, split, mode)
    return {role: found[role].reshape(-1) if role in found else None for role in ("w", "w_tail", "w_fold")}


def sums_of_folded(m: int, n: int, split: matrix.Split) -> Array | None:
    """Memory for what a job of folded inputs gives of each row."""
    return np.zeros(m * 9 * matrix.fold_shape(n, 8, split.fold)[0], np.int32) if split.fold else None


def tiles_of(rng: Rng, n: int) -> tuple[int, int]:
    """Channels of tiles, of some passes or all, and of the first one, as many as others have or a pass."""
    tile = min(32 * integer(rng, 1, 4), n) if rng.random() < 0.7 else n
    return tile, min(tile, int(rng.choice([32, tile])))


def matmul_silu_neureka(bits: int, mode: str = "3x3") -> Callable[[Rng], Args]:
    """matmul_neureka's of an even number of channels; their results are of SiLU's size, some in several long groups."""

    def case(rng: Rng) -> Args:
        wide = rng.random() < 0.25
        while (args := matmul_neureka(bits, mode, wide)(rng))["n"] % 2:
            pass
        (m, n, k, group_size), split = (args[key] for key in ("m", "n", "k", "group_size")), neureka.split_in(args)
        out_group = int(rng.choice([128, 150, 300] if wide else [1, 8, 20, 32, 64, 300, 300]))
        groups, width = n_groups(k, group_size), n // 2
        tile, first = tiles_of(rng, width)
        name = neureka.kernel_name(bits, mode)
        out = m * n_groups(width, out_group)
        scale = 10.0 ** rng.uniform(-1, 1) / np.sqrt(k) / 127 / 2**bits  # gates of an ordinary size
        return {
            **{key: args[key] for key in ("x", "w", "bias", "w_tail", "w_fold", "fold_acc")},
            "x_scale": floats(rng, m * groups, -1, 1),
            "w_scale": (rng.normal(size=n * groups) * scale).astype(np.float16),
            "acc": np.zeros(2 * neureka.slots(width, tile, first) * m * groups * tile, np.int32),
            "y": np.zeros(m * n, f32),
            "q": junk(rng, m * width + 2, np.int8),
            "scale": junk(rng, out, f32),
            "sums": junk(rng, out, np.int32),
            **{"m": m, **neureka.call_numbers(name, n, k, group_size, tile, first, split)},
            "out_group": out_group,
        }

    return case


def matmul_mlp_neureka(bits: int, mode: str = "3x3") -> Callable[[Rng], Args]:
    """matmul_silu_neureka's of one row, and a down of its groups: half of the time of some long ones, some of whose
    scales are huge."""
    step = matrix.STEP[mode]

    def case(rng: Rng) -> Args:
        long, wide = rng.random() < 0.5, step * (1 if mode == "3x3" else integer(rng, 4, 8))
        while True:
            args = matmul_silu_neureka(bits, mode)(rng)
            out_group = wide if long else int(rng.choice([args["n"] // 2, 1000, step]))
            width = wide * integer(rng, 2, 4) if long else args["n"] // 2
            small = 2 * width * args["groups"] * row_bytes(args["k"], args["group_size"], bits, mode) < WEIGHT_BYTES
            if args["m"] == 1 and matrix.suits(width, out_group, mode) and small:
                break
        k, group_size, n = args["k"], args["group_size"], integer(rng, 1, int(rng.choice([30, 100, 300])))
        groups, out_groups, (tile, first) = n_groups(k, group_size), n_groups(width, out_group), tiles_of(rng, width)
        u = rng.integers(0, 2**bits, size=(2 * width, k)).astype(np.uint8)
        split = neureka.split_in(args)
        split = split if 2 * width * groups * split.tail < TAIL_BYTES else matrix.WHOLE
        down = rng.integers(0, 2**bits, size=(n, width)).astype(np.uint8)
        scale = 10.0 ** rng.uniform(-1, 1 if rng.random() < 0.8 else 5) / np.sqrt(k) / 127 / 2**bits
        name = mlp.kernel_name(bits, mode)
        return {
            "x": args["x"],
            "x_scale": args["x_scale"],
            **apart(u, bits, group_size, split, mode),
            "fold_acc": sums_of_folded(1, 2 * width, split),
            "w_scale": np.clip(rng.normal(size=2 * width * groups) * scale, -65504, 65504).astype(np.float16),
            "bias": floats(rng, 2 * width) if rng.random() < 0.2 else None,
            "acc": np.zeros(2 * neureka.slots(width, tile, first) * groups * tile, np.int32),
            "v": np.zeros(2 * width, f32),
            "q": np.zeros(width, np.int8),
            "scale": np.zeros(out_groups, f32),
            "down_w": matrix.encode(down, bits, out_group, mode).reshape(-1),
            "down_scale": (rng.normal(size=n * out_groups) * 10.0 ** rng.integers(-7, 2)).astype(np.float16),
            "down_acc": np.zeros(n * out_groups, np.int32),
            "addend": floats(rng, n) if rng.random() < 0.5 else None,
            "y": junk(rng, n + 3, f32),
            **{
                "m": 1,
                **neureka.call_numbers(name, 2 * width, k, group_size, tile, first, split),
                "out_group": out_group,
            },
            **mlp.down_numbers(name, width, n, out_group, tiles_of(rng, n)[1]),
        }

    return case


NEUREKA_CASES: dict[str, Callable[[Rng], Args]] = {
    **{neureka.kernel_name(bits): matmul_neureka(bits) for bits in neureka.WIDTHS},
    neureka.kernel_name(8, "1x1"): matmul_neureka(8, "1x1"),
    **{silu_neureka.kernel_name(bits): matmul_silu_neureka(bits) for bits in neureka.WIDTHS},
    silu_neureka.kernel_name(8, "1x1"): matmul_silu_neureka(8, "1x1"),
    **{mlp.kernel_name(bits): matmul_mlp_neureka(bits) for bits in neureka.WIDTHS},
    mlp.kernel_name(8, "1x1"): matmul_mlp_neureka(8, "1x1"),
}
