"""stream(): slots, hops, splitting; what reads a load never runs in the phase that loads it."""

from __future__ import annotations

import itertools
from pathlib import Path

import pytest
import tiny_models

from edgec.memory.plan import Buffer, Extent, Phase, Region, Transfer
from edgec.memory.streaming import Load, NoRoom, Store, Tile, Workspace, split, stream
from edgec.target import Target, load_target


@pytest.fixture
def target(tmp_path: Path) -> Target:
    return load_target(str(tiny_models.target_file(tmp_path / "t.toml", L1=4096, max_bytes=256)))


def add_tiles(level: str, count: int, size: int) -> list[Tile]:
    """c = a + b over pieces of `size` bytes: a streams in from `level`, c streams out to it."""
    a, c = Region(level, 0, count * size, "a"), Region(level, 8192, count * size, "c")
    b = Region("L1", 0, size, "b")
    return [
        Tile(
            "add",
            {
                "a": Load(a.part(i * size, size), size, 1),
                "b": b,
                "y": Store(c.part(i * size, size), size, 1),
            },
            {"rows": 1, "k": size // 4},
        )
        for i in range(count)
    ]


def moves(phases: tuple[Phase, ...], link: str) -> dict[int, list[Transfer]]:
    found = {n: [t for t in p.transfers if t.link == link] for n, p in enumerate(phases)}
    return {n: t for n, t in found.items() if t}


@pytest.mark.parametrize(("level", "hops"), [("TILE", 1), ("L2", 1), ("L3", 2)])
def test_loads_run_one_phase_ahead_and_stores_one_behind(target: Target, level: str, hops: int) -> None:
    workspace = Workspace(target, "decode", 3, [])
    phases = stream(workspace, add_tiles(level, 5, 64))
    calls = [n for n, p in enumerate(phases) if p.call is not None]
    assert calls == list(range(hops, hops + 5))
    last_in = "L2>L1" if level == "L3" else f"{level}>L1"
    first_out = "L1>L2" if level == "L3" else f"L1>{level}"
    assert list(moves(phases, last_in)) == [n - 1 for n in calls]
    assert list(moves(phases, first_out)) == [n + 1 for n in calls]
    if hops == 2:
        assert list(moves(phases, "L3>L2")) == [n - 2 for n in calls]
        assert list(moves(phases, "L2>L3")) == [n + 2 for n in calls]


def test_a_call_and_the_transfers_beside_it_use_different_slots(target: Target) -> None:
    alive = [Buffer("b", "L1", 0, 64, "activation", "decode", 0, 1)]
    phases = stream(Workspace(target, "decode", 0, alive), add_tiles("TILE", 6, 64))
    for phase in phases:
        if phase.call is not None:
            used = {r.offset for r in phase.call.regions.values() if r is not None}
            beside = {r.offset for t in phase.transfers for r in (t.source, t.target) if r.level == "L1"}
            assert not used & beside
    slots = {p.call.regions["a"].offset for p in phases if p.call is not None}  # type: ignore[union-attr]
    assert len(slots) == 2


def test_one_tile_needs_one_slot(target: Target) -> None:
    workspace = Workspace(target, "decode", 0, [])
    stream(workspace, add_tiles("TILE", 1, 64))
    assert sorted(b.name for b in workspace.made) == ["a.slot0", "y.slot0"]
    assert {(b.program, b.start, b.end) for b in workspace.made} == {("decode", 0, 1)}


def test_what_has_no_room_is_refused_or_overflows(target: Target) -> None:
    with pytest.raises(NoRoom, match="8192 B do not fit L1"):
        stream(Workspace(target, "decode", 0, []), add_tiles("TILE", 3, 8192))
    workspace = Workspace(target, "decode", 0, [], overflow=True)
    stream(workspace, add_tiles("TILE", 3, 8192))
    assert max(b.offset + b.size for b in workspace.made) > target.memory_by_name["L1"].capacity_bytes


def test_fixed_transfers_split_at_the_links_limit(target: Target) -> None:
    link = target.link_by_name["MRAM>L1"]
    parts = split(link, Region("MRAM", 160, 1000, "w", 32), Region("L1", 16, 1000, "w", 32), 1000, 1, "")
    assert [int(t.rows) * t.row_bytes for t in parts] == [256, 256, 256, 232]  # type: ignore[call-overload]
    assert [t.source.offset for t in parts] == [160, 416, 672, 928]
    assert [t.target.offset for t in parts] == [16, 272, 528, 784]
    assert [t.source.at for t in parts] == [t.target.at for t in parts] == [32, 288, 544, 800]


def test_run_time_rows_split_between_rows(target: Target) -> None:
    link, rows = target.link_by_name["TILE>L1"], Extent(4, 10, 30, 1, True)
    whole = Region("TILE", 0, 30 * 20, "k")
    parts = split(link, whole, Region("L1", 0, 600, "k"), 20, rows, "")
    assert [t.source.size for t in parts] == [240, 240, 120]
    for m, pos in [(1, 0), (4, 9), (2, 20), (4, 31), (4, 90)]:
        assert sum(t.rows.at(m, pos) for t in parts) == rows.at(m, pos)  # type: ignore[union-attr]
        filled = [t.rows.at(m, pos) for t in parts]  # type: ignore[union-attr]
        assert all(b == 0 or a == 12 for a, b in itertools.pairwise(filled))


@pytest.mark.parametrize(("rows", "start"), [(Extent(4, 0, 4), "source_pos"), (Extent(4, 0, 4, 1, True), "")])
def test_rows_that_cannot_be_cut_are_refused(target: Target, rows: Extent, start: str) -> None:
    region = Region("TILE", 0, 4 * 300, "k")
    with pytest.raises(NoRoom):
        split(target.link_by_name["TILE>L1"], region, region, 300, rows, start)
