"""BART-type models through the whole chain: random configurations on random targets, exact on every backend."""

from __future__ import annotations

from pathlib import Path

import pytest
import tiny_models
import tiny_seq2seq
from hypothesis import given, settings
from hypothesis import strategies as st
from random_cases import FIXED

from edgec import compiler
from edgec.artifact import Artifact
from edgec.frontend.seq2seq_config import Seq2SeqConfig
from edgec.recipe import Recipe
from edgec.verify.chain import verify

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
