"""What a matmul on the cores counts as work: its products, and what the kernels do beside them.

Rows go by in passes of one, two or four (`kernels/matmul_w4a8/matmul_w4a8_xpulpv2.c`). A pass unpacks its weights once;
strips of channels that go over all groups at once have no more overhead, others some for each group of inputs.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from edgec.ops.op import CORES, Work
from edgec.packing import block_elements, n_groups

STRIPS = {
    2: (4, 4),
    3: (1, 1),
    4: (8, 4),
    5: (2, 2),
    6: (2, 2),
    7: (1, 1),
    8: (8, 8),
}  # channels, of one row and of two
WHOLE = {4: 2, 8: 4}  # rows of a pass over all groups, for widths that have it
# Float operations: a channel and group, starting the loops of a pass, and unpacking a weight, all in those of SCALE.
SCALE, LOOPS, PADDED, PAD = 3, 60, 0.15, 2.0
UNPACK = {2: 0.07, 3: 0.33, 4: 0.04, 5: 0.35, 6: 0.33, 7: 0.42, 8: 0.0}


def work_for(bits: int) -> Callable[[dict[str, Any]], Work]:
    """The work of calls of one width."""

    def work(a: dict[str, Any]) -> Work:
        m, n, k, group_size = a["m"], a["n"], a["k"], a["group_size"]
        groups, each = n_groups(k, group_size), -(-n // CORES)  # channels of a core
        last = k - (groups - 1) * group_size
        whole = one = 0  # passes over all groups: of several rows, of one
        if bits in WHOLE and each >= 8 and last % block_elements(bits) == 0 and last in (k, group_size):
            whole = m // WHOLE[bits] if WHOLE[bits] == 4 or groups > 1 else 0
            one = m % 2 if groups > 2 else 0
        pairs, single = divmod(m - whole * WHOLE.get(bits, 0) - one, 2)
        loops = whole + one
        for passes, strip in ((single, STRIPS[bits][0]), (pairs, STRIPS[bits][1])):
            loops += passes * groups * _walks(each, strip)
        block = block_elements(bits)
        padded = [size for size in (*[group_size] * (groups - 1), last) if size % block]
        filled = k + sum(-size % block for size in padded)  # inputs with zeros behind groups that end within a block
        unpacked = (whole + one + pairs + single) * n * filled
        flops = SCALE * m * n * groups + round(UNPACK[bits] * unpacked + PADDED * m * n * (filled - k))
        return Work(m * n * k, flops, n, rows=1, row_flops=LOOPS * loops + round(PAD * m * block * len(padded)))

    return work


def _walks(channels: int, strip: int) -> int:
    """How often a core goes over its channels: in strips, and over those that are left, if they are few."""
    left = channels % strip
    return (channels >= strip) + (channels < strip or 0 < 2 * left <= strip)
