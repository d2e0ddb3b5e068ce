"""The global_fact stage: each start on the model's matrices, one shared factor, outputs, sizes and refusals."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edgec.compress.folder import write_folder
from edgec.compress.global_fact import GlobalFact
from edgec.compress.rtn import quantize_matrix
from edgec.compress.shared_factor import STARTS, left_factors, start
from edgec.compress.sizes import size_of
from edgec.compress.stage import Calibration, Work
from edgec.errors import RecipeError
from edgec.frontend.checkpoint import Checkpoint, LowRank
from edgec.frontend.load import load_checkpoint
from edgec.frontend.structure import factor_names
from tests.tiny_models import checkpoint, config

SHAPE: dict[str, Any] = {"hidden_dim": 32, "n_heads": 4, "head_dim": 8, "ffn_dim": 64, "n_layers": 6}


def name_of(layer: int, role: str = "self_attn.q") -> str:
    return f"model.layers.{layer}.{role}_proj.weight"


@pytest.fixture(scope="module")
def source() -> Checkpoint:
    return checkpoint(config(**SHAPE))


def run(
    model: Checkpoint, calibration: Calibration | None = None, partial: Path | None = None, **options: Any
) -> tuple[Checkpoint, dict[str, Any]]:
    work = Work(lambda: model, calibration or Calibration(), partial=partial)
    return GlobalFact(**options).run(model, work), work.notes


def exact(model: Checkpoint, names: list[str]) -> list[np.ndarray]:
    return [model.effective(name).astype(np.float64) for name in names]


def lost(model: Checkpoint, made: Checkpoint, names: list[str]) -> float:
    return sum(float(((model.effective(n).astype(np.float64) - made.tensor(n)) ** 2).sum()) for n in names)


@pytest.mark.parametrize("init", STARTS)
def test_each_start_gives_its_products_and_one_shared_factor(source: Checkpoint, init: str) -> None:
    made, notes = run(source, rank=5, init=init, roles=("q", "down"), blocks=("1:5",))
    for role in ("self_attn.q", "mlp.down"):
        names = [name_of(i, role) for i in range(1, 5)]
        matrices = exact(source, names)
        g = start(init, matrices, 5, 0)
        for name, left in zip(names, left_factors(matrices, g), strict=True):
            a, b = factor_names(name)
            assert made.owner(a) == factor_names(names[0])[0] and made.owner(b) == b
            assert np.allclose(made.tensor(a), g, atol=1e-6) and np.allclose(made.tensor(b), left, atol=1e-5)
        power = sum(float((w**2).sum()) for w in matrices)
        wanted = (lost(source, made, names) / power) ** 0.5
        assert notes["relative_error"][names[0]] == pytest.approx(wanted, rel=1e-3)
    assert set(made.factors) == {name_of(i, role) for i in range(1, 5) for role in ("self_attn.q", "mlp.down")}
    parameters = size_of(source)["parameters"] - size_of(made)["parameters"]
    assert parameters == 4 * 32 * (32 + 64) - (4 * 2 * 32 * 5 + 5 * (32 + 64))


def test_the_stacked_optimum_loses_least_and_rounds_bring_the_others_to_it(source: Checkpoint) -> None:
    names = [name_of(i, "mlp.up") for i in range(1, 5)]
    missed = {init: lost(source, run(source, rank=6, init=init, roles=("up",))[0], names) for init in STARTS}
    sizes = np.linalg.svd(np.concatenate(exact(source, names)), compute_uv=False)
    assert missed["stacked"] == pytest.approx(float((sizes[6:] ** 2).sum()), rel=1e-5)
    assert all(missed["stacked"] < missed[init] for init in ("sum", "mean", "cluster"))
    for init in ("sum", "mean", "cluster"):
        few, many = (
            lost(source, run(source, rank=6, init=init, roles=("up",), pretrain=n)[0], names) for n in (2, 200)
        )
        assert missed["stacked"] * 0.9999 < many < few < missed[init]
        assert many < 1.02 * missed["stacked"]


def test_outputs_are_fitted_to_the_models_own_inputs(source: Checkpoint, calibration: Calibration) -> None:
    torch = pytest.importorskip("torch", reason="torch runs the calibration text")
    from edgec.compress.torch_model import load_torch

    names = [name_of(i, "mlp.down") for i in range(1, 5)]
    module, found = load_torch(source), {}
    for name in names:
        module.linear(name).register_forward_hook(lambda m, x, y, n=name: found.update({n: x[0]}))
    work = Work(lambda: source, calibration)
    with torch.no_grad():
        module(torch.from_numpy(work.tokens(source, 32, at_most=True)))
    found = {name: x.flatten(0, -2).numpy() for name, x in found.items()}

    def missed(made: Checkpoint) -> float:
        return sum(float((((source.tensor(n) - made.tensor(n)) @ found[n].T) ** 2).sum()) for n in names)

    options: dict[str, Any] = {"rank": 6, "roles": ("down",)}
    fitted, notes = run(source, calibration, pretrain=10, objective="outputs", **options)
    assert missed(fitted) < 0.95 * missed(run(source, **options)[0])
    power = sum(float(((source.tensor(n) @ found[n].T) ** 2).sum()) for n in names)
    assert notes["relative_error"][names[0]] == pytest.approx((missed(fitted) / power) ** 0.5, rel=1e-3)


def test_a_killed_run_goes_on_and_gives_the_same_bytes(source: Checkpoint, tmp_path: Path) -> None:
    options: dict[str, Any] = {"rank": 5, "init": "cluster", "pretrain": 2}
    whole, notes = run(source, **options)

    def kill(message: str, done: int, total: int) -> None:
        if message == "groups" and done == 3:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        GlobalFact(**options).run(source, Work(lambda: source, partial=tmp_path, say=kill))
    stamps = [(tmp_path / f"group{i}.npz").stat().st_mtime_ns for i in range(3)]
    again, after = run(source, partial=tmp_path, **options)
    assert stamps == [(tmp_path / f"group{i}.npz").stat().st_mtime_ns for i in range(3)] and after == notes
    for name in whole.stored_tensors():
        assert whole.tensor(name).tobytes() == again.tensor(name).tobytes(), name


def test_ratio_counts_the_group_and_ranks_above_break_even_stay_dense(source: Checkpoint) -> None:
    made, notes = run(source, ratio=0.5, roles=("q",), blocks=("1:5",))
    rank = made.factors[name_of(1)]
    assert rank * (4 * 32 + 32) <= 0.5 * 4 * 32 * 32 < (rank + 1) * (4 * 32 + 32)
    made, _ = run(source, ratio=0.5, roles=("q",), multiple=4)
    assert made.factors[name_of(1)] % 4 == 0
    made, notes = run(source, ratio=0.95, roles=("k",), blocks=("0:6",))  # more than k's 16 rows have
    assert notes["ranks"] == {name_of(0, "self_attn.k"): 16}
    made, notes = run(source, rank=13, roles=("q", "k"), blocks=("0:2",))  # k: 2 x 16 x 32 breaks even at 16
    assert set(notes["ranks"]) == {name_of(0), name_of(0, "self_attn.k")}
    made, notes = run(source, rank=16, roles=("q", "k"), blocks=("0:2",))
    assert set(notes["ranks"]) == {name_of(0)} and name_of(0, "self_attn.k") not in made.factors


def test_roles_with_the_same_inputs_share_and_parts_do_not(source: Checkpoint) -> None:
    made, notes = run(source, rank=6, roles=("q+k+v",), size=2, blocks=("0:6",))
    assert len(notes["members"]) == 3 and len(notes["members"][name_of(2)]) == 6
    stored = {made.owner(factor_names(name)[0]) for name in made.factors}
    assert stored == {factor_names(name_of(i))[0] for i in (0, 2, 4)}
    assert made.tensor(factor_names(name_of(1, "self_attn.k"))[1]).shape == (16, 6)


def test_packed_pruned_branched_and_shared_members_become_float_products(source: Checkpoint) -> None:
    names = [name_of(i) for i in range(1, 5)]
    model = source.with_packed({names[0]: quantize_matrix(source.tensor(names[0]), 4, 16)[0]})
    pruned = np.where(np.arange(32) % 2, source.tensor(names[1]), np.float32(0))
    rng = np.random.default_rng(0)
    branch = LowRank(*(rng.standard_normal(s).astype(np.float32) for s in ((2, 32), (32, 2))))
    model = model.with_tensors({names[1]: pruned}, patterns={names[1]: (1, 2)}, branches={names[2]: branch})
    model = model.with_shared({names[3]: names[2]})
    stage: dict[str, Any] = {"rank": 5, "roles": ("q",)}
    made, _ = run(model, **stage)
    assert not made.packed and not made.patterns and not made.branches
    matrices = exact(model, names)
    g = start("stacked", matrices, 5)
    for name, left in zip(names, left_factors(matrices, g), strict=True):
        assert np.allclose(made.tensor(name), left @ g, atol=1e-4)
    assert made.owner(names[3]) == names[3]
    assert GlobalFact(**stage).structure(model.structure) == made.structure


def test_the_structure_is_known_without_weights(source: Checkpoint) -> None:
    for options in ({"rank": 5}, {"ratio": 0.4, "roles": ("k+v", "down")}, {"rank": 16, "blocks": ("0:2",)}):
        stage = GlobalFact(**options)  # type: ignore[arg-type]
        assert stage.structure(source.structure) == stage.run(source, Work(lambda: source)).structure


def test_a_folder_gives_the_factors_back(source: Checkpoint, tmp_path: Path) -> None:
    made, _ = run(source, rank=5)
    write_folder(tmp_path, made)
    loaded = load_checkpoint(str(tmp_path))
    assert loaded.structure == made.structure
    for name in made.stored_tensors():
        assert np.array_equal(loaded.tensor(name), made.tensor(name)), name


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({}, "either a rank or a ratio"),
        ({"rank": 4, "ratio": 0.5}, "either a rank or a ratio"),
        ({"rank": -1}, "at least 1"),
        ({"ratio": 1.5}, "global_fact.ratio is 1.5"),
        ({"rank": 4, "init": "random"}, "known: stacked, sum, mean, cluster"),
        ({"rank": 4, "objective": "loss", "pretrain": 1}, "known: weights, outputs"),
        ({"rank": 4, "objective": "outputs"}, "give pretrain"),
        ({"rank": 4, "pretrain": -1}, "pretrain at least 0"),
        ({"rank": 4, "size": 1}, "at least 2 blocks"),
        ({"rank": 4, "roles": ("embed",)}, "no role 'embed'"),
        ({"rank": 4, "blocks": ("1-4",)}, 'not "first:end"'),
    ],
)
def test_impossible_options_are_one_sentence(options: dict[str, Any], words: str) -> None:
    with pytest.raises(RecipeError, match=re.escape(words)) as caught:
        GlobalFact(**options)
    assert "\n" not in str(caught.value)


def test_what_a_model_cannot_have_is_one_sentence(source: Checkpoint) -> None:
    with pytest.raises(RecipeError, match=r"rank 17 is more than .*k_proj.* at most 16"):
        GlobalFact(rank=17, roles=("k",)).shape(source.config)
    with pytest.raises(RecipeError, match="no group of global_fact is smaller at rank 16"):
        GlobalFact(rank=16, roles=("k",), blocks=("0:2",)).shape(source.config)
    with pytest.raises(RecipeError, match=r"cannot group .* numbers of inputs differ"):
        GlobalFact(rank=4, roles=("up+down",)).shape(source.config)
    with pytest.raises(RecipeError, match=r"cannot group .*q_proj.* shapes differ"):
        GlobalFact(rank=4, roles=("q+k",), init="sum").shape(source.config)
    with pytest.raises(RecipeError, match=r"global_fact.blocks 4:9 is outside the model"):
        GlobalFact(rank=4, blocks=("4:9",)).shape(source.config)
    made, _ = run(source, rank=4, roles=("q",))
    with pytest.raises(RecipeError, match="is a product already, so put global_fact first"):
        run(made, rank=4, roles=("q",))
