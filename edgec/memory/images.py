"""Initial bytes of the memories: every constant at its home."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgec.memory.plan import Plan

UNUSED = 0xA5


def images(plan: Plan, consts: Mapping[str, NDArray[Any]]) -> dict[str, NDArray[np.uint8]]:
    """Bytes per level from offset 0 to its last constant; levels without constants are absent."""
    result: dict[str, NDArray[np.uint8]] = {}
    for level in plan.target.memory_by_name:
        homes = [b for b in plan.buffers if b.level == level and b.name in consts]
        if homes:
            # What no constant fills is stacks and padding: bytes by which the use of a stack is seen.
            image = np.full(max(b.offset + b.size for b in homes), UNUSED, np.uint8)
            for b in homes:
                image[b.offset : b.offset + b.size] = np.ascontiguousarray(consts[b.name]).reshape(-1).view(np.uint8)
            result[level] = image
    return result
