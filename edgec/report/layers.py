"""Which layer hurts most: the error of every matrix, by layer and by role.

A stage that saw a calibration text measured the share of each matrix's output power that rounding lost; a build without
one knows the share of the weights' own power (NMSE).
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

MATRIX = re.compile(r"model\.layers\.(\d+)\.(?:self_attn|cross_attn|mlp)\.(\w+)_proj(?:\.factor_[ab])?\.weight")
BARS, DIGITS = "▁▂▃▄▅▆▇█", "12345678"
ROLES = ("q", "k", "v", "o", "gate", "up", "down")


@dataclass(frozen=True)
class LayerErrors:
    """errors[layer][role] and what they are shares of: "outputs" or "weights"."""

    of: str
    errors: tuple[Mapping[str, float], ...]

    def worst(self, count: int) -> list[tuple[int, str, float]]:
        """The matrices that lose most: (layer, role, share)."""
        every = [(i, role, e) for i, layer in enumerate(self.errors) for role, e in layer.items()]
        return sorted(every, key=lambda item: (-item[2], item[0], item[1]))[:count]

    def by_layer(self) -> list[float]:
        """Mean over the matrices of each layer."""
        return [sum(layer.values()) / max(1, len(layer)) for layer in self.errors]

    def by_role(self) -> dict[str, float]:
        """Mean over the layers of each role."""
        found = {role: [layer[role] for layer in self.errors if role in layer] for role in ROLES}
        return {role: sum(values) / len(values) for role, values in found.items() if values}


def error_source(
    stages: Sequence[Mapping[str, Any]], quantization: Mapping[str, float]
) -> tuple[str, Mapping[str, float]]:
    """What errors are shares of and the error of each matrix: the last stage's that measured them, or the build's."""
    measured = [stage["notes"]["errors"] for stage in stages if stage.get("notes", {}).get("errors")]
    return ("outputs", measured[-1]) if measured else ("weights", quantization)


def layer_errors(stages: Sequence[Mapping[str, Any]], quantization: Mapping[str, float]) -> LayerErrors | None:
    """Errors of the last stage that measured them, or of the rounding of the build; None if there are none.

    Of a matrix that is a product, its worse factor's; of a block's two attentions, the worse one's. An encoder in front
    of a decoder is left out.
    """
    of, source = error_source(stages, quantization)
    table: dict[int, dict[str, float]] = {}
    for name, error in source.items():
        if found := MATRIX.fullmatch(name):
            roles = table.setdefault(int(found[1]), {})
            roles[found[2]] = max(float(error), roles.get(found[2], 0.0))
    if not table:
        return None
    return LayerErrors(of, tuple(table.get(i, {}) for i in range(max(table) + 1)))


def spark(values: Sequence[float], bars: str = BARS) -> str:
    """One block a value, tall for the largest."""
    top = max(values, default=0.0)
    return "".join(bars[min(7, int(8 * value / top))] if top > 0 else bars[0] for value in values)


def error_lines(found: LayerErrors | None, encoding: str = "utf-8", count: int = 3) -> list[str]:
    """The view as text: a bar for each layer, the roles, and the worst matrices."""
    if found is None:
        return []
    layers = found.by_layer()
    drawn = spark(layers, BARS if encoding.lower().startswith("utf") else DIGITS)
    worst = ", ".join(f"layer {layer} {role} {share:.2g}" for layer, role, share in found.worst(count))
    roles = ", ".join(f"{role} {share:.2g}" for role, share in found.by_role().items())
    return [
        f"share of {found.of}' power lost to rounding, layer 0 to {len(layers) - 1}: {drawn} "
        f"(mean {sum(layers) / len(layers):.2g}, worst layer {layers.index(max(layers))})",
        f"by role: {roles}",
        f"worst: {worst}",
    ]
