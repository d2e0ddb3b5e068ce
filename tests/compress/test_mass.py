"""The mass stage: means from members alone, in full precision, stored once; medoids exactly; groups and refusals."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edgec.compress.folder import write_folder
from edgec.compress.mass import Mass
from edgec.compress.rtn import quantize_matrix
from edgec.compress.sizes import size_of
from edgec.compress.stage import Work
from edgec.compress.svd import Svd
from edgec.errors import RecipeError
from edgec.frontend.checkpoint import Checkpoint, LowRank
from edgec.frontend.load import load_checkpoint
from tests.tiny_models import checkpoint, config

SHAPE: dict[str, Any] = {"hidden_dim": 32, "n_heads": 4, "head_dim": 8, "ffn_dim": 64, "n_layers": 6}


def name_of(layer: int, role: str = "self_attn.q") -> str:
    return f"model.layers.{layer}.{role}_proj.weight"


@pytest.fixture(scope="module")
def source() -> Checkpoint:
    return checkpoint(config(**SHAPE))


def run(model: Checkpoint, **options: Any) -> tuple[Checkpoint, dict[str, Any]]:
    work = Work(lambda: model)
    return Mass(**options).run(model, work), work.notes


def test_a_range_stores_one_matrix_the_mean_of_its_members_and_of_nothing_else(source: Checkpoint) -> None:
    made, notes = run(source, roles=("q", "down"), blocks=("1:5",))
    for role in ("self_attn.q", "mlp.down"):
        exact = np.mean([source.tensor(name_of(i, role)).astype(np.float64) for i in range(1, 5)], axis=0)
        for layer in range(6):
            name = name_of(layer, role)
            if 1 <= layer < 5:
                assert made.owner(name) == name_of(1, role)
                assert np.array_equal(made.tensor(name), exact.astype(np.float32))
            else:
                assert made.owner(name) == name and np.array_equal(made.tensor(name), source.tensor(name))
        miss = sum(((source.tensor(name_of(i, role)) - exact) ** 2).sum() for i in range(1, 5))
        power = sum((source.tensor(name_of(i, role)).astype(np.float64) ** 2).sum() for i in range(1, 5))
        assert notes["relative_error"][name_of(1, role)] == pytest.approx((miss / power) ** 0.5, rel=1e-3)
    untouched = [n for n in source.config.tensor_shapes() if not n.endswith(("q_proj.weight", "down_proj.weight"))]
    assert all(np.array_equal(made.tensor(name), source.tensor(name)) for name in untouched)
    saved = 3 * (32 * 32 + 32 * 64)
    assert size_of(source)["parameters"] - size_of(made)["parameters"] == saved
    assert size_of(source)["bytes"] - size_of(made)["bytes"] == 2 * saved


def test_the_source_is_left_alone(source: Checkpoint) -> None:
    """The public code averages in place, which overwrites the first layer's weights."""
    before = {name: source.tensor(name).copy() for name in source.matrix_names()}
    run(source)
    run(source, by="medoid")
    assert all(np.array_equal(source.tensor(name), each) for name, each in before.items())


def test_the_mean_is_taken_in_full_precision() -> None:
    model = checkpoint(config(**SHAPE))
    values = [1.0, 2.0**-24, 2.0**-24, 2.0**-24]  # float32 sums from the left lose all but the first
    model = model.with_tensors({name_of(i): np.full((32, 32), v, np.float32) for i, v in enumerate(values)})
    made, _ = run(model, roles=("q",), blocks=("0:4",))
    assert made.tensor(name_of(2))[0, 0] == np.float32((1 + 3 * 2.0**-24) / 4) != np.float32(0.25)


def test_weighted_mean_and_medoid_are_their_definitions(source: Checkpoint) -> None:
    matrices = [source.tensor(name_of(i)).astype(np.float64) * (1 + abs(i - 3)) for i in range(6)]
    model = source.with_tensors({name_of(i): w.astype(np.float32) for i, w in enumerate(matrices)})
    matrices = [model.tensor(name_of(i)).astype(np.float64) for i in range(6)]
    made, _ = run(model, roles=("q",), blocks=("0:6",), by="weighted")
    norms = [np.sqrt((w**2).sum()) for w in matrices]
    wanted = sum(norm * w for norm, w in zip(norms, matrices, strict=True)) / sum(norms)
    assert np.allclose(made.tensor(name_of(3)), wanted, rtol=1e-6)
    made, notes = run(model, roles=("q",), blocks=("0:6",), by="medoid")
    far = [sum(np.sqrt(((w - other) ** 2).sum()) for other in matrices) for w in matrices]
    best = int(np.argmin(far))
    assert notes["medoid"] == {name_of(0): name_of(best)} and best != 0
    assert np.array_equal(made.tensor(name_of(5)), model.tensor(name_of(best)))


def test_zero_matrices_have_a_mean() -> None:
    model = checkpoint(config(**SHAPE))
    model = model.with_tensors({name_of(i): np.zeros((32, 32), np.float32) for i in range(6)})
    for by in ("mean", "weighted", "medoid"):
        made, notes = run(model, roles=("q",), by=by)
        assert not made.tensor(name_of(2)).any() and notes["relative_error"][name_of(1)] == 0


def test_ranges_parts_and_roles_together(source: Checkpoint) -> None:
    made, notes = run(source, roles=("q",), blocks=("0:2", "3:6"))
    assert made.shared == {name_of(1): name_of(0), name_of(4): name_of(3), name_of(5): name_of(3)}
    made, notes = run(source, roles=("q",), blocks=("0:5",), size=2)
    assert notes["members"] == {name_of(0): [name_of(0), name_of(1)], name_of(2): [name_of(2), name_of(3)]}
    assert name_of(4) not in made.shared  # alone in its part
    made, _ = run(source, roles=("k+v",))
    stored = {made.owner(name_of(i, role)) for i in range(1, 5) for role in ("self_attn.k", "self_attn.v")}
    assert stored == {name_of(1, "self_attn.k")}
    made, notes = run(source)  # by default all but the first and the last
    assert set(made.shared) == {n for n in source.matrix_names() if n.split(".")[2] in "234"}


def test_means_are_float_and_medoids_keep_codes_zeros_and_effective_weights(source: Checkpoint) -> None:
    model = source.with_packed({name_of(i): quantize_matrix(source.tensor(name_of(i)), 4, 16)[0] for i in range(6)})
    up = [name_of(i, "mlp.up") for i in range(6)]
    pruned = {name: np.where(np.arange(32) % 2, source.tensor(name), np.float32(0)) for name in up}
    model = model.with_tensors(pruned, patterns=dict.fromkeys(pruned, (1, 2)))
    rng = np.random.default_rng(0)
    branch = LowRank(*(rng.standard_normal(s).astype(np.float32) for s in ((2, 32), (64, 2))))
    gate = [name_of(i, "mlp.gate") for i in range(6)]
    model = model.with_tensors({}, branches={gate[2]: branch})
    made, _ = run(model, roles=("q", "up", "gate"))
    assert set(made.packed) == {name_of(0), name_of(5)} and set(made.patterns) == {up[0], up[5]}
    assert not made.branches
    exact = np.mean([model.effective(name).astype(np.float64) for name in gate[1:5]], axis=0)
    assert np.allclose(made.tensor(gate[3]), exact, atol=1e-6)
    made, notes = run(model, roles=("q", "up", "gate"), by="medoid")
    chosen = notes["medoid"][name_of(1)]
    assert np.array_equal(made.packed[name_of(1)]().packed, model.packed[chosen]().packed)
    assert np.array_equal(made.tensor(name_of(4)), model.tensor(chosen))
    assert set(made.packed) == {name_of(i) for i in (0, 1, 5)}
    assert made.patterns == dict.fromkeys((up[0], up[5], up[1]), (1, 2))
    assert not made.branches
    assert np.array_equal(made.tensor(gate[1]), model.effective(notes["medoid"][gate[1]]))


def test_a_medoid_with_a_branch_is_what_both_are_together(source: Checkpoint) -> None:
    rng = np.random.default_rng(0)
    names = [name_of(i) for i in range(1, 5)]
    branches = {n: LowRank(*(rng.standard_normal((2, 32)[::d]).astype(np.float32) for d in (1, -1))) for n in names}
    model = source.with_packed({n: quantize_matrix(source.tensor(n), 4, 16)[0] for n in names}, branches=branches)
    made, notes = run(model, roles=("q",), by="medoid")
    assert not made.packed and not made.branches
    assert np.array_equal(made.tensor(names[3]), model.effective(notes["medoid"][names[0]]))


def test_sharing_again_and_what_reaches_outside(source: Checkpoint) -> None:
    pairs, _ = run(source, roles=("q",), blocks=("0:6",), size=2)
    made, _ = run(pairs, roles=("q",), blocks=("0:6",))
    exact = np.mean([source.tensor(name_of(i)).astype(np.float64) for i in range(6)], axis=0)
    assert np.allclose(made.tensor(name_of(5)), exact, atol=1e-6)
    assert {made.owner(name_of(i)) for i in range(6)} == {name_of(0)}
    with pytest.raises(RecipeError, match=re.escape(f"cannot take {name_of(1)} without {name_of(0)}")):
        run(pairs, roles=("q",), blocks=("1:6",))
    factored = Svd(rank=4, basis="plain", roles=("q",)).run(source, Work(lambda: source))
    with pytest.raises(RecipeError, match=f"{name_of(1)} is a product already, so put mass first"):
        run(factored)


def test_the_structure_is_known_without_weights(source: Checkpoint) -> None:
    pairs, _ = run(source, roles=("q", "up"), blocks=("0:6",), size=2)
    for model, options in (
        (source, {}),
        (source, {"roles": ("k+v", "o"), "blocks": ("0:2", "2:6")}),
        (pairs, {"roles": ("q",), "blocks": ("0:4",)}),
    ):
        stage = Mass(**options)  # type: ignore[arg-type]
        assert stage.structure(model.structure) == stage.run(model, Work(lambda: source)).structure


def test_a_folder_gives_one_tensor_back(source: Checkpoint, tmp_path: Path) -> None:
    made, _ = run(source, roles=("q", "down"))
    write_folder(tmp_path, made)
    loaded = load_checkpoint(str(tmp_path))
    assert loaded.structure == made.structure and loaded.shared
    for name in made.config.tensor_shapes():
        assert np.array_equal(loaded.tensor(name), made.tensor(name)), name
    assert size_of(loaded) == size_of(made)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"by": "median"}, "known: mean, weighted, medoid"),
        ({"roles": ("head",)}, "no role 'head'"),
        ({"roles": ("q+",)}, "no role ''"),
        ({"roles": ("q+k", "k")}, "each once"),
        ({"roles": ()}, "at least one role"),
        ({"blocks": ("5:2",)}, 'not "first:end"'),
        ({"blocks": ("0:3", "2:5")}, "0:3 and 2:5 overlap"),
        ({"size": 1}, "at least 2 blocks"),
        ({"size": -2}, "at least 2 blocks"),
    ],
)
def test_impossible_options_are_one_sentence(options: dict[str, Any], words: str) -> None:
    with pytest.raises(RecipeError, match=re.escape(words)) as caught:
        Mass(**options)
    assert "\n" not in str(caught.value)


def test_what_a_model_cannot_have_is_one_sentence(source: Checkpoint) -> None:
    with pytest.raises(RecipeError, match=r"mass.blocks 2:7 is outside the model, which has 6 blocks"):
        Mass(blocks=("2:7",)).shape(source.config)
    with pytest.raises(RecipeError, match=r"cannot group .*q_proj.weight \[32, 32\] with .*k_proj.weight \[16, 32\]"):
        Mass(roles=("q+k",)).shape(source.config)
    with pytest.raises(RecipeError, match="nothing to share"):
        Mass(roles=("q",), blocks=("2:3",)).shape(source.config)
    with pytest.raises(RecipeError, match="leaves the first and the last of 2 blocks alone"):
        Mass().shape(config(n_layers=2))
