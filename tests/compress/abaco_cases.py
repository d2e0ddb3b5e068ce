"""What the tests of ABACO share: quick options, and the truncation that a product begins as."""

from __future__ import annotations

from typing import Any

import numpy as np

from edgec.frontend.checkpoint import Checkpoint

FAST: dict[str, Any] = {"rank": 6, "samples": 8, "steps": 12, "rate": 0.02, "save_every": 4}

Q = "model.layers.0.self_attn.q_proj.weight"


def truncated(model: Checkpoint, ranks: dict[str, int]) -> Checkpoint:
    """Each matrix's best approximation of the rank, untrained."""
    made = {}
    for name, rank in ranks.items():
        u, s, v = np.linalg.svd(model.tensor(name), full_matrices=False)
        made[name] = (u[:, :rank] * s[:rank]) @ v[:rank]
    return model.with_tensors(made)
