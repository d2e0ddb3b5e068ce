"""The svd stage: products by each rule of ranks, shared and packed matrices, structure, resuming, refusals."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edgec.compress.folder import write_folder
from edgec.compress.low_rank import plain
from edgec.compress.ranks import break_even, rank_of_energy, rank_of_ratio
from edgec.compress.rtn import quantize_matrix
from edgec.compress.stage import Calibration
from edgec.compress.svd import Svd
from edgec.errors import RecipeError
from edgec.frontend.checkpoint import Checkpoint, LowRank
from edgec.frontend.load import load_checkpoint
from edgec.frontend.structure import factor_names
from tests.tiny_models import checkpoint, config
from tests.traced_models import product, work_for

torch = pytest.importorskip("torch", reason="torch runs the calibration text")

from edgec.compress.torch_model import load_torch  # noqa: E402

SHAPE: dict[str, Any] = {"hidden_dim": 32, "n_heads": 4, "head_dim": 8, "ffn_dim": 64, "n_layers": 3}
Q0 = "model.layers.0.self_attn.q_proj.weight"
DOWN = "model.layers.1.mlp.down_proj.weight"


@pytest.fixture(scope="module")
def source() -> Checkpoint:
    return checkpoint(config(**SHAPE))


@pytest.mark.parametrize("rank", [1, 5, 12])
def test_plain_is_the_truncated_svd_and_needs_no_text(source: Checkpoint, rank: int) -> None:
    work = work_for(source)
    made = Svd(rank=rank, basis="plain").run(source, work)
    for name in source.matrix_names():
        w = source.tensor(name).astype(np.float64)
        sizes = np.linalg.svd(w, compute_uv=False)
        if rank > break_even(*w.shape):
            assert name not in made.factors and np.array_equal(made.tensor(name), source.tensor(name))
            assert name in work.notes["dense"]
            continue
        a, b = (made.tensor(part) for part in factor_names(name))
        assert a.shape == (rank, w.shape[1]) and b.shape == (w.shape[0], rank) and a.dtype == b.dtype == np.float32
        lost = float(((w - product(made, name)) ** 2).sum())
        assert lost == pytest.approx(float((sizes[rank:] ** 2).sum()), rel=1e-4)
        assert work.notes["relative_error"][name] == pytest.approx((lost / (sizes**2).sum()) ** 0.5, rel=1e-3)
        assert work.notes["energy_kept"][name] == pytest.approx(1 - lost / (sizes**2).sum(), rel=1e-4)
    for name in source.config.tensor_shapes():
        if name not in source.matrix_names():
            assert np.array_equal(made.tensor(name), source.tensor(name)), name


def test_ranks_by_ratio_energy_and_multiples(source: Checkpoint) -> None:
    shapes = source.config.tensor_shapes()
    work = work_for(source)
    Svd(ratio=0.6, basis="plain").run(source, work)
    assert work.notes["ranks"] == {n: rank_of_ratio(*shapes[n], 0.6) for n in source.matrix_names()}
    work = work_for(source)
    Svd(ratio=0.6, basis="plain", multiple=4).run(source, work)
    assert {rank % 4 for rank in work.notes["ranks"].values()} == {0}
    work = work_for(source)
    made = Svd(energy=0.88, basis="plain").run(source, work)
    for name in source.matrix_names():
        sizes = np.linalg.svd(source.tensor(name).astype(np.float64), compute_uv=False)
        rank = rank_of_energy(sizes, 0.88)
        if rank > break_even(*shapes[name]):
            assert name in work.notes["dense"] and name not in made.factors
        else:
            assert made.factors[name] == rank and work.notes["energy_kept"][name] >= 0.88
    assert work.notes["dense"] and work.notes["ranks"]  # the tiny model has both kinds


def spread(source: Checkpoint) -> Checkpoint:
    """q and k nearly of rank 4, the others as they are: what a budget should find out."""
    made = {}
    for name in source.matrix_names():
        if name.endswith(("q_proj.weight", "k_proj.weight")):
            w = source.tensor(name)
            made[name] = (plain(w, 4).of_rank(4).product() + 0.02 * w).astype(np.float32)
    return source.with_tensors(made)


@pytest.mark.parametrize("sensitivity", ["gradient", "measured", "none"])
@pytest.mark.parametrize("basis", ["plain", "whitened"])
def test_a_budget_is_kept_and_spent_where_it_matters(
    source: Checkpoint, calibration: Calibration, sensitivity: str, basis: str
) -> None:
    model = spread(source)
    work = work_for(model, calibration)
    made = Svd(budget=0.7, basis=basis, sensitivity=sensitivity).run(model, work)
    shapes = model.config.tensor_shapes()
    dense = sum(int(np.prod(shapes[name])) for name in model.matrix_names())
    stored = sum(int(np.prod(made.tensor(name).shape)) for name in made.stored_matrices())
    figures = work.notes["budget"]
    assert figures["dense_parameters"] == dense and figures["parameters"] == stored
    assert 0.66 * dense < stored <= 0.7 * dense
    assert 0 <= figures["least_possible"] <= figures["estimated_loss"]
    assert figures["estimated_loss"] <= 1.1 * figures["least_possible"] + 1e-9
    ranks = work.notes["ranks"]
    low = [rank for name, rank in ranks.items() if name.endswith(("q_proj.weight", "k_proj.weight"))]
    if sensitivity != "measured":  # what a random model predicts of a random text tells little of its matrices
        assert len(low) == 6 and max(low) <= 6
    assert work.notes["dense"]


def test_what_was_measured_decides(
    source: Checkpoint, calibration: Calibration, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The matrix whose loss rises most keeps most, and one whose loss does not rise at all keeps least."""
    probed: dict[str, LowRank] = {}

    def losses(model: Any, tokens: Any, groups: dict[str, Any], probes: dict[str, LowRank], work: Any) -> Any:
        probed.update(probes)
        return dict.fromkeys(groups, 0.01) | {Q0: 1.0, DOWN: -0.5}

    monkeypatch.setattr("edgec.compress.sensitivity.loss_of_probe", losses)
    work = work_for(source, calibration)
    Svd(budget=0.6, basis="plain", sensitivity="measured").run(source, work)
    ranks = work.notes["ranks"]
    others = [rank for name, rank in ranks.items() if name.endswith("down_proj.weight") and name != DOWN]
    assert Q0 in work.notes["dense"] and ranks[DOWN] == 1 < min(others)
    for name, probe in probed.items():  # four fifths of the energy, or the most that is smaller than dense
        sizes = np.linalg.svd(source.tensor(name).astype(np.float64), compute_uv=False)
        assert probe.rank == min(rank_of_energy(sizes, 0.8), break_even(*source.tensor(name).shape))


def test_roles_and_blocks(source: Checkpoint) -> None:
    made = Svd(rank=4, basis="plain", roles=("q", "down"), blocks=("0:1", "2:3")).run(source, work_for(source))
    wanted = [f"model.layers.{i}.{r}_proj.weight" for i in (0, 2) for r in ("self_attn.q", "mlp.down")]
    assert list(made.factors) == wanted


def test_biases_stay_and_packed_pruned_and_branched_matrices_become_float_factors() -> None:
    model = checkpoint(config(**SHAPE), biases=True)
    w = model.tensor(Q0)
    pruned = np.where(np.arange(32) % 2, w, np.float32(0))
    model = model.with_tensors({Q0: pruned}, patterns={Q0: (1, 2)})
    model = model.with_packed({DOWN: quantize_matrix(model.tensor(DOWN), 4, 16)[0]})
    gate = "model.layers.1.mlp.gate_proj.weight"
    rng = np.random.default_rng(0)
    branch = LowRank(*(rng.standard_normal(s).astype(np.float32) for s in ((2, 32), (64, 2))))
    model = replace(model, branches={gate: branch})
    made = Svd(rank=6, basis="plain").run(model, work_for(model))
    assert not made.patterns and not made.packed and not made.branches
    for name in (Q0, DOWN, gate):
        exact = plain(model.effective(name), 6).of_rank(6).product()
        assert np.allclose(product(made, name), exact, atol=1e-5)
    bias = Q0.replace("weight", "bias")
    assert np.array_equal(made.tensor(bias), model.tensor(bias))


def test_what_is_a_product_already_stays(source: Checkpoint) -> None:
    once = Svd(rank=6, basis="plain", roles=("q",)).run(source, work_for(source))
    twice = Svd(rank=4, basis="plain").run(once, work_for(once))
    assert twice.factors[Q0] == 6 and twice.factors[DOWN] == 4
    assert np.array_equal(product(twice, Q0), product(once, Q0))
    with pytest.raises(RecipeError, match="products already"):
        Svd(rank=4, basis="plain", roles=("q",)).run(once, work_for(once))


def test_the_structure_is_known_without_weights(source: Checkpoint) -> None:
    for options in ({"rank": 7}, {"ratio": 0.5}, {"rank": 13}, {"ratio": 0.5, "roles": ("k", "up"), "multiple": 4}):
        stage = Svd(basis="plain", **options)  # type: ignore[arg-type]
        assert stage.structure(source.structure) == stage.run(source, work_for(source)).structure
        assert stage.shape(source.config) == source.config
    for rule in ("energy", "budget"):
        with pytest.raises(RecipeError, match=f"svd.{rule} gives ranks that depend on the weights; give rank or ratio"):
            Svd(**{rule: 0.5}).structure(source.structure)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "options", [{"budget": 0.6, "refit": True}, {"ratio": 0.5, "basis": "fisher"}, {"ratio": 0.5, "basis": "asvd"}]
)
def test_same_data_same_bytes_and_a_killed_run_goes_on(
    source: Checkpoint, calibration: Calibration, tmp_path: Path, options: dict[str, Any]
) -> None:
    shared = {"model.layers.2.mlp.up_proj.weight": "model.layers.0.mlp.up_proj.weight"}
    source = source.with_shared(shared)  # its statistics reach over the block at which the run is killed
    whole = Svd(**options).run(source, work_for(source, calibration))

    def kill(message: str, done: int, total: int) -> None:
        if message == "blocks" and done == 2:
            raise KeyboardInterrupt

    killed = work_for(source, calibration, tmp_path)
    killed.say = kill
    with pytest.raises(KeyboardInterrupt):
        Svd(**options).run(source, killed)
    kept = [tmp_path / f"block{layer}.npz" for layer in range(2)]
    stamps = [path.stat().st_mtime_ns for path in kept]
    again = Svd(**options).run(source, work_for(source, calibration, tmp_path))
    assert stamps == [path.stat().st_mtime_ns for path in kept]
    assert whole.factors == again.factors and whole.shared == again.shared
    for name in whole.stored_tensors():
        assert whole.tensor(name).tobytes() == again.tensor(name).tobytes(), name


def test_a_folder_gives_the_factors_back(source: Checkpoint, tmp_path: Path) -> None:
    made = Svd(ratio=0.5, basis="plain").run(source, work_for(source))
    write_folder(tmp_path, made)
    loaded = load_checkpoint(str(tmp_path))
    assert loaded.structure == made.structure
    for name in made.stored_tensors():
        assert np.array_equal(loaded.tensor(name), made.tensor(name)), name


def test_the_model_computes_with_the_products(source: Checkpoint) -> None:
    made = Svd(ratio=0.7, basis="plain").run(source, work_for(source))
    multiplied = source.with_tensors({name: made.tensor(name) for name in made.factors})
    tokens = torch.arange(24)[None] % 97
    with torch.no_grad():
        theirs, mine = load_torch(multiplied)(tokens), load_torch(made)(tokens)
    assert torch.allclose(theirs, mine, atol=1e-3 * float(theirs.abs().max()))


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({}, "one of rank, ratio, energy and budget, not none"),
        ({"rank": 4, "ratio": 0.5}, "not rank and ratio"),
        ({"rank": -4}, "at least 1"),
        ({"ratio": 1.0}, "svd.ratio is 1.0; it is a share"),
        ({"energy": -0.5}, "svd.energy is -0.5"),
        ({"budget": 1.5}, "svd.budget is 1.5"),
        ({"rank": 4, "multiple": 0}, "at least 1"),
        ({"rank": 4, "basis": "pca"}, "known: plain, asvd, whitened, fisher, drone"),
        ({"rank": 4, "sensitivity": "guess"}, "known: gradient, measured, none"),
        ({"rank": 4, "side": "top"}, "known: outputs, inputs, both"),
        ({"rank": 4, "samples": 0}, "at least 1 sample"),
        ({"rank": 4, "damp": -0.1}, "at least 0"),
        ({"rank": 4, "roles": ("head",)}, "no role 'head'"),
        ({"rank": 4, "roles": ("q+k",)}, "no role 'q+k'"),
        ({"rank": 4, "roles": ()}, "at least one role"),
        ({"rank": 4, "roles": ("q", "q")}, "each once"),
        ({"rank": 4, "blocks": ("4",)}, 'not "first:end"'),
        ({"rank": 4, "blocks": ("4:4",)}, 'not "first:end"'),
        ({"rank": 4, "blocks": ("0:2", "1:3")}, "0:2 and 1:3 overlap"),
    ],
)
def test_impossible_options_are_one_sentence(options: dict[str, Any], words: str) -> None:
    with pytest.raises(RecipeError, match=re.escape(words)) as caught:
        Svd(**options)
    assert "\n" not in str(caught.value)


def test_what_a_model_cannot_have_is_one_sentence(source: Checkpoint, tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match=r"rank 17 is more than .*k_proj.weight \[16, 32\] has: at most 16"):
        Svd(rank=17).shape(source.config)
    with pytest.raises(RecipeError, match="no matrix that svd takes is smaller at rank 16"):
        Svd(rank=16, roles=("q", "k")).shape(source.config)
    with pytest.raises(RecipeError, match="no matrix that svd takes is smaller at rank 64"):
        Svd(ratio=0.5, multiple=64).shape(source.config)
    with pytest.raises(RecipeError, match=r"svd.blocks 1:4 is outside the model, which has 3 blocks: 0:3"):
        Svd(rank=4, blocks=("1:4",)).shape(source.config)
    idle = replace(source.config, without_attention=(1,))
    with pytest.raises(RecipeError, match="the blocks that svd takes have no matrix of the roles q, k"):
        Svd(rank=4, roles=("q", "k"), blocks=("1:2",)).shape(idle)
    with pytest.raises(RecipeError, match="needs a calibration text"):
        Svd(rank=4).run(source, work_for(source))
    with pytest.raises(RecipeError, match=r"raise svd.budget"):
        Svd(budget=0.01, basis="plain", sensitivity="none").run(source, work_for(source))
    (tmp_path / "long.txt").write_text("the cat sat " * 60)
    up = "model.layers.1.mlp.up_proj.weight"
    broken = source.with_tensors({up: np.full_like(source.tensor(up), 3e38)})
    for options in ({"basis": "whitened", "guided": False}, {"basis": "fisher"}, {"basis": "asvd"}):
        with pytest.raises(RecipeError, match="overflow"):
            Svd(rank=4, **options).run(broken, work_for(broken, Calibration(str(tmp_path / "long.txt"), 2, 32)))
