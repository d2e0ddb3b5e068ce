"""The per-layer error view."""

from __future__ import annotations

from edgec.report.layers import error_lines, layer_errors, spark


def name(layer: int, role: str) -> str:
    part = "mlp" if role in ("gate", "up", "down") else "self_attn"
    return f"model.layers.{layer}.{part}.{role}_proj.weight"


ERRORS = {name(0, "q"): 0.01, name(0, "down"): 0.03, name(1, "q"): 0.02, name(1, "down"): 0.10, "lm_head.weight": 0.9}


def test_layers_and_roles_are_means_and_the_worst_is_named() -> None:
    found = layer_errors([], ERRORS)
    assert found is not None and found.of == "weights"
    assert [round(e, 6) for e in found.by_layer()] == [0.02, 0.06]
    assert {r: round(e, 6) for r, e in found.by_role().items()} == {"q": 0.015, "down": 0.065}
    assert found.worst(1) == [(1, "down", 0.10)]
    lines = error_lines(found)
    assert "worst layer 1" in lines[0] and lines[2].startswith("worst: layer 1 down 0.1")


def test_what_a_stage_measured_goes_before_the_weights() -> None:
    stages = [{"method": "depth", "notes": {}}, {"method": "quantize", "notes": {"errors": {name(0, "v"): 0.5}}}]
    found = layer_errors(stages, ERRORS)
    assert found is not None and found.of == "outputs" and found.worst(9) == [(0, "v", 0.5)]


def test_no_matrices_no_view() -> None:
    assert layer_errors([], {"lm_head.weight": 0.1}) is None and error_lines(None) == []


def test_bars_grow_with_the_value() -> None:
    assert spark([0.0, 0.5, 1.0]) == "▁▅█" and spark([0.0, 0.0]) == "▁▁"
