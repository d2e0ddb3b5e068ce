"""What a model weighs at a stage: parameters, those that are not zero, and bytes with every scale and index counted."""

from __future__ import annotations

from typing import Any

import numpy as np

from edgec.frontend.checkpoint import Checkpoint


def size_of(model: Checkpoint) -> dict[str, Any]:
    """Parameters, nonzeros, bytes (floats as 16 bit) and bits per weight of the blocks' matrices.

    What several blocks share counts once, a product as its factors. Branches count as parameters of their own, at 16
    bits, in the bytes but not in the bits per weight.
    """
    names = model.stored_tensors()
    blocks = set(model.stored_matrices())
    parameters = nonzero = total = weights = block_bytes = 0
    for name in names:
        tensor = model.tensor(name)
        parameters += tensor.size
        nonzero += int(np.count_nonzero(tensor))
        size = packed_bytes(model.packed[name]()) if name in model.packed else 2 * tensor.size
        total += size
        if name in blocks:
            weights += tensor.size
            block_bytes += size
    branch = sum(b.a.size + b.b.size for b in model.branches.values())
    return {
        "parameters": parameters + branch,
        "nonzero": nonzero + branch,
        "bytes": total + 2 * branch,
        "block_bits_per_weight": round(8 * block_bytes / weights, 4),
        "branch_parameters": branch,
    }


def packed_bytes(tensor: Any) -> int:
    """Bytes of a packed matrix with its scales, zero points, minima, places, tail and folded inputs."""
    parts = (tensor.packed, tensor.scale, tensor.zero, tensor.minimum, tensor.places, tensor.tail, tensor.fold)
    return sum(int(part.nbytes) for part in parts if part is not None)
