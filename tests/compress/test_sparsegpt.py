"""SparseGPT: better than WANDA on its own objective, exact masks, resumable, built and exact."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest

from edgec.compress.blocks import with_blocks
from edgec.compress.counts import dry_run
from edgec.compress.rtn import quantize_matrix
from edgec.compress.sizes import size_of
from edgec.compress.sparsegpt import SparseGpt
from edgec.compress.stage import Calibration
from edgec.compress.width import Width
from edgec.errors import RecipeError
from edgec.frontend.checkpoint import Checkpoint, LowRank
from edgec.recipe import Recipe
from edgec.verify.chain import verify
from tests import tiny_models
from tests.tiny_models import checkpoint, config
from tests.traced_models import work_for

torch = pytest.importorskip("torch", reason="torch runs the calibration text")

from edgec.compress.gptq import damped, error  # noqa: E402
from edgec.compress.obs import prune  # noqa: E402
from edgec.compress.torch_model import load_torch  # noqa: E402

PATTERNS = ("1:2", "2:4", "3:4", "1:8", "4:8", "8:16", "24:48")


@pytest.fixture(scope="module")
def source() -> Checkpoint:
    return checkpoint(config(hidden_dim=48, ffn_dim=96, head_dim=12, n_layers=3))


@pytest.mark.parametrize("pattern", PATTERNS)
def test_masks_are_exact_and_recorded(source: Checkpoint, calibration: Calibration, pattern: str) -> None:
    removed, of = map(int, pattern.split(":"))
    work = work_for(source, calibration)
    made = SparseGpt(pattern=pattern).run(source, work)
    assert set(made.patterns) == set(source.matrix_names()) == set(work.notes["errors"])
    for name in source.matrix_names():
        assert made.patterns[name] == (removed, of)
        assert ((made.tensor(name).reshape(-1, of) == 0).sum(1) == removed).all()
    rest = [name for name in source.config.tensor_shapes() if name not in made.patterns]
    assert all(np.array_equal(made.tensor(name), source.tensor(name)) for name in rest)


def test_less_of_the_outputs_is_lost_than_by_wanda_or_magnitude(
    source: Checkpoint, calibration: Calibration, tmp_path: Path
) -> None:
    """In every matrix, on the inputs that it has in the pruned model, at each pattern."""
    for number, options in enumerate([{"pattern": "2:4"}, {"pattern": "4:8"}, {"sparsity": 0.5}]):
        work = work_for(source, calibration)
        tokens = torch.from_numpy(work.tokens(source, 128, at_most=True))
        made = SparseGpt(**options).run(source, work)  # type: ignore[arg-type]
        others = [
            Width(metric=metric, **options).run(source, work_for(source, calibration))  # type: ignore[arg-type]
            for metric in ("wanda", "magnitude")
        ]
        for layer in range(3):
            # Blocks before this one as SparseGPT left them: the inputs on which its matrices were fitted.
            mine = {n: source.tensor(n) for n in source.matrix_names() if int(n.split(".")[2]) >= layer}
            moments = second_moments(made.with_tensors(mine), tokens)
            for name in [n for n in mine if n.startswith(f"model.layers.{layer}.")]:
                w = torch.from_numpy(source.tensor(name)).double()
                lost, *rest = (
                    error(w, torch.from_numpy(m.tensor(name)).double(), moments[name]) for m in (made, *others)
                )
                assert lost < 0.9 * min(rest), (number, name, lost, rest)
                assert lost == pytest.approx(work.notes["errors"][name], rel=1e-3)


def second_moments(model: Checkpoint, tokens: torch.Tensor) -> dict[str, torch.Tensor]:
    """X X^T of every matrix when the whole model runs."""
    module, found = load_torch(model), {}

    def watch(name: str):  # type: ignore[no-untyped-def]
        def hook(matrix, inputs, output) -> None:  # type: ignore[no-untyped-def]
            x = inputs[0].flatten(0, -2).double()
            found[name] = x.T @ x

        return hook

    for name, matrix in module.matrices():
        matrix.register_forward_hook(watch(name))
    with torch.no_grad():
        module(tokens)
    return found


def test_guided_minds_the_tokens_that_the_loss_minds(source: Checkpoint, calibration: Calibration) -> None:
    plain, guided = (
        SparseGpt(pattern="2:4", guided=g).run(source, work_for(source, calibration)) for g in (False, True)
    )
    name = source.matrix_names()[-1]
    assert not np.array_equal(plain.tensor(name), guided.tensor(name))
    assert ((guided.tensor(name).reshape(-1, 4) == 0).sum(1) == 2).all()


def test_a_second_pruning_keeps_the_stricter_pattern(source: Checkpoint, calibration: Calibration) -> None:
    strict = Width(pattern="3:4").run(source, work_for(source, calibration))
    again = SparseGpt(pattern="2:4").run(strict, work_for(strict, calibration))
    assert again.patterns == strict.patterns
    for name in source.matrix_names():
        assert np.array_equal(again.tensor(name) != 0, strict.tensor(name) != 0)
    looser = Width(pattern="1:4").run(source, work_for(source, calibration))
    again = SparseGpt(pattern="2:4", roles=("q", "down")).run(looser, work_for(looser, calibration))
    for name in source.matrix_names():
        zeros = (again.tensor(name).reshape(-1, 4) == 0).sum(1)
        assert (zeros == (2 if name.split(".")[-2] in ("q_proj", "down_proj") else 1)).all()
        assert not again.tensor(name)[looser.tensor(name) == 0].any()


def test_shared_matrices_are_fitted_to_all_their_users(
    source: Checkpoint, calibration: Calibration, tmp_path: Path
) -> None:
    """Blocks 0 and 1 run twice: pruned once, after their last use, on the inputs of both; factors like matrices."""
    q = "model.layers.0.self_attn.q_proj.weight"
    rng = np.random.default_rng(0)
    product = LowRank(*(rng.standard_normal(s).astype(np.float32) for s in ((12, 48), (48, 12))))
    model = with_blocks(source.with_factors({q: product}), [0, 1, 0, 1])
    work = work_for(model, calibration)
    made = SparseGpt(pattern="2:4").run(model, work)
    assert set(made.patterns) == set(model.stored_matrices()) == set(work.notes["errors"])
    assert set(made.shared) == set(model.shared)
    for name in model.stored_matrices():
        assert ((made.tensor(name).reshape(-1, 4) == 0).sum(1) == 2).all()
    moments = second_moments(model, torch.from_numpy(work.tokens(model, 128, at_most=True)))
    name = "model.layers.0.mlp.up_proj.weight"
    both = moments[name] + moments[name.replace("layers.0", "layers.2")]
    w = torch.from_numpy(model.tensor(name))
    wanted = prune(w, damped(both / both.diagonal().mean(), 0.01), 2, 4)
    assert np.allclose(made.tensor(name), wanted.numpy(), atol=1e-4)

    def kill(message: str, done: int, total: int) -> None:
        if done == 3:
            raise KeyboardInterrupt

    killed = work_for(model, calibration, tmp_path)
    killed.say = kill
    with pytest.raises(KeyboardInterrupt):
        SparseGpt(pattern="2:4").run(model, killed)
    again = SparseGpt(pattern="2:4").run(model, work_for(model, calibration, tmp_path))
    assert all(again.tensor(n).tobytes() == made.tensor(n).tobytes() for n in model.stored_matrices())


def test_sizes_are_known_without_weights(source: Checkpoint, calibration: Calibration) -> None:
    for options in ({"pattern": "4:8"}, {"sparsity": 0.3}, {"pattern": "2:4", "roles": ("gate", "up")}):
        stage = SparseGpt(**options)  # type: ignore[arg-type]
        promised = dry_run(source.config, Recipe(stages=(stage,)))[-1]
        found = size_of(stage.run(source, work_for(source, calibration)))
        assert (promised.nonzero, promised.bytes) == (found["nonzero"], found["bytes"])


def test_a_packed_model_is_taken_off_its_grid_unless_a_stage_made_it(
    source: Checkpoint, calibration: Calibration
) -> None:
    name = source.matrix_names()[0]
    arrived = source.with_packed({name: quantize_matrix(source.tensor(name), 4, 16)[0]})
    work = work_for(arrived, calibration)
    made = SparseGpt(pattern="2:4").run(arrived, work)
    assert name not in made.packed and work.notes["dequantised"] == [name]
    assert ((made.tensor(name).reshape(-1, 4) == 0).sum(1) == 2).all()
    by_stage = arrived.with_tensors({}, packed=arrived.packed, stages=({"method": "quantize"},))
    with pytest.raises(RecipeError, match="put it before quantize"):
        SparseGpt(pattern="2:4").run(by_stage, work_for(by_stage, calibration))


def test_a_killed_run_goes_on_to_the_same_bytes(source: Checkpoint, calibration: Calibration, tmp_path: Path) -> None:
    whole = SparseGpt(pattern="4:8").run(source, work_for(source, calibration))

    def kill(message: str, done: int, total: int) -> None:
        if done == 2:
            raise KeyboardInterrupt

    killed = work_for(source, calibration, tmp_path)
    killed.say = kill
    with pytest.raises(KeyboardInterrupt):
        SparseGpt(pattern="4:8").run(source, killed)
    stamps = [(tmp_path / f"block{i}.npz").stat().st_mtime_ns for i in range(2)]
    again = SparseGpt(pattern="4:8").run(source, work_for(source, calibration, tmp_path))
    assert stamps == [(tmp_path / f"block{i}.npz").stat().st_mtime_ns for i in range(2)]
    for name in source.matrix_names():
        assert whole.tensor(name).tobytes() == again.tensor(name).tobytes()


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({}, "either a pattern"),
        ({"pattern": "2:4", "sparsity": 0.5}, "either a pattern"),
        ({"pattern": "4:2"}, "sparsegpt.pattern '4:2'"),
        ({"sparsity": 1.5}, "between 0 and 1"),
        ({"pattern": "2:4", "roles": ("head",)}, "no role 'head'"),
        ({"pattern": "2:4", "roles": ()}, "needs a role"),
        ({"pattern": "2:4", "samples": 0}, "a sample"),
        ({"pattern": "2:4", "damp": 0.0}, "between 0 and 1"),
        ({"pattern": "2:4", "block": 0}, "block at least 1"),
    ],
)
def test_impossible_options_are_one_sentence(options: dict[str, object], words: str) -> None:
    with pytest.raises(RecipeError, match=re.escape(words)) as caught:
        SparseGpt(**options)  # type: ignore[arg-type]
    assert "\n" not in str(caught.value)


def test_what_cannot_be_pruned_is_one_sentence(source: Checkpoint, tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match="48 inputs are not a multiple of 32"):
        SparseGpt(pattern="8:32").shape(source.config)
    damaged = source.tensor("model.layers.1.mlp.up_proj.weight") * np.float32(1e30)
    broken = source.with_tensors({"model.layers.1.mlp.up_proj.weight": damaged})
    (tmp_path / "long.txt").write_text("the cat sat " * 60)
    with pytest.raises(RecipeError, match="overflow"):
        SparseGpt(pattern="2:4").run(broken, work_for(broken, Calibration(str(tmp_path / "long.txt"), 2, 32)))


def test_built_packed_and_exact_on_the_host(calibration: Calibration, tmp_path: Path, objects: Path) -> None:
    source = checkpoint(config(hidden_dim=64, ffn_dim=96, head_dim=16, tied_embeddings=True))
    recipe = tiny_models.recipe(4, 32)
    made = Recipe(recipe.quantize, recipe.build, (SparseGpt(pattern="2:4", samples=4),), calibration)
    artifact = tiny_models.built(source, tmp_path / "out", objects, made=made)
    assert "matmul_w4a8_nm" in {node.op for node in artifact.graphs["decode"].nodes}
    with tiny_models.quick(source, objects):
        found = verify(artifact, ("simulator", "host"))["backends"]
    assert found["simulator"]["mismatches"] == found["host"]["mismatches"] == 0
