"""Rows of a cache before a run's come beside earlier steps, new rows behind them; without room it is as it was."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple
from unittest.mock import patch

import pytest
import tiny_models

from edgec.cost.estimate import longest_run, program_usage
from edgec.emit.model_c import model_c
from edgec.memory.check import PlanError, check
from edgec.memory.choices import ALL, Choices
from edgec.memory.draft import Draft
from edgec.memory.early_cache import with_early_caches
from edgec.memory.images import images
from edgec.memory.plan import Buffer, Extent, Phase, Plan, Program, Region, Transfer, before_run, rows_before_run
from edgec.memory.planner import plan
from edgec.memory.repeat import Decisions
from edgec.ops.sample import Sampling
from edgec.planning import without
from edgec.recipe import Build, Quantize, Recipe
from edgec.simulate.reference import ReferenceRunner
from edgec.simulate.simulator import Simulator
from edgec.verify.chain import verify

CONTEXT, LAYERS = 24, 3
CACHES = [f"l{n}.{name}" for n in range(LAYERS) for name in ("k_cache", "k_cache.scale", "v_cache", "v_cache.scale")]
EARLY = replace(ALL, near=False)  # which would keep such small caches in L1
LATE = replace(EARLY, early_cache=False)
both = pytest.mark.parametrize("name", ["decode", "prefill"])


class Moved(NamedTuple):
    """A transfer and where it is."""

    step: int
    phase: int
    transfer: Transfer


def moves(program: Program) -> list[Moved]:
    return [Moved(s.index, p, t) for s in program.steps for p, phase in enumerate(s.phases) for t in phase.transfers]


def early(program: Program) -> dict[str, Moved]:
    """The loads of rows before a run's, by cache."""
    return {m.transfer.source.value: m for m in moves(program) if m.transfer.rows == before_run(CONTEXT)}


def stores(program: Program) -> dict[str, Moved]:
    """The stores of new rows from behind those, by cache."""
    return {m.transfer.target.value: m for m in moves(program) if m.transfer.start == "both_pos"}


def slot(program: Program, cache: str) -> Buffer:
    place = early(program)[cache].transfer.target
    at = early(program)[cache].step
    return next(b for b in program.buffers if (b.level, b.offset) == (place.level, place.offset) and b.start == at)


def node(program: Program, name: str) -> int:
    return next(s.index for s in program.steps if s.node == name)


def source() -> tiny_models.Checkpoint:
    return tiny_models.checkpoint(tiny_models.config(n_layers=LAYERS))


def planned(made: tiny_models.Planned, choices: Choices = EARLY) -> Plan:
    return plan(made.graphs, made.target, CONTEXT, choices)


@pytest.fixture(scope="module")
def three() -> tiny_models.Planned:
    return tiny_models.planned(source())


@both
def test_rows_come_before_the_step_that_adds_to_them(three: tiny_models.Planned, name: str) -> None:
    check(three.plan)
    program = three.plan.programs[name]
    assert sorted(early(program)) == sorted(stores(program)) == sorted(CACHES)
    for cache in CACHES:
        layer = cache.partition(".")[0]
        append, attend = node(program, f"{layer}.kv"), node(program, f"{layer}.attn")
        load, store, buffer = early(program)[cache], stores(program)[cache], slot(program, cache)
        assert load.step < append < attend == store.step
        assert (buffer.start, buffer.end) == (load.step, attend + 1)
        assert buffer.size == load.transfer.source.size and load.transfer.target.value == rows_before_run(cache)
        assert program.steps[load.step].phases[load.phase].call is not None
        assert program.steps[store.step].phases[store.phase].call is not None
        assert not any(m.transfer.source.value == cache for m in moves(program) if m.step == attend and m != store)
        writes = [region for _, region, *_ in program.steps[append].writes if region.value == cache]
        assert writes == [replace(store.transfer.source, row_bytes=store.transfer.row_bytes)]


@both
def test_a_run_takes_less_time_and_reads_its_new_rows_from_no_home(three: tiny_models.Planned, name: str) -> None:
    late = planned(three, LATE)
    check(late)
    assert not early(late.programs[name])
    m = three.plan.programs[name].rows
    before, now = (program_usage(p, p.programs[name], m, 9) for p in (late, three.plan))
    assert now.cycles < before.cycles
    row = sum(stores(three.plan.programs[name])[cache].transfer.row_bytes for cache in CACHES)
    assert before.link_bytes["TILE>L1"] - now.link_bytes["TILE>L1"] == m * row
    assert now.link_bytes["L1>TILE"] == before.link_bytes["L1>TILE"]


def test_the_first_token_loads_nothing(three: tiny_models.Planned) -> None:
    usage = program_usage(three.plan, three.plan.programs["decode"], 1, 0)
    assert "TILE>L1" not in usage.link_bytes and usage.link_bytes["L1>TILE"]


def test_layers_share_their_steps(three: tiny_models.Planned) -> None:
    listed = re.findall(r"\{(step_\w+), .*/\* \d+: \w+ (l\d)\.(\S+), ", model_c(three.plan, ""))
    functions: dict[str, set[str]] = {}
    for function, layer, name in listed:
        functions.setdefault(f"{layer}.{name}", set()).add(function)
    names = {name for _, _, name in listed}
    assert {"qkv", "kv", "attn"} <= names
    for name in names:
        assert functions[f"l0.{name}"] == functions[f"l1.{name}"], name
        assert functions[f"l2.{name}"] == functions[f"l1.{name}"] or name == "down", name  # other weights follow


def driven(runner: Any) -> list[tuple[str, bytes]]:
    """Everything that steps write: runs of all sizes, from position 0 to the end of the context, and a second text."""
    seen: list[tuple[str, bytes]] = []
    if isinstance(runner, Simulator):
        runner.trace = lambda step, value, data: seen.append((value, data))
    else:
        runner.trace = lambda node, value, array: seen.append((value, array.tobytes()))
    runner.sampling(Sampling())
    for prompt in ([5], [(31 * i + 5) % 97 for i in range(CONTEXT - 5)], [3, 1, 4]):
        runner.reset()
        token = runner.prefill(prompt)
        for _ in range(5):
            token = runner.decode(token)
    return seen


def assert_exact(made: Plan, of: tiny_models.Planned) -> None:
    expected = driven(ReferenceRunner(of.graphs, of.consts))
    for late in (False, True):
        assert driven(Simulator(made, images(made, of.consts), late=late)) == expected


def test_the_bits_are_the_same(three: tiny_models.Planned) -> None:
    assert_exact(three.plan, three)


def test_a_cache_that_stays_near_is_left_alone(three: tiny_models.Planned) -> None:
    worth = dict.fromkeys(three.consts, 0.0)
    draft = Draft(three.graphs, three.target, CONTEXT, Decisions(three.target), worth, ALL, CACHES[4:8])
    made = draft.finished()
    check(made)
    for program in made.programs.values():
        assert sorted(early(program)) == sorted({*CACHES} - {*CACHES[4:8]})
    assert_exact(made, three)


def test_keys_and_values_of_separate_calls(three: tiny_models.Planned) -> None:
    with patch("edgec.memory.near.NEAR_SHARE", 0):
        made = without("rope_append", three.model, three.plan)
    check(made)
    for program in made.programs.values():
        # Keys come beside attention's first call, which quantises queries: their load is hidden already.
        assert {cache for cache in CACHES if "v_cache" in cache} <= {*early(program)}
        calls = [len(s.phases) for s in program.steps if s.op == "kv_append"]
        assert len(calls) == LAYERS


@both
def test_nothing_comes_early_without_room(three: tiny_models.Planned, name: str) -> None:
    late = planned(three, replace(LATE, early_loads=False, kept_rows=False))
    program, rooms = late.programs[name], {m.name: m.capacity_bytes for m in late.target.memories}
    full = max(b.offset + b.size for b in program.buffers if b.level == "L1")

    def brought(size: int) -> Program | None:
        return with_early_caches(program, late.buffers, late.target, CONTEXT, {**rooms, "L1": size})

    assert brought(0) is None
    some = brought(full + 1024)
    assert some is not None and len(early(some)) == len(CACHES)
    assert min(b.offset for b in some.buffers if b.name.endswith(".slot0") and b.end - b.start > 1) >= full


@pytest.mark.parametrize("size", range(4096, 9216, 512))
def test_little_room_costs_nothing(tmp_path: Path, size: int) -> None:
    """Early rows never make a plan miss its memory, or a token longer; a prompt by a tiling that was chosen for a cache
    which then had no room, at most.
    """
    made = tiny_models.planned(source(), tiny_models.target_file(tmp_path / "small.toml", L1=size))
    now, late = planned(made), planned(made, LATE)
    assert now.deficits() == late.deficits()
    for name in now.programs:
        cycles = [longest_run(p.target, CONTEXT, p.programs[name]) for p in (now, late)]
        assert cycles[0] <= cycles[1] * (1.005 if name == "prefill" else 1), name
    if not now.deficits():
        check(now)


@pytest.mark.parametrize("kv", ["int8", "int4"])
def test_a_build_is_exact(kv: str, tmp_path: Path, objects: Path) -> None:
    """On a chip whose L1 has room for one layer's cache at a time."""
    chip = tiny_models.target_file(tmp_path / "chip.toml", L1=24_000)
    recipe = Recipe(Quantize(bits=8, group_size=32), Build(context=200, chunk=8, kv=kv))
    artifact = tiny_models.built(source(), tmp_path / "out", objects, chip, recipe)
    assert artifact.plan.context == 200
    moved = [t for p in artifact.plan.programs.values() for _, _, t in moves(p) if t.start == "both_pos"]
    assert len(moved) >= LAYERS
    with tiny_models.quick(source(), objects):
        found = verify(artifact, ("simulator", "host"))["backends"]
    assert found["simulator"]["mismatches"] == found["host"]["mismatches"] == 0


# ---- Unsound changes of such a plan ----

Change = Callable[[Program], Program]


def with_phase(program: Program, at: Moved, change: Callable[[Phase], Phase]) -> Program:
    """The program with one of its phases changed."""
    steps = list(program.steps)
    phases = list(steps[at.step].phases)
    phases[at.phase] = change(phases[at.phase])
    steps[at.step] = replace(steps[at.step], phases=tuple(phases))
    return replace(program, steps=steps)


def swapped(program: Program, at: Moved, *now: Transfer) -> Program:
    """The program with other transfers in place of one."""
    kept = lambda p: replace(p, transfers=(*(t for t in p.transfers if t != at.transfer), *now))  # noqa: E731
    return with_phase(program, at, kept)


def load_with(**changes: Any) -> Change:
    def change(program: Program) -> Program:
        at = early(program)["l1.k_cache"]
        return swapped(program, at, replace(at.transfer, **changes))

    return change


def store_with(**changes: Any) -> Change:
    def change(program: Program) -> Program:
        at = stores(program)["l1.k_cache"]
        return swapped(program, at, replace(at.transfer, **changes))

    return change


def region_of(cache: str, end: str) -> Change:
    """The load comes from, or the store goes to, what belongs to another cache."""

    def change(program: Program) -> Program:
        mine, other = ({"source": early, "target": stores}[end](program)[c] for c in ("l1.k_cache", cache))
        return swapped(program, mine, replace(mine.transfer, **{end: getattr(other.transfer, end)}))

    return change


def later(found: Callable[[Program], dict[str, Moved]], node_name: str) -> Change:
    """A transfer beside the first call of another step."""

    def change(program: Program) -> Program:
        at = found(program)["l1.k_cache"]
        step = node(program, node_name)
        phase = next(i for i, p in enumerate(program.steps[step].phases) if p.call is not None)
        there = Moved(step, phase, at.transfer)
        return with_phase(swapped(program, at), there, lambda p: replace(p, transfers=(*p.transfers, at.transfer)))

    return change


def ends_early(program: Program) -> Program:
    gone = slot(program, "l1.v_cache")
    return replace(program, buffers=[replace(b, end=b.end - 1) if b == gone else b for b in program.buffers])


def starts_late(program: Program) -> Program:
    gone = slot(program, "l1.v_cache")
    return replace(program, buffers=[replace(b, start=b.start + 1) if b == gone else b for b in program.buffers])


def reads_the_home(program: Program) -> Program:
    """Another copy of the whole cache, made between computing new rows and storing them."""
    load = early(program)["l1.k_cache"].transfer
    append = program.steps[node(program, "l1.kv")]
    size = load.source.size
    tables = 8192  # of arguments may lie behind the program's buffers
    free = -(-max(b.offset + b.size for b in program.buffers if b.level == "L1") // 16) * 16 + tables
    extent = Extent(program.rows, 0, CONTEXT, from_start=True)
    copy = replace(load, target=Region("L1", free, size, load.source.value), rows=extent)
    mine = Buffer("copy", "L1", free, size, "scratch", program.name, append.index, append.index + 1)
    steps = list(program.steps)
    steps[append.index] = replace(append, phases=(*append.phases, Phase((copy,))))
    return replace(program, steps=steps, buffers=[*program.buffers, mine])


CHANGES: dict[str, tuple[str, Change]] = {
    "no load": ("are not new rows of a whole cache", lambda p: swapped(p, early(p)["l1.k_cache"])),
    "a load beside the step that adds rows": ("are not new rows of a whole cache", later(early, "l1.kv")),
    "a load afterwards": ("are not new rows of a whole cache", later(early, "l1.attn")),
    "a load of new rows as well": ("is not filled with", load_with(rows=Extent(1, 0, CONTEXT, from_start=True))),
    "a load of too few rows": ("is not filled with", load_with(rows=Extent(0, 0, CONTEXT - 1, from_start=True))),
    "a load of later rows": ("is not filled with", load_with(rows=Extent(0, 1, CONTEXT - 1, from_start=True))),
    "a load to row pos": ("is not filled with", load_with(start="target_pos")),
    "a load of shorter rows": ("is not filled with", load_with(row_bytes=8)),
    "a load of another layer's rows": ("is not filled with", region_of("l2.k_cache", "source")),
    "a load of values for keys": ("is not filled with", region_of("l1.v_cache", "source")),
    "no store": ("never reach their home", lambda p: swapped(p, stores(p)["l1.k_cache"])),
    "a store before the rows are computed": ("is not all that was computed", later(stores, "l1.qkv")),
    "a store beside their computation": ("is not all that was computed", later(stores, "l1.kv")),
    "a store behind the slot's life": ("holds byte|never written|in no live buffer", later(stores, "l1.down")),
    "a store of row 0": ("turns|between regions", store_with(start="")),
    "a store to row 0": ("between regions", store_with(start="source_pos")),
    "a store of a row twice as long": ("is not all that was computed", store_with(row_bytes=32)),
    "a store of one row less": ("is not all that was computed", store_with(rows=Extent(4, 1, 3))),
    "a store of a text": ("is not filled with", store_with(rows=before_run(CONTEXT))),
    "a store to another layer": ("is not all that was computed", region_of("l2.k_cache", "target")),
    "a store to values": ("is not all that was computed", region_of("l1.v_cache", "target")),
    "a slot given away too early": ("in no live buffer", ends_early),
    "a slot taken too late": ("in no live buffer", starts_late),
    "a home that is read too early": ("read at its home before", reads_the_home),
}


@both
@pytest.mark.parametrize("change", CHANGES)
def test_an_unsound_change_is_noticed(three: tiny_models.Planned, change: str, name: str) -> None:
    words, made = CHANGES[change]
    program = three.plan.programs[name]
    with pytest.raises(PlanError, match=words):
        check(replace(three.plan, programs={**three.plan.programs, name: made(program)}))
