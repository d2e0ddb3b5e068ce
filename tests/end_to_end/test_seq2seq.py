"""BART-type models through the whole chain: random configurations on random targets, exact on every backend."""

from __future__ import annotations

import json
import re
import subprocess
from importlib import resources
from pathlib import Path

import jsonschema
import numpy as np
import pytest
import tiny_models
import tiny_seq2seq
from click.testing import CliRunner
from hypothesis import given, settings
from hypothesis import strategies as st
from random_cases import FIXED

from edgec import compiler
from edgec.artifact import Artifact
from edgec.cli import cli
from edgec.errors import VerifyError
from edgec.frontend.seq2seq_config import Seq2SeqConfig
from edgec.recipe import Recipe
from edgec.report.report import make_report
from edgec.target import target_path
from edgec.verify.chain import verify
from edgec.verify.host import HostBackend

LEVELS = {
    "siracusa": {},
    "spilled": {"weights": ["L3"], "kv": ["L2"], "large": ["L2"]},
    "everything in L3": {"weights": ["L3"], "kv": ["L3"], "large": ["L2"]},
}


@st.composite
def cases(draw: st.DrawFn) -> tuple[Seq2SeqConfig, Recipe, str, int]:
    """Sizes that are multiples of nothing, sources shorter and longer than a run."""
    pick = lambda *values: draw(st.sampled_from(values))  # noqa: E731
    hidden = pick(24, 40, 60)
    config = tiny_seq2seq.config(
        hidden_dim=hidden,
        n_heads=pick(*(n for n in (4, 1, 2, 5) if hidden % n == 0)),
        encoder_heads=pick(*(n for n in (2, 1, 4, 5) if hidden % n == 0)),
        n_layers=pick(2, 1, 3),
        encoder_layers=pick(2, 1, 3),
        ffn_dim=pick(37, 20, 52),
        encoder_ffn_dim=pick(41, 20, 64),
        vocab_size=pick(97, 101, 257),
        activation=pick("gelu", "gelu_tanh"),
        embed_scale=pick(1.0, 6.3),
        decoder_start=pick((2,), (2, 1)),
        logits_bias=draw(st.booleans()),
    )
    recipe = tiny_models.recipe(draw(st.integers(2, 8)), pick(8, 20, 32, 0), pick(24, 12, 40, 64), pick(4, 1, 3, 7, 16))
    return config, recipe, pick(*LEVELS), draw(st.integers(0, 999))


def _prove(
    case: tuple[Seq2SeqConfig, Recipe, str, int], folder: Path, objects: Path, legs: tuple[str, ...]
) -> Artifact:
    config, recipe, target, seed = case
    path = tiny_models.target_file(folder / "target.toml", L1=30_000, **LEVELS[target])
    with tiny_models.quick(tiny_seq2seq.source(config, seed), objects, measured="rv32" in legs):
        artifact = compiler.build("memory", target=str(path), recipe=recipe, out=folder / "out")
        found = verify(artifact, legs)
    for leg in legs:
        assert found["backends"][leg]["mismatches"] == 0
        assert found["backends"][leg]["tensors"] > 30 * (config.n_layers + config.encoder_layers)
    return artifact


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("seq2seq")


@given(case=cases())
@settings(FIXED, max_examples=10)
def test_some_configurations(case: tuple[Seq2SeqConfig, Recipe, str, int], folder: Path, objects: Path) -> None:
    _prove(case, folder, objects, ("simulator", "host"))


@pytest.mark.slow
@given(case=cases())
@settings(FIXED, max_examples=100)
def test_many_configurations(case: tuple[Seq2SeqConfig, Recipe, str, int], folder: Path, objects: Path) -> None:
    _prove(case, folder, objects, ("simulator", "host"))


def test_one_on_rv32(folder: Path, objects: Path) -> None:
    case = (tiny_seq2seq.config(), tiny_models.recipe(8, 32, 24, 4), "siracusa", 3)
    _prove(case, folder, objects, ("simulator", "rv32"))


@pytest.mark.parametrize(("bits", "cores"), [(4, 8), (3, 2)])
def test_the_chips_own_program(tmp_path: Path, objects: Path, bits: int, cores: int) -> None:
    """On the emulated board, N-EUREKA's matrices among them."""
    text = target_path("siracusa").read_text()
    (tmp_path / "t.toml").write_text(re.sub(r"(?m)^cores = 8", f"cores = {cores}", text))
    wide = {"hidden_dim": 252, "n_heads": 4, "encoder_heads": 6, "ffn_dim": 504, "encoder_ffn_dim": 252}
    config = tiny_seq2seq.config(**wide, n_layers=1, encoder_layers=1)
    recipe = tiny_models.recipe(bits, 252, 24, 4)
    artifact = tiny_models.built(tiny_seq2seq.source(config), tmp_path / "out", objects, tmp_path / "t.toml", recipe)
    for program in ("encode", "prefill", "decode"):
        assert any(step.op.endswith("_neureka") for step in artifact.plan.programs[program].steps)
    found = verify(artifact, ("simulator", "host", "siracusa"))["backends"]
    assert found["siracusa"]["mismatches"] == 0 and found["siracusa"]["tensors"] > 300


@pytest.fixture(scope="module")
def artifact(tmp_path_factory: pytest.TempPathFactory, objects: Path) -> Artifact:
    out = tmp_path_factory.mktemp("seq2seq") / "out"
    source = tiny_seq2seq.source(tiny_seq2seq.config())
    return tiny_models.built(source, out, objects, made=tiny_models.recipe(8, 32, 24, 4))


def test_the_program_of_the_project(artifact: Artifact) -> None:
    """Its self-test passes, and it writes the reference's greedy tokens."""
    made = subprocess.run(["make", "-C", str(artifact.project), "check"], capture_output=True, text=True, check=True)
    assert "PASS: 8 tokens and the last logits agree bit for bit" in made.stdout
    done = subprocess.run([artifact.project / "model", "5", "9", "41"], capture_output=True, text=True, check=True)
    reference = artifact.reference()
    reference.encode([5, 9, 41])
    tokens = [reference.prefill(artifact.decoder_start)]
    while len(tokens) < 16:
        tokens.append(reference.decode(tokens[-1]))
    assert [int(word) for word in done.stdout.split()] == tokens
    wrong = subprocess.run([artifact.project / "model", "5", "97"], capture_output=True, text=True, check=False)
    assert wrong.returncode == 2
    assert "not a token id: 97" in wrong.stdout


def test_a_source_must_be_read_first(artifact: Artifact, tmp_path: Path) -> None:
    with HostBackend(artifact.project, tmp_path, traced=False) as program:
        program.sampling(0.0)
        assert program.prefill([2]) == program.decode(2) == -1
        with pytest.raises(VerifyError, match="refused a text of 25 tokens"):
            program.encode([3] * 25)
        assert program.encode([5, 9, 41]).size == 0
        assert program.prefill([2]) >= 0
        first = program.logits().tobytes()
        program.reset()
        program.prefill([2])
        assert program.logits().tobytes() == first  # the source stays
        program.decode(2)
        assert program.logits().tobytes() != first
        program.encode([5, 9, 41])
        program.prefill([2])
        assert program.logits().tobytes() == first  # a source begins anew
        program.encode([7, 9])
        program.prefill([2])
        assert program.logits().tobytes() != first


def test_simulate_writes(artifact: Artifact) -> None:
    runner, ids = CliRunner(), artifact.tokenizer.encode("Once upon a time")
    for way in ("--plan", "--reference"):
        arguments = ["simulate", str(artifact.path), "--prompt", "Once upon a time", "--tokens", "5", "--json", way]
        found = json.loads(runner.invoke(cli, arguments).stdout)
        reference = artifact.reference()
        reference.encode(ids)
        want = [reference.prefill(artifact.decoder_start)]
        while len(want) < 5:
            want.append(reference.decode(want[-1]))
        assert found["tokens"] == (want[: want.index(2)] if 2 in want else want)
        assert found["source_tokens"] == len(ids) and not found["cut"]
        assert found["chip_read_seconds"] > 0 < found["chip_write_seconds"]
    arguments = ["simulate", str(artifact.path), "--prompt", "Once upon a time " * 20, "--tokens", "3"]
    shown = runner.invoke(cli, arguments).stdout
    assert "24 tokens read, cut at the end of the context, 3 written, as asked; predicted on siracusa: " in shown


def test_the_report_speaks_of_both_halves(artifact: Artifact) -> None:
    report = make_report(artifact.meta, artifact.plan, artifact.graphs, {})
    assert report.decode and report.prefill and report.encode
    assert [text.tokens for text in report.texts] == [16, 24]
    names = [layer.name for layer in report.layers]
    assert names == ["embedding", *(f"encoder layer {i}" for i in range(3)), "layer 0", "layer 1", "head"]
    assert sum(layer.weight_bytes for layer in report.layers) == report.model["weight_bytes"]
    assert sum(report.model["weights_by_bits"].values()) == sum(
        int(np.prod(shape)) for name, shape in tiny_seq2seq.config().tensor_shapes().items() if is_matrix(name, shape)
    )
    text = " ".join((artifact.path / "report.txt").read_text().split())
    assert "in front an encoder of 3 layers, feed-forward 44, 4 heads" in text
    jsonschema.validate(report.to_dict(), json.loads((resources.files("edgec") / "report" / "schema.json").read_text()))
    page = (artifact.path / "report.html").read_text()
    for program in ("encode", "prefill", "decode"):
        assert f"timeline-{program}" in page


def is_matrix(name: str, shape: tuple[int, ...]) -> bool:
    """Whether a tensor is stored as codes."""
    return len(shape) == 2 and not name.endswith("embed_positions.weight")
