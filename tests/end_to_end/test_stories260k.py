"""The smallest real model, whole: built, exact on every backend, and as good as the float model."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from edgec import compiler
from edgec.artifact import Artifact
from edgec.emit.project import rv32_stack_bytes
from edgec.evaluate.perplexity import likelihood
from edgec.frontend.checkpoint import Checkpoint
from edgec.frontend.load import load_checkpoint
from edgec.passes.score_rows import score_rows
from edgec.recipe import Build, Quantize, Recipe
from edgec.simulate.reference import ReferenceRunner
from edgec.verify.chain import verify
from edgec.verify.quality import float_runner

DATA = Path(__file__).resolve().parents[2].parent / "shared" / "data"
MODEL = DATA / "models/stories260K/stories260K.bin"
TEXT = DATA / "evaluation/tinystories_valid.txt"

pytestmark = pytest.mark.skipif(not MODEL.is_file(), reason="the stories260K checkpoint is not beside the repository")


@pytest.fixture(scope="module")
def checkpoint() -> Checkpoint:
    return load_checkpoint(str(MODEL), str(MODEL.with_name("tok512.bin")))


@pytest.fixture(scope="module")
def stories(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Artifact]:
    """Built with int8 for Siracusa."""
    out = tmp_path_factory.mktemp("stories") / "out"
    recipe = Recipe(Quantize(bits=8), Build(context=128))
    yield compiler.build(str(MODEL), tokenizer=str(MODEL.with_name("tok512.bin")), recipe=recipe, out=out)


def test_every_leg_agrees(stories: Artifact) -> None:
    found = verify(stories, ["simulator", "host", "rv32", "float"])
    assert {leg: result["mismatches"] for leg, result in found["backends"].items()} == {
        "simulator": 0,
        "host": 0,
        "rv32": 0,
    }
    assert not found["skipped"]
    (quality,) = found["quality"]
    assert quality["cosine_logits"] > 0.999
    assert rv32_stack_bytes(stories.plan.target) > found["backends"]["rv32"]["stack_high_water"]


def test_greedy_text_starts_as_the_float_models(stories: Artifact, checkpoint: Checkpoint) -> None:
    tokenizer = stories.tokenizer
    prompt = tokenizer.encode("Once upon a time")
    reference = stories.reference()
    token, tokens = reference.prefill(prompt), []
    while len(tokens) < 24:
        tokens.append(token)
        token = reference.decode(token)
    runner = float_runner(checkpoint, score_rows(stories.graphs["decode"]), stories.constants())
    floats: list[int] = []
    for following in prompt:
        logits = runner.values("score", [following])[runner.graphs["score"].outputs[0]]
    while len(floats) < 24:
        floats.append(int(logits[0].argmax()))
        logits = runner.values("score", [floats[-1]])[runner.graphs["score"].outputs[0]]
    text = tokenizer.decode(tokens)
    assert text.split()[:8] == tokenizer.decode(floats).split()[:8]
    assert text.split()[:4] == [",", "there", "was", "a"]


def test_bits_per_byte_at_int8_are_the_float_models(stories: Artifact, checkpoint: Checkpoint) -> None:
    text = TEXT.read_text(encoding="utf-8")[:8000]
    graph = score_rows(stories.graphs["prefill"])
    exact = likelihood(ReferenceRunner({"score": graph}, stories.constants()), stories.tokenizer, text, 128)
    ideal = likelihood(float_runner(checkpoint, graph, stories.constants()), stories.tokenizer, text, 128)
    assert exact.tokens == ideal.tokens > 2000
    assert 0.5 < ideal.bits_per_byte < 1.5
    assert exact.bits_per_byte == pytest.approx(ideal.bits_per_byte, rel=0.01)
