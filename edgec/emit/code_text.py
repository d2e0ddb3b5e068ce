"""C text in two halves: its shape (text with holes) and the integers that fill the holes.

What differs between equal steps of two layers, or between two tiles, is integers only; keeping them apart lets tiles
become loops (`loops.py`) and layers share functions (`functions.py`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

HOLE = "\0"  # stands for one integer in a shape


@dataclass(frozen=True)
class CodeText:
    """Lines of C with holes, and the integers for them in order."""

    shape: str
    integers: tuple[int, ...]

    def __add__(self, other: CodeText) -> CodeText:
        return CodeText(self.shape + other.shape, self.integers + other.integers)

    def render(self, expressions: Sequence[str] | None = None) -> str:
        """The lines with C expressions in the holes, by default the integers themselves."""
        given = [f"{v}u" for v in self.integers] if expressions is None else expressions
        return "".join(p + e for p, e in zip(self.shape.split(HOLE), [*given, ""], strict=True))


def float_literal(value: float) -> str:
    """The float32 nearest to value, as a hexadecimal literal: exact and locale-free."""
    return f"{float(np.float32(value)).hex()}f"
