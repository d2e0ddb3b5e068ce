"""The roofline's ceilings: what the kernels of a plan can reach, named; no step of a plan lies above them."""

from __future__ import annotations

import csv
import io
from dataclasses import replace

import pytest

from edgec.chip import KernelCost
from edgec.cost.neureka import weight_passes
from edgec.report.peaks import cores_peak, peaks
from edgec.report.roofline import ceilings, roofline
from edgec.report.steps import steps_csv
from edgec.target import load_target

CLUSTER = load_target("siracusa").engines[0]


def measured(**mac_cycles: float):
    costs = tuple(KernelCost((name,), 1000, 0, cycles, 1) for name, cycles in mac_cycles.items())
    return replace(CLUSTER, measured=costs)


@pytest.mark.parametrize(
    ("costs", "kernels", "rate", "basis"),
    [
        ({}, ["matmul_w4a8"], CLUSTER.cores / CLUSTER.cycles_per_mac, "cycles_per_mac"),
        ({"attention": 1.0, "matmul_w4a8": 0.5}, ["attention", "matmul_w4a8"], 16, "matmul_w4a8 as measured"),
        ({"attention": 1.0, "matmul_w4a8": 0.5}, ["attention"], 8, "attention as measured"),
        ({"attention": 1.0}, ["attention", "matmul_w2a8"], 8, "attention as measured"),
        ({"matmul_w8a8": 0.1}, ["matmul_w8a8"], 32, "4 MAC an instruction and core"),
        ({"matmul_w8a8": 0.0}, ["matmul_w8a8"], 32, "4 MAC an instruction and core"),
        ({"matmul_w8a8": 0.0}, [], CLUSTER.cores / CLUSTER.cycles_per_mac, "cycles_per_mac"),
    ],
)
def test_cores_are_as_fast_as_their_fastest_kernel_and_their_instructions(costs, kernels, rate, basis):
    assert cores_peak(measured(**costs), kernels) == (pytest.approx(rate), basis)


def test_without_dot_products_a_fit_that_prices_no_mac_says_nothing():
    plain = replace(measured(matmul_w8a8=0.0), isa="")
    assert cores_peak(plain, ["matmul_w8a8"]) == (plain.cores / plain.cycles_per_mac, "cycles_per_mac")


@pytest.mark.parametrize("name", ("host", "siracusa", "off_chip"))
def test_plain_targets_have_their_nominal_rate(planned, name):
    _, _, plan, report = planned[name]
    engine = plan.target.engines[0]
    assert report.peaks == peaks(plan)
    assert report.peaks["engines"][engine.name] == pytest.approx(engine.cores / engine.cycles_per_mac, abs=1e-6)


def test_steps_lie_below_the_ceilings(encoded):
    engines, basis = encoded.report.peaks["engines"], encoded.report.peaks["basis"]
    assert engines["cluster"] > 1 and "jobs of" in basis["neureka"]
    for step in (step for steps in encoded.report.steps.values() for step in steps):
        best = max((engines[name] for name in step.busy if name in engines), default=0.0)
        assert step.macs <= best * step.cycles, step.node


def test_lines_are_of_what_is_used_and_say_what_they_are(planned, encoded):
    report = planned["siracusa"].report
    drawn = [trace["name"] for trace in roofline(report, "decode")["data"] if trace["mode"] == "lines"]
    assert drawn[0] == "cluster: 0.721 MAC/cycle (cycles_per_mac)" and "MRAM>L1: 8 B/cycle" in drawn
    both = encoded.report.peaks
    lines = ceilings(both, {"neureka", "MRAM>L1"}, [1.0])
    assert [line["name"].partition(":")[0] for line in lines] == ["neureka", "MRAM>L1", "neureka's weights"]
    assert f"({both['basis']['neureka']})" in lines[0]["name"]


def test_weights_that_the_accelerator_reads_in_place_are_in_the_roofline(encoded):
    """A token reads each encoded matrix once; no step reads faster than the port, so points lie below its line."""
    report = encoded.report
    assert report.peaks["ports"] == {"neureka": 32}
    encoded_bytes = report.model["encoding"]["bytes"]
    assert sum(s.streamed_bytes.get("neureka", 0) for s in report.steps["decode"]) == encoded_bytes
    for program, steps in report.steps.items():
        readers = [s for s in steps if "neureka" in s.op]
        assert readers and all(0 < s.streamed_bytes["neureka"] <= 32 * s.busy["neureka"] for s in readers)
        points = {trace["name"] for trace in roofline(report, program)["data"]}
        assert {s.op for s in readers} < points and "neureka's weights: 32 B/cycle" in points
    rows = list(csv.DictReader(io.StringIO(steps_csv(report.steps))))
    assert sum(int(r["neureka weight bytes"]) for r in rows if r["program"] == "decode") == encoded_bytes


@pytest.mark.parametrize(("rows", "passes"), [(1, 1), (7, 2), (16, 1), (36, 1), (37, 7)])
def test_passes_over_weights_follow_the_rows(rows, passes):
    assert weight_passes("matmul_w4a8_neureka", {"m": rows}) == rows
    assert weight_passes("matmul_w8a8_neureka_1x1", {"m": rows}) == passes


def test_no_port_where_nothing_reads_through_it(planned):
    assert planned["siracusa"].report.peaks["ports"] == {}
