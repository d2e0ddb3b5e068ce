"""Width pruning: the definition computed slowly, patterns in every group, pruned prefixes, zeros that stay."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from edgec.compress.masks import keep_highest, masks, pruned_codes
from edgec.compress.rtn import quantize_matrix
from edgec.compress.stage import Calibration, Work
from edgec.compress.width import Width
from edgec.errors import RecipeError
from edgec.frontend.checkpoint import Checkpoint, LowRank
from edgec.packing import pack
from tests.tiny_models import checkpoint, config

torch = pytest.importorskip("torch", reason="torch runs the calibration text")

from edgec.compress.torch_model import load_torch  # noqa: E402

SHAPE = {"hidden_dim": 48, "n_heads": 4, "head_dim": 8, "ffn_dim": 64, "n_layers": 3}  # rows of 48, 32 and 64
PATTERNS = ("1:2", "2:4", "3:4", "1:8", "4:8", "6:8", "1:16", "8:16", "12:16", "3:16", "5:8")


@pytest.fixture(scope="module")
def source() -> Checkpoint:
    return checkpoint(config(**SHAPE))


def work_for(model: Checkpoint, calibration: Calibration, partial: Path | None = None) -> Work:
    return Work(lambda: model, calibration, partial=partial)


def slowly(score: np.ndarray, removed: int, of: int) -> np.ndarray:
    """The definition, weight by weight; among equals the left one goes."""
    kept = np.ones(score.shape, bool)
    for i in range(score.shape[0]):
        for start in range(0, score.shape[1], of):
            for j in sorted(range(start, start + of), key=lambda j: (score[i, j], j))[:removed]:
                kept[i, j] = False
    return kept


def inputs_of(model: Checkpoint, tokens: np.ndarray) -> dict[str, np.ndarray]:
    """Inputs [tokens, k] of every matrix when the whole model runs."""
    module, found = load_torch(model), {}
    for name, matrix in module.matrices():
        matrix.register_forward_hook(lambda m, x, y, name=name: found.update({name: x[0].flatten(0, -2).numpy()}))
    with torch.no_grad():
        module(torch.from_numpy(tokens))
    return found


@pytest.mark.parametrize("pattern", [(1, 2), (3, 4), (1, 8), (8, 16), (5, 48)])
def test_the_lowest_go_and_ties_go_from_the_left(pattern: tuple[int, int]) -> None:
    rng = np.random.default_rng(1)
    score = rng.integers(0, 4, (7, 48)).astype(np.float32)
    assert np.array_equal(keep_highest(score, *pattern), slowly(score, *pattern))


@pytest.mark.parametrize("pattern", PATTERNS)
def test_exactly_n_of_m_are_zero_and_the_rest_is_untouched(
    source: Checkpoint, calibration: Calibration, pattern: str
) -> None:
    removed, of = map(int, pattern.split(":"))
    work = work_for(source, calibration)
    made = Width(pattern=pattern).run(source, work)
    assert made.patterns == dict.fromkeys(source.matrix_names(), (removed, of))
    for name in source.matrix_names():
        before, after = source.tensor(name), made.tensor(name)
        assert ((after.reshape(len(after), -1, of) == 0).sum(axis=2) == removed).all()
        assert np.array_equal(after[after != 0], before[after != 0])
        assert not np.signbit(after[after == 0]).any()
        assert np.array_equal(masks(made)[name], after != 0)
    for name in source.config.tensor_shapes():
        if name not in made.patterns:
            assert np.array_equal(made.tensor(name), source.tensor(name)), name
    assert min(work.notes["lost"].values()) > 0 and max(work.notes["lost"].values()) < removed / of


def test_scores_are_wandas_and_inputs_come_through_the_pruned_prefix(
    source: Checkpoint, calibration: Calibration
) -> None:
    """Every matrix's mask is the definition's for inputs through the blocks before it as they are in the result."""
    work = work_for(source, calibration)
    made = Width(pattern="2:4", samples=12).run(source, work)
    tokens = work.tokens(source)
    differs = 0
    for layer in range(3):
        mine = {n: source.tensor(n) for n in source.matrix_names() if int(n.split(".")[2]) >= layer}
        through_pruned = inputs_of(made.with_tensors(mine), tokens)  # blocks before `layer` pruned, the rest not
        through_dense = inputs_of(source, tokens)
        for name in [n for n in mine if n.startswith(f"model.layers.{layer}.")]:
            weight = np.abs(source.tensor(name))
            wanted, other = (
                slowly(weight * np.sqrt(np.square(x[name], dtype=np.float64).sum(0)).astype(np.float32), 2, 4)
                for x in (through_pruned, through_dense)
            )
            got = made.tensor(name) != 0
            assert (got != wanted).mean() < 1e-3, name  # sums in another order may swap a near tie
            differs += int((got != other).sum())
    assert differs > 50


def test_inputs_matter(source: Checkpoint, calibration: Calibration) -> None:
    wanda, magnitude = (
        Width(pattern="2:4", metric=m).run(source, work_for(source, calibration)) for m in ("wanda", "magnitude")
    )
    for name in source.matrix_names():
        assert np.array_equal(magnitude.tensor(name) != 0, slowly(np.abs(source.tensor(name)), 2, 4))
    assert any(not np.array_equal(wanda.tensor(n), magnitude.tensor(n)) for n in source.matrix_names())
    Width(pattern="2:4", metric="magnitude").run(source, Work(lambda: source))  # needs no text


def test_unstructured_is_a_share_of_every_row(source: Checkpoint, calibration: Calibration) -> None:
    made = Width(sparsity=0.3).run(source, work_for(source, calibration))
    for name in source.matrix_names():
        k = source.tensor(name).shape[1]
        assert made.patterns[name] == (round(0.3 * k), k)
        assert ((made.tensor(name) == 0).sum(axis=1) == round(0.3 * k)).all()
    halves = (made.tensor(source.matrix_names()[0]) == 0).reshape(-1, 4).sum(axis=1)
    assert len(set(halves)) > 2


def test_roles_and_branches(source: Checkpoint, calibration: Calibration) -> None:
    name = "model.layers.0.self_attn.q_proj.weight"
    branch = LowRank(np.ones((2, 48), np.float32), np.ones((32, 2), np.float32))
    model = source.with_tensors({}, branches={name: branch})
    made = Width(pattern="2:4", roles=("q", "down")).run(model, work_for(model, calibration))
    assert {n.split(".")[-2] for n in made.patterns} == {"q_proj", "down_proj"}
    assert np.array_equal(made.branches[name].a, branch.a)
    found = masks(made)
    assert set(found) == set(source.matrix_names())
    assert all((found[n] is None) == (n not in made.patterns) for n in found)


def test_a_second_pruning_keeps_the_stricter_pattern(source: Checkpoint, calibration: Calibration) -> None:
    strict = Width(pattern="3:4").run(source, work_for(source, calibration))
    again = Width(pattern="1:8").run(strict, work_for(strict, calibration))
    assert again.patterns == strict.patterns
    assert all(np.array_equal(again.tensor(n), strict.tensor(n)) for n in source.matrix_names())
    assert set(Width(pattern="7:8").run(strict, work_for(strict, calibration)).patterns.values()) == {(7, 8)}


def test_a_packed_matrix_keeps_its_other_codes(source: Checkpoint, calibration: Calibration) -> None:
    name = source.matrix_names()[0]
    tensor = quantize_matrix(source.tensor(name), 4, 16)[0]
    model = source.with_packed({name: tensor})
    made = Width(pattern="2:4").run(model, work_for(model, calibration))
    assert name in made.packed
    after = made.tensor(name)
    assert ((after.reshape(-1, 4) == 0).sum(axis=1) >= 2).all()
    assert np.array_equal(after[after != 0], model.tensor(name)[after != 0])


def test_codes_of_zero_points_and_of_grids_without_zero() -> None:
    rng = np.random.default_rng(0)
    codes = rng.integers(0, 16, (6, 32)).astype(np.uint8)
    tensor = quantize_matrix(rng.standard_normal((6, 32)).astype(np.float32), 4, 16)[0]
    points = rng.integers(0, 16, (6, 2)).astype(np.uint8)
    tensor = replace(tensor, packed=pack(codes, 4, 16), zero=points)
    kept = rng.random((6, 32)) < 0.5
    made = pruned_codes("w", tensor, kept).dequantized()
    assert not made[~kept].any() and np.array_equal(made[kept], tensor.dequantized()[kept])
    with pytest.raises(RecipeError, match="grid without a zero"):
        pruned_codes("w", replace(tensor, zero=points + np.uint8(16)), kept)


def test_same_data_same_bytes_and_a_killed_run_goes_on(
    source: Checkpoint, calibration: Calibration, tmp_path: Path
) -> None:
    whole = Width(pattern="4:8").run(source, work_for(source, calibration))

    def kill(message: str, done: int, total: int) -> None:
        if done == 2:
            raise KeyboardInterrupt

    killed = work_for(source, calibration, tmp_path)
    killed.say = kill
    with pytest.raises(KeyboardInterrupt):
        Width(pattern="4:8").run(source, killed)
    stamps = [(tmp_path / f"block{i}.npz").stat().st_mtime_ns for i in range(2)]
    again = Width(pattern="4:8").run(source, work_for(source, calibration, tmp_path))
    assert stamps == [(tmp_path / f"block{i}.npz").stat().st_mtime_ns for i in range(2)]
    for name in source.matrix_names():
        assert whole.tensor(name).tobytes() == again.tensor(name).tobytes()


def test_fewer_windows_if_the_text_has_no_more(source: Checkpoint, calibration: Calibration) -> None:
    work = work_for(source, calibration)
    Width(pattern="2:4").run(source, work)
    assert 12 < work.notes["samples"] < 128
    work = work_for(source, calibration)
    Width(pattern="2:4", samples=3, length=16).run(source, work)
    assert work.notes["samples"] == 3


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({}, "either a pattern"),
        ({"pattern": "2:4", "sparsity": 0.5}, "either a pattern"),
        ({"pattern": "4:2"}, "remove 2 of every 4"),
        ({"pattern": "4:4"}, "remove 2 of every 4"),
        ({"pattern": "0:4"}, "remove 2 of every 4"),
        ({"pattern": "half"}, "remove 2 of every 4"),
        ({"sparsity": 1.0}, "between 0 and 1"),
        ({"sparsity": -0.5}, "between 0 and 1"),
        ({"pattern": "2:4", "metric": "sum"}, "known: wanda, magnitude"),
        ({"pattern": "2:4", "roles": ("head",)}, "no role 'head'"),
        ({"pattern": "2:4", "roles": ()}, "at least one role"),
        ({"pattern": "2:4", "samples": 0}, "one sample"),
    ],
)
def test_impossible_options_are_one_sentence(options: dict[str, object], words: str) -> None:
    with pytest.raises(RecipeError, match=re.escape(words)) as caught:
        Width(**options)  # type: ignore[arg-type]
    assert "\n" not in str(caught.value)


def test_what_cannot_be_pruned_is_one_sentence(source: Checkpoint, tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match=r"48 inputs are not a multiple of 32"):
        Width(pattern="8:32").shape(source.config)
    with pytest.raises(RecipeError, match="removes 0 of the 48"):
        Width(sparsity=0.001).shape(source.config)
    (tmp_path / "short.txt").write_text("a few words")
    with pytest.raises(RecipeError, match="has 3 tokens"):
        Width(pattern="2:4").run(source, work_for(source, Calibration(str(tmp_path / "short.txt"), 4, 32)))
    damaged = source.tensor("model.layers.1.mlp.up_proj.weight") * np.float32(1e30)
    broken = source.with_tensors({"model.layers.1.mlp.up_proj.weight": damaged})
    (tmp_path / "long.txt").write_text("the cat sat " * 60)
    with pytest.raises(RecipeError, match="overflow"):
        Width(pattern="2:4").run(broken, work_for(broken, Calibration(str(tmp_path / "long.txt"), 2, 32)))
