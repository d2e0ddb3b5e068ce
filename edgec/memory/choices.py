"""What lowering and planner do beyond a plan that works; each can be left out, to see what it is worth."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Choices:
    """All on, but for `edgec build --explain`.

    join           q, k and v as one matrix, gate and up as one (edgec/passes/join_projections.py)
    norm_quantize  a norm and the quantisation of its result as one call (this and the next five: edgec/passes/fuse.py)
    silu_quantize  the same of the gated activation
    rope_append    queries and keys rotated and the cache's new rows written in one call
    gate_up_silu   gate and up on the accelerator while cores compute the gated activation
    residual       the residual added by the matmul before it
    mlp            gate, up and down of a token on the accelerator in one call
    attention      scores, softmax and values of a head in one call, where the cache is there whole
    accelerator    matrices on the accelerator where that is faster (edgec/passes/to_neureka.py)
    residency      weights near the engine by what that saves, rather than in order of use
    near           constants that stay in the compute memory, where there is room (edgec/memory/near.py)
    near_cache     caches of layers that stay there likewise
    in_place       results in the buffer of an input that nothing reads any more
    tiling         the fastest of a step's tilings, rather than the coarsest that fits
    early_loads    a step's first weights during the step before
    kept_rows      the rows of a table by position loaded once a run, not by every layer (edgec/memory/kept_rows.py)
    early_cache    rows of a cache that attention would wait for during steps before (edgec/memory/early_cache.py)
    compaction     all buffers placed again once every step is planned
    """

    join: bool = True
    norm_quantize: bool = True
    silu_quantize: bool = True
    rope_append: bool = True
    gate_up_silu: bool = True
    residual: bool = True
    mlp: bool = True
    attention: bool = True
    accelerator: bool = True
    residency: bool = True
    near: bool = True
    near_cache: bool = True
    in_place: bool = True
    tiling: bool = True
    early_loads: bool = True
    kept_rows: bool = True
    early_cache: bool = True
    compaction: bool = True


ALL = Choices()
