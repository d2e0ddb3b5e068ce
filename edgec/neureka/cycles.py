"""How long N-EUREKA takes for a job, cycle by cycle, from the figures of its public GVSoC model.

For each tile of 32 output channels, each tile of 6 x 6 pixels, each block of input channels:

    6                     to start
    load                  3x3: a cycle an input pixel; 1x1: 42
    offset                6; 1x1: 10, or 7 with prefetch. Adds offset * sum(x) to the accumulators
    multiply              3x3: cout * bits + 8; 1x1: cout

and for each tile of pixels, once all blocks are in the accumulators,

    requantise            scales (a cycle each 32 bits) + 9, biases 4, + 8
    stream out            (rows - 1) * 6 + columns, times 1 (8-bit output) or ceil(cout / 8) (int32); 1x1: + 3

With prefetch the engine loads the next block while it multiplies: offset + multiply takes no time as far as load + 3 of
the next block hides it. The last block of a tile of output channels hides nothing.

The RTL's input buffer is always filled: on silicon, loading takes 64 cycles in 3x3 mode where the public model counts
the input pixels that are there (9 for one output pixel). `silicon=True` gives that figure; nothing here was measured on
silicon.
"""

from __future__ import annotations

from edgec.neureka.engine import COUT, PIXELS, blocks, ceil_div
from edgec.neureka.job import Job

# What a core of the cluster adds, measured on the public model; the engine meanwhile runs the job before.
WAIT_CORE = 27  # writing the trigger, and waking up in edgec_neureka_wait: 24 or 27, by the code around

START = 1  # from the trigger, or from the end of the job before, to the first cycle
BLOCK = 6
LOAD_1X1 = 42
LOAD_SILICON = 64
HEAD_START = 3  # cycles of multiplying that prefetch hides besides those of loading
OVERHEAD_3X3 = 8


def job_cycles(job: Job, *, silicon: bool = False) -> int:
    """Cycles from the trigger to the end-of-job event of a job that finds the engine idle."""
    full, rest = divmod(job.cout, COUT)
    total = START + full * _channel_tile(job, COUT, silicon)
    return total + (_channel_tile(job, rest, silicon) if rest else 0)


def _channel_tile(job: Job, cout: int, silicon: bool) -> int:
    """One tile of output channels, all pixels."""
    n_blocks = blocks(job.mode, job.cin)
    multiply = cout * job.bits + OVERHEAD_3X3 if job.mode == "3x3" else cout
    offset = 6 if job.mode == "3x3" else 7 if job.prefetch else 10
    total, first = 0, True
    for height in _tiles(job.height):
        for width in _tiles(job.width):
            load = _load(job, height, width, silicon)
            total += n_blocks * (BLOCK + load + offset)
            if job.prefetch:
                total += (n_blocks - first) * max(0, offset + multiply - load - HEAD_START)
                first = False
            else:
                total += n_blocks * multiply
            total += _finish(job, cout, height, width)
    return total + (multiply if job.prefetch else 0)


def _load(job: Job, height: int, width: int, silicon: bool) -> int:
    if job.mode == "1x1":
        return LOAD_1X1
    return LOAD_SILICON if silicon else (height + 2) * (width + 2)


def _finish(job: Job, cout: int, height: int, width: int) -> int:
    pixels = (height - 1) * PIXELS + width
    edge = 3 if job.mode == "1x1" else 0
    if job.output == "int32":
        return pixels * ceil_div(cout, 8) + edge
    scales = ceil_div(cout * job.scale_bits, 32)
    return scales + 9 + (4 if job.bias else 0) + 8 + pixels + edge


def _tiles(size: int) -> list[int]:
    full, rest = divmod(size, PIXELS)
    return [PIXELS] * full + ([rest] if rest else [])
