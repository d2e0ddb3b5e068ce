"""What N-EUREKA's places lack from call to call: what the chip's own code writes, and the same from run to run."""

from __future__ import annotations

import ctypes
import re
import subprocess
import sys
from pathlib import Path
from unittest.mock import patch

import numpy as np
import pytest
import tiny_models

from edgec.cost.engine import call_cycles
from edgec.cost.estimate import phase_usage, phases_usage, places_before, program_usage, steps_usage
from edgec.cost.neureka import grid_of
from edgec.cost.neureka_jobs import REWRITES
from edgec.cost.neureka_places import (
    GRID,
    PIXELS_OF,
    UNKNOWN,
    Lack,
    Lacks,
    Places,
    Shape,
    behind,
    jobs_of,
    starts_jobs,
)
from edgec.memory.images import images
from edgec.memory.plan import evaluate
from edgec.memory.repeat import unnamed
from edgec.neureka.engine import NEURAL
from edgec.neureka.job import REST_CHANNELS, TILES_CHANNELS, Job, fold_job, gemv_job
from edgec.ops.attention_work import FIRST
from edgec.ops.matmul_w4a8_neureka import (
    FOLD,
    FOLD_BITS,
    FOLD_INPUTS,
    FOLD_ROWS,
    folding,
    kernel_name,
    split_in,
)
from edgec.recipe import RoleOverride
from edgec.report.speed import speed
from edgec.report.steps import step_costs
from edgec.resources import folder
from edgec.simulate.simulator import Simulator
from edgec.simulate.timeline import recorded
from edgec.target import load_target

sys.path.insert(0, str(Path(__file__).parents[1] / "kernels"))

from kernel_library import STRICT, compilers

OPERANDS, CHANNELS, PIXELS, PADDING = {0, 1, 2}, {15, 18}, {16, 17, 19}, 20
INPUTS, CONFIG, OUTPUTS = {6, 7, 13}, {21, 23}, {10, 11}
CONSTANT = {3, 4, 5, 8, 9, 12, 14, 20, 22}  # in all jobs but for padding
IN_3X3 = (Lack.INPUTS, Lack.BEHIND_FOLD, Lack.FOLD)  # where a width is written if it is another one
WORDS = {  # of the engine that a job writes besides its operands and channels
    Lack.NOTHING: set(),
    Lack.INPUTS: INPUTS,
    Lack.BEHIND_PIXELS: INPUTS | CONFIG | PIXELS | {PADDING},
    Lack.BEHIND_FOLD: INPUTS | PIXELS | {PADDING},  # and of another width CONFIG
    Lack.FOLD: INPUTS | OUTPUTS | PIXELS - {19} | {PADDING},
    Lack.ROW: set(range(24)),
    Lack.SAME_GRID: INPUTS | OUTPUTS,
    Lack.GRID: set(range(24)),
    Lack.PIXELS: INPUTS | CONFIG | OUTPUTS,
}


@pytest.fixture(scope="module")
def chip(tmp_path_factory: pytest.TempPathFactory) -> ctypes.CDLL:
    """The chip's code that writes jobs."""
    out = tmp_path_factory.mktemp("places") / "places.so"
    compiler = compilers()[min(compilers())]
    source = Path(__file__).with_name("places_shim.c")
    command = [
        *compiler,
        *STRICT,
        f"-I{folder('kernels') / 'neureka'}",
        "-fPIC",
        "-shared",
        "-o",
        str(out),
        str(source),
    ]
    subprocess.run(command, check=True, capture_output=True, text=True)
    library = ctypes.CDLL(str(out))
    library.register_of.restype = ctypes.c_uint32
    return library


def written(chip: ctypes.CDLL, shape: Shape, job: int) -> set[int]:
    """The words that it writes for a call's job of a shape, which begins with job 0."""
    if shape.form == PIXELS_OF:
        words = chip.words_of_pixels(shape.inputs, shape.size)
    elif job_of(shape) is not None:
        registers = job_of(shape).registers()
        given = shape.inputs if shape.form == FOLD else 16 * shape.inputs + shape.form
        words = chip.words_of(given, 0, 0, registers[REST_CHANNELS], registers[TILES_CHANNELS])
    elif shape.size == 1:
        words = chip.words_of(1, 0, 0, 0, 0)
    else:
        words = chip.words_of(16 * shape.inputs + (15 if job < 2 else 0), *grid_of(shape.size), 0, 0)
    return {word for word in range(24) if words >> word & 1}


def job_of(shape: Shape) -> Job | None:
    """A job of 40 channels, or of all folded ones, in 3x3 form; None of another one."""
    if shape.form in (GRID, PIXELS_OF):
        return None
    if shape.form == FOLD:
        bits, inputs = shape.inputs >> FOLD_BITS & 15, split_in({"fold": shape.inputs}).fold
        return fold_job(0, NEURAL.start, 0, inputs, 9 * (shape.inputs >> FOLD_ROWS), bits)
    return gemv_job(0, NEURAL.start, 0, shape.inputs, 40, shape.form)


def width_of(shape: Shape) -> int:
    """The width of weights in 3x3 form, or a number that none has."""
    return shape.inputs >> FOLD_BITS & 15 if shape.form == FOLD else shape.form


def test_a_place_lacks_what_the_chip_writes(chip: ctypes.CDLL) -> None:
    rng, places, seen = np.random.default_rng(0), Places(), set()
    shapes = [
        *(Shape(bits, inputs) for bits in (2, 4, 8) for inputs in (28, 252)),
        *(Shape(GRID, inputs if rows > 1 else 0, rows) for rows in (1, 5, 6, 16) for inputs in (32, 64)),
        *(Shape(PIXELS_OF, channels, heads) for channels in (84, 192) for heads in (9, 15)),
        *(Shape(FOLD, folding(n, bits, inputs)) for n, bits, inputs in ((288, 4, 36), (96, 4, 36), (288, 8, 132))),
    ]
    held = (UNKNOWN, UNKNOWN)
    for _ in range(3000):
        shape, count = shapes[rng.integers(len(shapes))], int(rng.integers(1, 5))
        known = UNKNOWN not in (places.next, places.last)  # else pixels write more, once
        lacks = places.start(shape, count)
        for job in range(count):
            lack = lacks[job] if job < 2 else Lack.NOTHING
            always = OPERANDS | (PIXELS if shape.form == PIXELS_OF and known else CHANNELS)
            always |= {13} if shape.form == GRID and shape.size == 1 else set()
            always |= CHANNELS if lack is Lack.PIXELS else set()
            held, places_of = (held[1], shape), held  # of the place that the job takes
            always |= CONFIG if lack in IN_3X3 and width_of(places_of[0]) != width_of(shape) else set()
            always |= CONSTANT if lack is Lack.PIXELS and places_of[0].form == FOLD else set()
            found = written(chip, shape, job)
            assert found == always | WORDS[lack] or not known, (lack, shape)
            if (expected := job_of(shape)) is not None:
                words = [i for i in range(24) if i not in OUTPUTS or shape.form == FOLD]
                assert [chip.register_of(i) for i in words] == [expected.registers()[i] for i in words], (lack, shape)
            seen.add(lack)
    assert seen == set(Lack)


def test_numbers_are_the_kernel_s() -> None:
    text = "".join(path.read_text() for path in sorted((folder("kernels") / "neureka").glob("neureka_jobs.h")))
    names = re.findall(r"EDGEC_NEUREKA_(\w+)(?: = (\d+))?,", text[text.index("enum {") : text.index("NEW_GRID\n}")])
    assert names == [("GRID", ""), ("ROW", ""), ("FOLD", str(FOLD)), ("PIXELS_OF", "")]
    assert (GRID, PIXELS_OF) == (1, FOLD + 1)
    shifts = re.search(r"FOLD_SHAPE\(bits, k, rows\) \(\(rows\) << (\d+) \| \(k\) << (\d+) \| \(bits\) << (\d+) ", text)
    assert shifts is not None and [int(n) for n in shifts.groups()] == [FOLD_ROWS, FOLD_INPUTS, FOLD_BITS]
    scores = (folder("kernels") / "attention_neureka" / "attention_neureka_scores_xpulpv2.h").read_text()
    assert re.findall(r"#define EDGEC_FIRST_LINES\s+\\\n\s*(\d+)u", scores) == [str(FIRST)]


@pytest.mark.parametrize(("pos", "jobs"), [(91, 0), (92, 2), (95, 1), (107, 1), (113, 2), (114, 3), (119, 2)])
def test_jobs_of_attention(pos: int, jobs: int) -> None:
    """None before its first position; a second one behind 12 lines of six positions, if there are more than 18; the
    last one of a line that is not whole."""
    numbers = {"n_heads": 9, "n_kv_heads": 3, "head_dim": 28, "pos": pos, "cores": 8}
    assert sum(count for _, count in jobs_of("attention_neureka", numbers)) == jobs
    assert {shape for shape, _ in jobs_of("attention_neureka", numbers)} <= {Shape(PIXELS_OF, 84, 9)}


def test_kernels_of_the_cores_leave_the_places_alone() -> None:
    assert not starts_jobs("rmsnorm") and not jobs_of("rmsnorm", {})


def test_a_run_begins_behind_one_like_it() -> None:
    row, other = numbers(1, 64, 252), numbers(1, 64, 128)
    one, two = kernel_name(4), kernel_name(8)
    held = Shape(4, 252), Shape(8, 128)
    assert behind([]) == Places()
    assert behind([(one, row)]) == Places(held[0], held[0])
    assert behind([(two, other), (one, row)]) == Places(*held)
    assert behind([(one, row | {"tile": 32, "first": 32}), (two, other)]) == Places(held[0], held[0])


def numbers(m: int, n: int, k: int) -> dict[str, int]:
    return {"m": m, "n": n, "k": k, "group_size": k, "tile": n, "first": n}


@pytest.fixture(scope="module")
def mixed() -> tiny_models.Planned:
    """A model with matrices in both forms, planned for the chip with its accelerator."""
    sizes = tiny_models.config(hidden_dim=128, ffn_dim=252, n_heads=4, n_kv_heads=2, head_dim=32, tied_embeddings=True)
    recipe = tiny_models.recipe(8, 0, down=RoleOverride(4, 0))
    with patch("tiny_models.plain", lambda target: target):
        return tiny_models.planned(tiny_models.checkpoint(sizes), made=recipe)


@pytest.mark.parametrize("name", ["decode", "prefill"])
def test_steps_of_a_run_know_the_calls_before_them(mixed: tiny_models.Planned, name: str) -> None:
    plan, program = mixed.plan, mixed.plan.programs[name]
    at = program.rows, 8
    places, lacks, paid = places_before(program, *at), [], 0.0
    before = Places(*vars(places).values())
    for step, usage in zip(program.steps, steps_usage(plan.target, program, *at), strict=True):
        alone = phases_usage(plan.target, step.phases, *at)
        paid += usage.cycles - alone.cycles
        for phase in unnamed(step.phases):
            assert phase_usage(plan.target, phase, *at, places).cycles <= usage.cycles
            if phase.call and starts_jobs(phase.call.kernel):
                found = {key: evaluate(value, *at) for key, value in phase.call.numbers.items()}
                lacks += [lack for each in before.call(phase.call.kernel, found) for lack in each]
    assert places == before == places_before(program, *at)  # a run leaves them as it found them
    assert {Lack.ROW, Lack.GRID} <= set(lacks)  # a layer changes form twice
    assert paid > 1000
    assert sum(cost.cycles for cost in step_costs(plan, name)) == speed(plan, name).cycles
    assert speed(plan, name).cycles == round(
        program_usage(plan, program, program.rows, plan.context - program.rows).cycles
    )


def test_the_timeline_knows_them_too(mixed: tiny_models.Planned) -> None:
    simulator = Simulator(mixed.plan, images(mixed.plan, mixed.consts))
    made = recorded(simulator)
    simulator.prefill([1, 2, 3])
    simulator.decode(4)
    for run, (name, m, pos) in enumerate((("prefill", 3, 0), ("decode", 1, 3))):
        expected = program_usage(mixed.plan, mixed.plan.programs[name], m, pos)
        assert made.usage(run).cycles == pytest.approx(expected.cycles, rel=1e-9)


def test_what_is_written_anew_costs() -> None:
    """The second job's words are written beside the first job, if that is long."""
    target = load_target("siracusa")
    call = target, kernel_name(4), numbers(1, 512, 252) | {"tile": 256, "first": 256}
    like_it, first, both = (call_cycles(*call, lacks=(Lacks(*each),)) for each in ((), (Lack.ROW,), (Lack.ROW,) * 2))
    assert like_it == call_cycles(*call) == first - REWRITES[Lack.ROW][0] == both - REWRITES[Lack.ROW][0]
