"""Encoders through the whole chain: random configurations on random targets, exact on every backend; the commands."""

from __future__ import annotations

import json
import subprocess
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import tiny_encoders
import tiny_models
from click.testing import CliRunner
from hypothesis import given, settings
from hypothesis import strategies as st
from random_cases import FIXED

from edgec import compiler
from edgec.artifact import Artifact
from edgec.cli import cli
from edgec.errors import EdgecError, RecipeError
from edgec.frontend.checkpoint import Checkpoint
from edgec.frontend.encoder_config import EncoderConfig
from edgec.memory.check import PlanError, check
from edgec.recipe import Recipe
from edgec.report.report import make_report
from edgec.verify.chain import verify

LEVELS = {
    "siracusa": {},
    "spilled": {"weights": ["L3"], "kv": ["L2"], "large": ["L2"]},
    "everything in L3": {"weights": ["L3"], "kv": ["L3"], "large": ["L2"]},
}


def _source(config: EncoderConfig, seed: int = 0) -> Checkpoint:
    source = tiny_models.checkpoint(config, seed)
    assert source.tokenizer is not None
    ends = replace(source.tokenizer, bos_id=1, eos_ids=(2,), add_bos=True, add_eos=True)
    return replace(source, tokenizer=ends)


@st.composite
def cases(draw: st.DrawFn) -> tuple[EncoderConfig, Recipe, str, int]:
    """Sizes that are multiples of nothing, texts shorter and longer than a run."""
    pick = lambda *values: draw(st.sampled_from(values))  # noqa: E731
    heads, d = pick(3, 1, 2, 4, 5), pick(8, 6, 10, 16)
    config = tiny_encoders.config(
        hidden_dim=heads * d,
        n_heads=heads,
        n_layers=pick(2, 1, 3, 4),
        ffn_dim=pick(37, 20, 52, 90),
        vocab_size=pick(97, 101, 257),
        gelu=pick("erf", "tanh"),
        pooling=pick("mean", "first"),
        normalize=draw(st.booleans()),
    )
    recipe = tiny_models.recipe(
        draw(st.integers(2, 8)), pick(8, 20, 32, 0), pick(24, 1, 3, 40, 64), pick(4, 1, 3, 7, 16)
    )
    return config, recipe, pick(*LEVELS), draw(st.integers(0, 999))


def _prove(
    case: tuple[EncoderConfig, Recipe, str, int], folder: Path, objects: Path, legs: tuple[str, ...]
) -> Artifact:
    config, recipe, target, seed = case
    path = tiny_models.target_file(folder / "target.toml", L1=30_000, **LEVELS[target])
    with tiny_models.quick(_source(config, seed), objects, measured="rv32" in legs):
        artifact = compiler.build("memory", target=str(path), recipe=recipe, out=folder / "out")
        found = verify(artifact, legs)
    for leg in legs:
        assert found["backends"][leg]["mismatches"] == 0
        assert found["backends"][leg]["tensors"] > 15 * config.n_layers
    return artifact


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("encoders")


@given(case=cases())
@settings(FIXED, max_examples=10)
def test_some_configurations(case: tuple[EncoderConfig, Recipe, str, int], folder: Path, objects: Path) -> None:
    _prove(case, folder, objects, ("simulator", "host"))


@pytest.mark.slow
@given(case=cases())
@settings(FIXED, max_examples=100)
def test_many_configurations(case: tuple[EncoderConfig, Recipe, str, int], folder: Path, objects: Path) -> None:
    _prove(case, folder, objects, ("simulator", "host"))


def test_the_largest_run_that_fits_is_found(folder: Path) -> None:
    """In the fewest rows that 16 halves to; a run of more needs more than this L1."""
    source, chunks = _source(tiny_encoders.config()), []
    for size in (6_000, 12_000, 60_000):
        path = tiny_models.target_file(folder / "narrow.toml", L1=size)
        found = tiny_models.planned(source, path, tiny_models.recipe(8, 32, 40, None)).plan
        assert not found.deficits()
        chunks.append(found.chunk)
    assert chunks == sorted(chunks)
    assert chunks[0] < chunks[-1] == 16
    larger = tiny_models.recipe(8, 32, 40, 2 * chunks[0])
    path = tiny_models.target_file(folder / "narrow.toml", L1=6_000)
    assert "L1" in tiny_models.planned(source, path, larger).plan.deficits()


def test_one_on_rv32(folder: Path, objects: Path) -> None:
    case = (tiny_encoders.config(), tiny_models.recipe(8, 32, 24, 4), "siracusa", 3)
    _prove(case, folder, objects, ("simulator", "rv32"))


@pytest.fixture(scope="module")
def artifact(tmp_path_factory: pytest.TempPathFactory, objects: Path) -> Artifact:
    out = tmp_path_factory.mktemp("encoder") / "out"
    return tiny_models.built(_source(tiny_encoders.config()), out, objects, made=tiny_models.recipe(8, 32, 24, 4))


def test_the_program_of_the_project(artifact: Artifact, tmp_path: Path) -> None:
    """Its self-test passes, and what it prints are the bits of the reference's vector."""
    made = subprocess.run(["make", "-C", str(artifact.project), "check"], capture_output=True, text=True, check=True)
    assert "PASS: a vector of 40 numbers agrees bit for bit" in made.stdout
    done = subprocess.run([artifact.project / "model", "5", "9", "41"], capture_output=True, text=True, check=True)
    printed = np.array([int(word, 16) for word in done.stdout.split()], np.uint32).view(np.float32)
    assert printed.tobytes() == artifact.reference().encode([5, 9, 41]).tobytes()
    wrong = subprocess.run([artifact.project / "model", "5", "97"], capture_output=True, text=True, check=False)
    assert wrong.returncode == 2
    assert "not a token id: 97" in wrong.stdout


def test_a_text_must_fit(artifact: Artifact) -> None:
    for runner in (artifact.reference(), artifact.simulator()):
        for tokens in ([], [3] * 25):
            with pytest.raises(EdgecError, match=f"a text of {len(tokens)} tokens, where 1 to 24 fit"):
                runner.encode(tokens)


def test_simulate_prints_a_vector(artifact: Artifact) -> None:
    runner = CliRunner()
    done = runner.invoke(cli, ["simulate", str(artifact.path), "--prompt", "Once upon a time", "--json"])
    found = json.loads(done.stdout)
    ids = artifact.tokenizer.encode("Once upon a time")
    assert found["tokens"] == len(ids)
    assert np.array(found["vector"], np.float32).tobytes() == artifact.reference().encode(ids).tobytes()
    assert np.linalg.norm(found["vector"]) == pytest.approx(1, abs=1e-5)
    shown = runner.invoke(cli, ["simulate", str(artifact.path), "--prompt", "Once upon a time " * 20])
    assert "24 tokens, cut at the end of the context; predicted on siracusa: " in shown.stdout


def test_the_report_speaks_of_texts(artifact: Artifact) -> None:
    report = make_report(artifact.meta, artifact.plan, artifact.graphs, {})
    assert report.decode is report.prefill is None
    assert [text.tokens for text in report.texts] == [16, 24]
    assert report.texts[1].cycles == pytest.approx(report.texts[0].cycles * 24 / 16, rel=0.02)  # runs of 4 rows
    text = " ".join((artifact.path / "report.txt").read_text().split())
    assert "ms for a text of 24 tokens" in text
    assert "a vector of 40 numbers for a text: the mean of its rows, of length 1" in text


def test_a_buffer_that_outlives_a_sweep_is_found(artifact: Artifact) -> None:
    """The next rows of the sweep before would overwrite it."""
    plan = artifact.plan
    program = plan.programs["encode"]
    second = program.sweeps[1][0]
    number = next(i for i, b in enumerate(program.buffers) if b.end == second)
    program.buffers[number] = replace(program.buffers[number], end=second + 1)
    with pytest.raises(PlanError, match="lives from one sweep into another"):
        check(plan)


@pytest.mark.parametrize(
    ("changes", "words"),
    [({"kv": "int4"}, "have 8 bits, the recipe asks for int4"), ({"stages": True}, "the stage depth works on models")],
)
def test_what_is_for_decoders_is_refused(changes: dict[str, object], words: str, tmp_path: Path, objects: Path) -> None:
    from edgec.compress.depth import Depth

    recipe = tiny_models.recipe(8, 32, 24, 4)
    if changes.get("stages"):
        recipe = replace(recipe, stages=(Depth(blocks=1),))
    else:
        recipe = replace(recipe, build=replace(recipe.build, kv="int4"))
    with pytest.raises(RecipeError, match=words):
        tiny_models.built(_source(tiny_encoders.config()), tmp_path / "out", objects, made=recipe)
    assert not (tmp_path / "out").exists()
