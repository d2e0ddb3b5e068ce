"""Analyses against their definitions on small models, and what they leave on the disk."""

from __future__ import annotations

import csv
import errno
import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tiny_models
import torch
from click.testing import CliRunner

from edgec.analyze.by_task import ByTask, exchanged, without
from edgec.analyze.cells import Cells
from edgec.analyze.exchange import exchange
from edgec.analyze.sensitivity import Change, changes, sensitivity
from edgec.analyze.spectrum import spectra
from edgec.analyze.variants import Variants
from edgec.cli import cli
from edgec.compress.calibration import windows
from edgec.compress.folder import write_folder
from edgec.compress.stage import Calibration
from edgec.compress.torch_model import load_torch
from edgec.errors import OutputError, RecipeError
from edgec.evaluate.generation import greedy
from edgec.evaluate.scorer import FloatScorer
from edgec.evaluate.tasks import Questions
from edgec.evaluate.triviaqa import normalised
from edgec.frontend.checkpoint import Checkpoint
from edgec.verify.workload import TEXT

PARTS = ("block", "attention", "mlp", "q", "down")


@pytest.fixture
def model() -> Checkpoint:
    return tiny_models.checkpoint(tiny_models.config(n_layers=3))


@pytest.fixture
def text(tmp_path: Path) -> Calibration:
    words = list(dict.fromkeys(re.findall(r"\w+|[^\w\s]+", TEXT)))[:90]
    file = tmp_path / "text.txt"
    file.write_text(" ".join(np.random.default_rng(3).choice(words, size=200)))
    return Calibration(str(file), samples=3, length=16)


def quiet(text: str, done: int, total: int) -> None:
    pass


def loss(model: Checkpoint, tokens: Any) -> float:
    """The mean loss, from logits."""
    with torch.no_grad():
        logits = load_torch(model)(torch.from_numpy(tokens))[:, :-1].double()
    wanted = torch.from_numpy(tokens[:, 1:])
    return float(-logits.log_softmax(-1).gather(-1, wanted[..., None]).mean())


def test_explained_variance_and_ranks_are_those_of_the_singular_values(model: Checkpoint) -> None:
    found = list(spectra(model, ("k", "down")))
    names = {role: [n for n in model.matrix_names() if f".{role}_proj" in n] for role in ("k", "down")}
    for s in found:
        parts = [model.tensor(n).astype(np.float64) for n in names[s.role]]
        w = {"": parts[s.layer or 0], "rows": np.concatenate(parts), "columns": np.concatenate(parts, axis=1)}[s.joined]
        sizes = np.linalg.svd(w, compute_uv=False)
        assert s.shape == w.shape
        np.testing.assert_allclose(s.sizes, sizes, rtol=1e-6, atol=1e-6)
        kept = np.cumsum(sizes**2) / (sizes**2).sum()
        for share in (0.8, 0.9, 0.95):
            r = s.rank(share)
            assert kept[r - 1] >= share and (r == 1 or kept[r - 2] < share)
    assert [(s.role, s.joined) for s in found].count(("k", "rows")) == 1


@pytest.mark.parametrize("part", PARTS)
def test_replaced_and_ablated_losses_are_those_of_changed_models(
    model: Checkpoint, text: Calibration, part: str
) -> None:
    tokens = windows(model, text)
    variants = Variants(model, tokens)
    assert variants.dense == pytest.approx(loss(model, tokens), rel=1e-5)
    for layer in range(3):
        expected = loss(without(model, part, layer), tokens)
        assert variants.ablated(part, layer) == pytest.approx(expected, rel=1e-5)
        other = (layer + 1) % 3
        expected = loss(exchanged(model, part, layer, other), tokens)
        assert variants.replaced(part, layer, other) == pytest.approx(expected, rel=1e-5)
        assert abs(expected - variants.dense) > 1e-4
    assert variants._from(0) == variants.dense  # the model is as it was


def test_tables_of_an_exchange(tmp_path: Path) -> None:
    losses = {(0, None): 3.0, (1, None): 5.0, (0, 1): 2.5, (1, 0): 6.0}
    found = exchange("mlp", 2, 2.0, lambda part, j, i: losses[j, i], Cells(tmp_path, {}), quiet, True)
    np.testing.assert_array_equal(found.ablate, [1, 3])
    np.testing.assert_array_equal(found.replace, [[0, 4], [0.5, 0]])  # [part of block i][place j]
    np.testing.assert_array_equal(found.difference, [[-1, 1], [-0.5, -3]])
    rows = {(r["from"], r["to"]): r for r in found.rows()}
    assert rows[1, 0]["change"] == 0.5 and rows[1, 0]["difference"] == -0.5 and rows[None, 1]["loss"] == 5


def test_a_stopped_analysis_goes_on(tmp_path: Path) -> None:
    computed: list[str] = []

    def number(name: str) -> Any:
        def compute() -> float:
            computed.append(name)
            if name == "9" and computed.count("9") == 1:
                raise KeyboardInterrupt
            return float(name)

        return compute

    wanted = {str(i): number(str(i)) for i in range(12)}
    with pytest.raises(KeyboardInterrupt):
        Cells(tmp_path, {"text": "a"}).fill(wanted, "", quiet)
    again = Cells(tmp_path, {"text": "a"})
    assert again.fill(wanted, "", quiet) == {str(i): float(i) for i in range(12)}
    assert computed.count("3") == 1 and computed.count("9") == 2
    assert not Cells(tmp_path, {"text": "b"}).values
    again.forget()
    assert not list(tmp_path.iterdir())


def test_damaged_numbers_of_a_stopped_analysis_are_one_sentence(tmp_path: Path) -> None:
    cells = Cells(tmp_path, {})
    for content in (b"{", b"[1]", b'{"a": "x"}', b'{"a": null}', b"\xff"):
        cells.file.write_bytes(content)
        with pytest.raises(OutputError, match="is damaged: remove it to start anew"):
            Cells(tmp_path, {})


def test_numbers_are_kept_until_all_files_are_written(
    model: Checkpoint, text: Calibration, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A disk that is full behind hours of measuring: older files stay, and the next run measures nothing again."""
    write_folder(tmp_path / "model", model)
    out = tmp_path / "out"
    out.mkdir()
    (out / "ablate.csv").write_text("old")
    arguments = ["analyze", "ablate", str(tmp_path / "model"), "--data", text.file, "--window", "16", "--windows", "2"]
    real = Path.open

    def refuse(path: Path, *mode: Any, **more: Any) -> Any:
        if path.parent == out and "html" in path.name:
            raise OSError(errno.ENOSPC, "No space left on device")
        return real(path, *mode, **more)

    with monkeypatch.context() as full:
        full.setattr(Path, "open", refuse)
        done = CliRunner().invoke(cli, [*arguments, "-o", str(out)])
    assert done.exit_code == 2 and "ablate.html cannot be written: No space left" in done.output
    assert (out / "ablate.csv").read_text() == "old"
    assert len(kept := list(out.glob(".partial*"))) == 1 and len(list(out.iterdir())) == 2
    assert len(json.loads(kept[0].read_text())) == 3
    with monkeypatch.context() as counted:
        counted.setattr("edgec.analyze.variants.Variants.ablated", lambda *rest: pytest.fail("measured again"))
        done = CliRunner().invoke(cli, [*arguments, "-o", str(out)])
    assert done.exit_code == 0, done.output
    assert {p.name for p in out.iterdir()} == {f"ablate.{kind}" for kind in ("csv", "json", "html", "png")}


@pytest.mark.parametrize("place", ["file", "file/deeper"])
def test_a_place_that_cannot_be_written_is_refused_before_any_work(tmp_path: Path, place: str) -> None:
    (tmp_path / "file").write_text("kept")
    done = CliRunner().invoke(cli, ["analyze", "rank", "no-such-model", "-o", str(tmp_path / place)])
    assert done.exit_code == 2 and "is no folder; choose another -o" in done.output


def test_sensitivity_is_the_loss_of_one_changed_matrix(model: Checkpoint, text: Calibration, tmp_path: Path) -> None:
    tokens = windows(model, text)
    tried = changes((3,), (0.5,), ("2:4", "3:8"))
    found = sensitivity(model, Variants(model, tokens), ("down",), tried, Cells(tmp_path, {}), quiet)
    name = "model.layers.1.mlp.down_proj.weight"
    assert {c.label for c in found.losses[name]} == {"3 bits", "rank 0.5", "2:4"}  # 8 does not divide 52
    for change in (Change("bits", "3"), Change("rank", "0.5"), Change("pattern", "2:4")):
        made = change.applied(model.tensor(name))
        assert made is not None
        expected = loss(model.with_tensors({name: made}), tokens) - found.dense
        assert found.losses[name][change] == pytest.approx(expected, abs=2e-5)
        assert found.table(change, ("down",))[0][1] == found.losses[name][change]


@pytest.mark.parametrize(("bits", "ranks", "patterns"), [((9,), (), ()), ((), (0.0,), ()), ((), (), ("4:2",))])
def test_impossible_changes(bits: Any, ranks: Any, patterns: Any) -> None:
    with pytest.raises(RecipeError):
        changes(bits, ranks, patterns)


def test_command_line(model: Checkpoint, text: Calibration, tmp_path: Path) -> None:
    write_folder(tmp_path / "model", model)
    out = tmp_path / "out"
    common = ["--data", text.file, "--window", "16", "--windows", "2", "-o", str(out)]
    runs = {
        "rank": ["rank", str(tmp_path / "model"), "-o", str(out)],
        "replace": ["replace", str(tmp_path / "model"), *common, "--part", "mlp"],
        "ablate": ["ablate", str(tmp_path / "model"), *common],
        "sensitivity": ["sensitivity", str(tmp_path / "model"), *common, "--bits", "3", "--roles", "q"],
    }
    for name, arguments in runs.items():
        done = CliRunner().invoke(cli, ["analyze", *arguments], catch_exceptions=False)
        assert done.exit_code == 0, done.output
        assert f"{name}.html" in done.output
        assert (out / f"{name}.png").read_bytes().startswith(b"\x89PNG")
        page = (out / f"{name}.html").read_text()
        assert "http" not in page.split('id="plotly"')[0]
        with (out / f"{name}.csv").open() as file:
            rows = list(csv.DictReader(file))
        told = json.loads((out / f"{name}.json").read_text())
        assert len(rows) == len(told["rows"]) > 0 and told["protocol"]["model"] == "model"
    assert not list(out.glob(".partial*"))


def test_blocks_are_exchanged_under_a_question_task(model: Checkpoint, tmp_path: Path) -> None:
    """The metric is asked of each changed model: answers that hold a word of the dense one."""
    assert model.tokenizer is not None
    scorer = FloatScorer(model, model.tokenizer)
    prompt = model.tokenizer.encode("Question: Who ? Answer:")
    said = greedy(scorer, prompt, 4, ("\n",), min_new=1, skip_blanks=True)
    words = [word for word in normalised(said).split() if word]
    file = tmp_path / "questions.jsonl"
    file.write_text(json.dumps({"question": "Who ?", "golden_answers": words[:1]}) + "\n")
    asked = ByTask(model, model.tokenizer, Questions.of("triviaqa-closed", str(file), 1, 4), quiet)
    assert asked.dense == -1.0
    found = {(j, i): asked.loss_of("block", j, i) for j in range(3) for i in (None, (j + 1) % 3)}
    for (j, i), loss in found.items():
        changed = without(model, "block", j) if i is None else exchanged(model, "block", j, i)
        metrics, _ = asked.questions.ask(FloatScorer(changed, model.tokenizer), quiet)
        assert loss == -metrics["accuracy"]
    assert set(found.values()) <= {0.0, -1.0}


def test_a_missing_text_is_one_sentence(model: Checkpoint, tmp_path: Path) -> None:
    write_folder(tmp_path / "model", model)
    done = CliRunner().invoke(cli, ["analyze", "ablate", str(tmp_path / "model"), "--data", "no.txt"])
    assert done.exit_code == 2 and "no.txt cannot be read" in str(done.exception or done.output) + done.output
