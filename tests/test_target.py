"""Targets: the shipped files load, routes are shortest, and every mistake is one sentence."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from edgec.errors import TargetError
from edgec.target import load_target, names, target_path

TEXT = target_path("siracusa").read_text()


@pytest.mark.parametrize("name", names())
def test_shipped_targets_load(name: str) -> None:
    target = load_target(name)
    assert target.name == name
    for levels in (target.placement.weights, target.placement.kv, target.placement.large):
        for level in levels:
            if level != target.compute:
                assert target.route(level, target.compute)
                assert target.memory_by_name[level].read_only or target.route(target.compute, level)


def test_siracusa() -> None:
    target = load_target("siracusa")
    assert target.memory_by_name["L1"].capacity_bytes == 256 * 1024
    assert [link.name for link in target.route("L3", "L1")] == ["L3>L2", "L2>L1"]
    assert [link.name for link in target.route("L1", "L3")] == ["L1>L2", "L2>L3"]
    link = target.link_by_name["MRAM>L1"]
    assert link.cycles(800) == link.setup_cycles + 100
    with pytest.raises(TargetError, match="no link from L1 to MRAM"):
        target.route("L1", "MRAM")


CHANGES = {  # (pattern, replacement): words of the refusal
    ("clock_hz =", "clock_mhz ="): "clock_mhz",
    (r"clock_hz = .*\n", ""): "clock_hz",
    (r"stack_bytes = .*\n", ""): "stack_bytes",
    (r"\[runtime\]\n.*\n", ""): "stack_bytes",
    (r"capacity_bytes = 262_144.*\n", ""): "capacity_bytes",
    ("capacity_bytes = 262_144", "capacity_bytes = 0"): "not positive",
    ("capacity_bytes = 262_144", "capacity_bytes = -5"): "not positive",
    ("bytes_per_cycle = 0.56", "bytes_per_cycle = 0.0"): "not positive",
    ('compute = "L1"', 'compute = "L9"'): "L9",
    ('from = "MRAM"', 'from = "FLASH"'): "FLASH",
    (r'weights = \["MRAM"', 'weights = ["ROM"'): "ROM",
    ("on_chip = true", "on_ship = true"): "on_ship",
    (r"(?s)\[\[engine\]\].*", ""): "engine",
    ("clock_hz", "= clock"): "is not TOML",
}


@pytest.mark.parametrize("change", CHANGES, ids=lambda c: f"{c[0]} to {c[1]}")
def test_what_is_wrong_is_named(tmp_path: Path, change: tuple[str, str]) -> None:
    path = tmp_path / "chip.toml"
    text = re.sub(change[0], change[1], TEXT, count=1)
    assert text != TEXT
    path.write_text(text)
    with pytest.raises(TargetError) as caught:
        load_target(str(path))
    assert CHANGES[change] in str(caught.value)
    assert "\n" not in str(caught.value)


WRONG_TYPES = {
    ("clock_hz = 360_000_000", 'clock_hz = "fast"'): "clock_hz",
    ("capacity_bytes = 262_144", 'capacity_bytes = "256K"'): "capacity_bytes",
    (r'kv = \["TILE", "L2", "L3"\]', 'kv = "TILE"'): "kv",
    (r'kv = \["TILE", "L2", "L3"\]', "kv = []"): "kv",
    (r"\[placement\]", "[[placement]]"): "placement",
    (r"\[\[engine\]\]", "[engine]"): "engine",
    ("cores = 8", "cores = 0"): "cores",
    ("max_bytes = 131_071", "max_bytes = 1.5"): "max_bytes",
    ('name = "TILE"', 'name = "L1"'): "L1",
}


@pytest.mark.parametrize("change", WRONG_TYPES, ids=lambda c: f"{c[0]} to {c[1]}")
def test_wrong_types_are_named(tmp_path: Path, change: tuple[str, str]) -> None:
    path = tmp_path / "chip.toml"
    text = re.sub(change[0], change[1], TEXT, count=1)
    assert text != TEXT
    path.write_text(text)
    with pytest.raises(TargetError) as caught:
        load_target(str(path))
    assert WRONG_TYPES[change] in str(caught.value)
    assert "\n" not in str(caught.value)


def test_unreadable_files(tmp_path: Path) -> None:
    with pytest.raises(TargetError, match=r"no target 'moon'; known: .*siracusa"):
        load_target("moon")
    with pytest.raises(TargetError, match="cannot be read"):
        load_target(str(tmp_path / "none.toml"))
    (tmp_path / "bad.toml").write_bytes(b"\xff")
    with pytest.raises(TargetError, match="is not TOML"):
        load_target(str(tmp_path / "bad.toml"))
