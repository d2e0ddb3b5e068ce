"""The event timeline against the prediction, cycle by cycle and byte by byte; and its exports."""

from __future__ import annotations

import csv
import io
import json
from dataclasses import replace
from itertools import pairwise

import pytest
import tiny_models

from edgec.cost.estimate import phase_usage, program_usage
from edgec.memory.images import images
from edgec.memory.plan import Phase, Plan, Program, Region, Transfer
from edgec.report.steps import step_costs
from edgec.simulate.simulator import Simulator
from edgec.simulate.timeline import CONTROL, Timeline, recorded, timeline_csv, timeline_trace

RUNS = (4, 3, 1, 1, 4, 4, 2, 4, 1)  # rows of each, up to the end of the context


@pytest.fixture(scope="module")
def timeline(tiny: tiny_models.Planned) -> Timeline:
    return driven(tiny.plan, tiny)


def driven(plan: Plan, tiny: tiny_models.Planned) -> Timeline:
    simulator = Simulator(plan, images(plan, tiny.consts))
    made = recorded(simulator)
    for rows in RUNS:
        simulator.run("decode" if rows == 1 else "prefill", [3 + i for i in range(rows)])
    assert simulator.pos == plan.context
    return made


def test_every_run_takes_the_cycles_that_were_predicted(tiny: tiny_models.Planned, timeline: Timeline) -> None:
    pos = 0
    for run, rows in enumerate(RUNS):
        program = tiny.plan.programs["decode" if rows == 1 else "prefill"]
        expected, done = program_usage(tiny.plan, program, rows, pos), timeline.usage(run)
        assert done.cycles == pytest.approx(expected.cycles, rel=1e-9)
        assert done.busy == pytest.approx(expected.busy, rel=1e-9)
        assert done.link_bytes == expected.link_bytes
        pos += rows
    total = sum(timeline.usage(run).cycles for run in range(len(RUNS)))
    assert timeline.now == pytest.approx(total) == max(e.end for e in timeline.events)


def test_steps_are_those_of_the_report(tiny: tiny_models.Planned, timeline: Timeline) -> None:
    last = [s for s in timeline.steps() if s.run == len(RUNS) - 1]
    costs = step_costs(tiny.plan, "decode")  # at the end of the context, as the last run
    assert [s.node for s in last] == [c.node for c in costs]
    for step, cost in zip(last, costs, strict=True):
        assert step.cycles == pytest.approx(cost.cycles, abs=1)
        assert step.link_bytes == cost.link_bytes
        assert 0 <= step.stall <= step.cycles
    assert all(a.start + a.cycles == pytest.approx(b.start) for a, b in pairwise(timeline.steps()))


def test_a_lane_does_one_thing_at_a_time(timeline: Timeline) -> None:
    for lane in {e.lane for e in timeline.events}:
        ours = [e for e in timeline.events if e.lane == lane]
        assert all(a.end <= b.start for a, b in pairwise(ours))
        assert all(e.end > e.start for e in ours)
    assert {CONTROL, "cluster", "MRAM>L1"} <= {e.lane for e in timeline.events}


def test_links_of_one_channel_take_turns(tiny: tiny_models.Planned, timeline: Timeline) -> None:
    channels = {name: link.lane for name, link in tiny.plan.target.link_by_name.items()}
    assert channels["MRAM>L1"] == channels["TILE>L1"] != channels["L1>TILE"]
    inwards = sorted((e.start, e.end, e.lane) for e in timeline.events if channels.get(e.lane) == channels["MRAM>L1"])
    assert len({lane for _, _, lane in inwards}) > 1
    assert all(a[1] <= b[0] for a, b in pairwise(inwards))


def test_a_shared_channel_costs_the_sum(tiny: tiny_models.Planned) -> None:
    target = tiny.plan.target
    moves = tuple(
        Transfer(f"{level}>L1", Region(level, 0, 800, "x"), Region("L1", at, 800, "x"), 800, 1)
        for level, at in (("MRAM", 0), ("TILE", 800))
    )
    each = [phase_usage(target, Phase((move,)), 1, 0).cycles for move in moves]
    assert phase_usage(target, Phase(moves), 1, 0).cycles == pytest.approx(sum(each))
    apart = replace(target, links=tuple(replace(link, channel="") for link in target.links))
    programming = target.engines[0].transfer_cycles
    assert phase_usage(apart, Phase(moves), 1, 0).cycles == pytest.approx(max(each) + programming)


def test_banks_that_call_and_transfers_share_can_be_what_limits(tiny: tiny_models.Planned) -> None:
    target = tiny.plan.target
    narrow = replace(
        target,
        memories=tuple(replace(m, bytes_per_cycle=16.0) if m.name == target.compute else m for m in target.memories),
        engines=tuple(replace(e, memory_bytes_per_cycle=32.0) for e in target.engines),
    )
    phases = [p for s in tiny.plan.programs["decode"].steps for p in s.phases if p.call and p.transfers]
    free, bound = phase_usage(target, phases[0], 1, 0), phase_usage(narrow, phases[0], 1, 0)
    call, moved = free.busy["cluster"], sum(free.link_bytes.values())
    assert bound.busy["L1 banks"] == pytest.approx((32 * call + moved) / 16)
    assert bound.bottleneck == "L1 banks" and bound.cycles > free.cycles
    assert bound.cycles - free.cycles == pytest.approx(bound.busy["L1 banks"] - max(call, *free.busy.values()))
    plan = replace(tiny.plan, target=narrow)
    made = driven(plan, tiny)
    assert made.usage(0).cycles == pytest.approx(program_usage(plan, plan.programs["prefill"], RUNS[0], 0).cycles)
    assert made.usage(0).busy["L1 banks"] > made.usage(0).busy["cluster"]


def test_a_transfer_more_shows(tiny: tiny_models.Planned, timeline: Timeline) -> None:
    program = tiny.plan.programs["decode"]
    number = next(i for i, s in enumerate(program.steps) if i > 3 and any(p.transfers for p in s.phases))
    step = program.steps[number]
    at = next(i for i, p in enumerate(step.phases) if p.transfers)
    phase = step.phases[at]
    twice = replace(phase, transfers=(*phase.transfers, phase.transfers[0]))
    steps = list(program.steps)
    steps[number] = replace(step, phases=(*step.phases[:at], twice, *step.phases[at + 1 :]))
    other = Program("decode", 1, steps, program.buffers)
    longer = driven(
        Plan(tiny.plan.target, tiny.plan.context, tiny.plan.buffers, tiny.plan.programs | {"decode": other}), tiny
    )
    assert longer.usage().link_bytes != timeline.usage().link_bytes
    assert longer.now > timeline.now


def test_csv_has_every_event(timeline: Timeline) -> None:
    rows = list(csv.DictReader(io.StringIO(timeline_csv(timeline))))
    assert len(rows) == len(timeline.events)
    moved = sum(int(r["bytes"]) for r in rows if r["run"] == "2")
    assert moved == sum(timeline.usage(2).link_bytes.values())
    assert max(float(r["end_cycle"]) for r in rows) == pytest.approx(timeline.now, abs=0.01)


def test_trace_opens_as_events_with_lanes(tiny: tiny_models.Planned, timeline: Timeline) -> None:
    events = json.loads(timeline_trace(timeline))["traceEvents"]
    names = {e["tid"]: e["args"]["name"] for e in events if e["name"] == "thread_name"}
    spans = [e for e in events if e["ph"] == "X"]
    assert len(spans) == len(timeline.events) + len(timeline.steps())
    seconds = timeline.now / tiny.plan.target.clock_hz
    assert max(e["ts"] + e["dur"] for e in spans) == pytest.approx(1e6 * seconds, rel=1e-3)
    assert sum(e["dur"] for e in spans if names[e["tid"]] == "steps") == pytest.approx(1e6 * seconds, rel=1e-2)
    assert all("stall_cycles" in e["args"] for e in spans if names[e["tid"]] == "steps")


def test_nothing_is_recorded_unless_asked(tiny: tiny_models.Planned) -> None:
    simulator = Simulator(tiny.plan, images(tiny.plan, tiny.consts))
    simulator.prefill([1, 2, 3])
    assert simulator.timeline is None
