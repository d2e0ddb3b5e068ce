"""`edgec compress` and `edgec build --recipe` with stages, from the command line to the built program."""

from __future__ import annotations

import hashlib
import json
from dataclasses import replace
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

pytest.importorskip("torch")

from edgec.artifact import Artifact
from edgec.cli import cli
from edgec.compress.folder import write_folder
from edgec.compress.stage import Calibration
from edgec.frontend.load import load_checkpoint
from edgec.passes.join_projections import parts
from edgec.verify.chain import verify
from tests.compress.small_tokenizers import text_of, tokenizer_of
from tests.tiny_models import checkpoint, config

STAGES = """
[[stage]]
method = "depth"
remove = [1]

[[stage]]
method = "quantize"
by = "search"
bits = 4
group_size = 16

[quantize]
bits = 8
group_size = 16
"""


@pytest.fixture
def model(tmp_path: Path) -> Path:
    write_folder(tmp_path / "model", checkpoint(config(n_layers=3, max_seq_len=64)))
    (tmp_path / "recipe.toml").write_text(STAGES)
    return tmp_path / "model"


def run(*arguments: object) -> Result:
    return CliRunner().invoke(cli, [str(a) for a in arguments])


def test_stages_are_folders_and_a_table(model: Path, tmp_path: Path, calibration: Calibration) -> None:
    text = calibration.file
    given = ("compress", model, "--recipe", tmp_path / "recipe.toml", "-o", tmp_path / "out", "--windows", 2)
    result = run(*given, "--calibration", text, "--evaluate", text)
    assert result.exit_code == 2 and "64 samples of 64" in result.output  # the text is too short for the default
    (tmp_path / "recipe.toml").write_text(STAGES + f'\n[calibration]\nfile = "{text}"\nsamples = 8\nlength = 32\n')
    result = run(*given, "--evaluate", text)
    assert result.exit_code == 0, result.output
    lines = result.output.splitlines()
    assert [line.split()[0] for line in lines[1:4]] == ["dense", "depth", "quantize"]
    assert lines[3].split()[6] == "5.63"  # 4 bits and a 16-bit scale for 16, rows of 36 and 52 padded to whole groups
    last = load_checkpoint(str(tmp_path / "out" / "2-quantize"))
    assert last.config.n_layers == 2 and len(last.packed) == 14
    assert [s["method"] for s in last.stages] == ["depth", "quantize"]
    again = json.loads(run(*given, "--evaluate", text, "--json").output)
    assert [s["method"] for s in again["stages"]] == ["dense", "depth", "quantize"]
    assert all(s["quality"]["perplexity"] > 1 for s in again["stages"])


def test_build_runs_the_stages_and_keeps_their_codes(model: Path, tmp_path: Path, calibration: Calibration) -> None:
    (tmp_path / "recipe.toml").write_text(
        STAGES + f'\n[calibration]\nfile = "{calibration.file}"\nsamples = 8\nlength = 32\n[build]\ncontext = 32\n'
    )
    result = run("build", model, "--recipe", tmp_path / "recipe.toml", "-o", tmp_path / "out")
    assert result.exit_code == 0, result.output
    assert "Compression" in result.output and "share of outputs' power lost" in result.output
    built = Artifact.load(tmp_path / "out")
    assert built.meta["model"]["n_layers"] == 2
    assert [row["method"] for row in built.meta["stages"]] == ["dense", "depth", "quantize"]
    packed = load_checkpoint(str(tmp_path / "out.stages" / "2-quantize")).packed
    names = [name for name in built.meta["constants"] if name.endswith("_proj.weight")]
    assert {part for name in names for part in parts(name)} == set(packed)
    for name in names:  # what is joined lies row behind row, code for code
        codes = b"".join(packed[part]().packed.tobytes() for part in parts(name))
        assert hashlib.sha256(codes).hexdigest() == built.meta["constants"][name]["sha256"], name
    # The float model to compare with is the last stage's before the codes.
    assert built.meta["provenance"]["source"] == model.name and built.meta["title"].startswith(model.stem)
    compared = verify(built, ("float",))
    assert compared["quality"] and not compared["skipped"]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ('[[stage]]\nmethod = "magic"\n', "no stage 'magic'"),
        ('[[stage]]\nmethod = "depth"\nblocks = 9\n', "protected"),
        ('[[stage]]\nmethod = "width"\npattern = "2:5"\n', "2:5"),
        ('[[stage]]\nmethod = "quantize"\nspeed = 3\n', "unknown key"),
        ('[[stage]]\nmethod = "quantize"\n', "needs a calibration text"),
        ("[build]\ncontext = 8\n", "no [[stage]]"),
        ('[calibration]\nfile = "gone.txt"\n[[stage]]\nmethod = "quantize"\n', "gone.txt does not exist"),
    ],
)
def test_what_is_wrong_is_one_sentence_and_nothing_is_written(
    model: Path, tmp_path: Path, text: str, words: str
) -> None:
    (tmp_path / "recipe.toml").write_text(text)
    result = run("compress", model, "--recipe", tmp_path / "recipe.toml", "-o", tmp_path / "out")
    assert result.exit_code == 2 and words in result.output, result.output
    assert "Traceback" not in result.output
    assert not list((tmp_path / "out").glob("[1-9]*")) if (tmp_path / "out").exists() else True


def test_options_that_need_stages_say_so(model: Path, tmp_path: Path) -> None:
    result = run("build", model, "--minutes", 3, "-o", tmp_path / "out")
    assert result.exit_code == 2 and "recipes with stages" in result.output


def test_a_vocabulary_is_counted_and_compared_by_bits_per_byte(tmp_path: Path) -> None:
    """--dry-run needs the model where the size depends on its tokenizer and the text."""
    tokenizer = tokenizer_of("byte_level")
    made = config(vocab_size=tokenizer.backend.get_vocab_size(), max_seq_len=64)
    write_folder(tmp_path / "model", replace(checkpoint(made), tokenizer=tokenizer))
    (tmp_path / "text.txt").write_text(text_of(0, 300))
    (tmp_path / "vocab.toml").write_text('[calibration]\nfile = "text.txt"\n[[stage]]\nmethod = "vocab"\n')
    recipe = ("--recipe", tmp_path / "vocab.toml")
    result = run("compress", "--config", tmp_path / "model/config.json", "--dry-run", *recipe)
    assert result.exit_code == 2 and "depends on the text" in result.output
    counted = json.loads(run("compress", tmp_path / "model", "--dry-run", "--json", *recipe).output)
    text = tmp_path / "text.txt"
    result = run("compress", tmp_path / "model", *recipe, "--evaluate", text, "-o", tmp_path / "out", "--windows", 2)
    assert result.exit_code == 0, result.output
    header, dense, stage = (line.split() for line in result.output.splitlines()[:3])
    assert header[5] == "bits/byte" and "perplexity" not in header
    row = json.loads((tmp_path / "out/1-vocab/edgec.json").read_text())["stages"][0]
    assert counted[1]["parameters"] == row["parameters"] and stage[:2] == ["vocab", str(row["size"])]
    assert float(stage[6]) == pytest.approx(row["quality"]["bits_per_byte"], abs=5e-4)
    assert float(stage[6]) - float(dense[5]) == pytest.approx(float(stage[7]), abs=2e-3)
