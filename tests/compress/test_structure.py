"""Products and sharing: one representation from checkpoint to program, exact on the host, counted once."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest
import tiny_models
import torch

from edgec.compress.blocks import with_blocks
from edgec.compress.counts import dry_run
from edgec.compress.folder import write_folder
from edgec.compress.quantize import QuantizeBlocks
from edgec.compress.rtn import quantize_model
from edgec.compress.sequential import Fit, block_inputs, fit_matrix, packed_tensor, quantize_blocks
from edgec.compress.shapes import planned_model
from edgec.compress.sizes import size_of
from edgec.compress.stage import Calibration, Work
from edgec.compress.torch_model import load_torch
from edgec.errors import ModelError, RecipeError
from edgec.frontend.checkpoint import Checkpoint, LowRank
from edgec.frontend.load import load_checkpoint
from edgec.frontend.structure import Structure, factor_names, matrix_of, role_of
from edgec.lower.llama import constants
from edgec.recipe import Quantize, Recipe
from edgec.verify.chain import verify

Q, K, V, O = (f"model.layers.{{}}.self_attn.{role}_proj.weight".format for role in "qkvo")  # noqa: E741
DOWN = "model.layers.{}.mlp.down_proj.weight".format


def dense(**changes: Any) -> Checkpoint:
    return tiny_models.checkpoint(tiny_models.config(**changes))


def product(model: Checkpoint, name: str, rank: int) -> LowRank:
    """The best approximation of a matrix."""
    left, sizes, right = np.linalg.svd(model.tensor(name).astype(np.float64), full_matrices=False)
    a, b = sizes[:rank, None] * right[:rank], left[:, :rank]
    return LowRank(a.astype(np.float32), b.astype(np.float32))


def with_products(model: Checkpoint, ranks: dict[str, int]) -> Checkpoint:
    return model.with_factors({name: product(model, name, rank) for name, rank in ranks.items()})


def both(model: Checkpoint | None = None) -> Checkpoint:
    """q, k and v of both layers one each, the o of both as products with one A, a down as a product."""
    model = model or dense()
    ranks = {O(0): 12, O(1): 12, DOWN(1): 9}
    shared = {name(1): name(0) for name in (Q, K, V)} | {factor_names(O(1))[0]: factor_names(O(0))[0]}
    return with_products(model, ranks).with_shared(shared)


def logits(model: Checkpoint) -> Any:
    with torch.no_grad():
        return load_torch(model)(torch.arange(12)[None] * 7 % 97).numpy()


def test_names() -> None:
    a, b = factor_names(Q(3))
    assert a == "model.layers.3.self_attn.q_proj.factor_a.weight"
    assert [matrix_of(n) for n in (a, b, Q(3), "lm_head.weight")] == [Q(3), Q(3), Q(3), "lm_head.weight"]
    assert [role_of(n) for n in (a, b, Q(3), "lm_head.weight")] == ["q", "q", "q", "head"]


def test_a_product_computes_what_its_matrix_would() -> None:
    model = both()
    same = dense().with_tensors(
        {name: model.tensor(name) for name in (*map(Q, (0, 1)), K(1), V(1), O(0), O(1), DOWN(1))}
    )
    np.testing.assert_allclose(logits(model), logits(same), rtol=0, atol=2e-5)
    assert np.abs(logits(model) - logits(dense())).max() > 0.01


def test_what_is_stored() -> None:
    model = both()
    stored = model.stored_matrices()
    assert Q(0) in stored and Q(1) not in stored and O(0) not in stored
    assert [name for name in stored if role_of(name) == "o"] == [*factor_names(O(0)), factor_names(O(1))[1]]
    before, after = size_of(dense()), size_of(model)
    n, hidden, ffn, kv = 32, 36, 52, 16
    gone = (n + 2 * kv) * hidden + 2 * n * hidden + hidden * ffn
    assert before["parameters"] - after["parameters"] == gone - 12 * n - 2 * 12 * hidden - 9 * (hidden + ffn)


def test_changes_go_to_all_users_and_a_user_can_become_its_own() -> None:
    model = both()
    zero = np.zeros((32, 36), np.float32)
    assert not model.with_tensors({Q(0): zero}).tensor(Q(1)).any()
    own = model.with_tensors({Q(1): zero})
    assert own.tensor(Q(0)).any() and not own.tensor(Q(1)).any() and Q(1) in own.stored_matrices()
    alone = model.with_tensors({O(0): model.tensor(O(0))})
    assert O(0) in alone.stored_matrices() and O(0) not in alone.factors
    with pytest.raises(ModelError, match=r"cannot be one tensor; their shapes are"):
        model.with_shared({K(1): Q(0)})
    with pytest.raises(RecipeError, match="cannot have rank 17; 1 to 16 can"):
        Structure(model.config).with_factors({K(0): 17})


def test_products_of_a_shared_matrix_are_shared() -> None:
    model = dense().with_shared({Q(1): Q(0)})
    made = with_products(model, {Q(0): 5})
    assert made.factors == {Q(0): 5, Q(1): 5}
    assert made.shared == dict(zip(factor_names(Q(1)), factor_names(Q(0)), strict=True))
    assert np.array_equal(made.tensor(Q(1)), made.tensor(Q(0)))


def test_a_folder_keeps_it_and_other_tools_load_it(tmp_path: Path) -> None:
    from safetensors.numpy import load_file

    model = both()
    write_folder(tmp_path, model)
    again = load_checkpoint(str(tmp_path))
    assert again.structure == model.structure
    for name in [*model.stored_tensors(), Q(1), O(1), DOWN(1)]:
        assert np.array_equal(again.tensor(name), model.tensor(name)), name
    plain = load_file(tmp_path / "model.safetensors")
    assert plain.keys() == model.config.tensor_shapes().keys()
    assert np.array_equal(plain[DOWN(1)], model.tensor(DOWN(1)))
    assert np.array_equal(plain[Q(1)], plain[Q(0)])


@pytest.mark.parametrize("joined", [True, False])
def test_a_program_has_shared_constants_once_and_is_exact(tmp_path: Path, objects: Path, joined: bool) -> None:
    model = both()
    if not joined:  # a k of its own: q and v stay shared alone, and the three matrices are not joined
        model = model.with_tensors({K(1): dense().tensor(K(1))})
    artifact = tiny_models.built(model, tmp_path / "out", objects)
    names = set(artifact.constants())
    assert ("model.layers.0.self_attn.qkv_proj.weight" in names) == joined
    assert not any(name.startswith("model.layers.1.self_attn.q") for name in names)
    assert (K(1) in names) != joined
    assert factor_names(O(1))[0] not in names and factor_names(O(1))[1] in names
    assert DOWN(1) not in names and DOWN(0) in names
    outcomes = verify(artifact, ("simulator", "host"))["backends"]
    assert [outcomes[name]["mismatches"] for name in ("simulator", "host")] == [0, 0]


def test_sizes_without_weights_are_those_of_a_build() -> None:
    @dataclass(frozen=True)
    class Made:
        method: ClassVar[str] = "made"

        def shape(self, config: Any) -> Any:
            return config

        def structure(self, structure: Structure) -> Structure:
            return replace(both().structure, config=structure.config)

    recipe = Recipe(Quantize(bits=4, group_size=32), stages=(Made(), QuantizeBlocks(by="rtn", group_size=32)))
    model = both()
    stage = recipe.stages[1].run(model, Work(lambda: model))
    made = constants(quantize_model(stage, recipe.quantize), 8)
    known = constants(planned_model(dense().config, (), recipe), 8)
    assert {n: (a.shape, a.dtype) for n, a in known.items()} == {n: (a.shape, a.dtype) for n, a in made.items()}
    assert dry_run(dense().config, recipe)[1].parameters == size_of(model)["parameters"]
    assert dry_run(dense().config, recipe)[2].bytes == size_of(stage)["bytes"]


@pytest.mark.parametrize("order", [[1], [0, 1, 1], [1, 0], [0, 0, 1, 0]])
def test_blocks_in_another_order(order: list[int]) -> None:
    model = both(tiny_models.checkpoint(tiny_models.config(), biases=True))
    made = with_blocks(model, order)
    assert made.config.n_layers == len(order)
    for new, old in enumerate(order):
        for name in (*map(Q, (old,)), O(old), DOWN(old), f"model.layers.{old}.self_attn.q_proj.bias"):
            here = name.replace(f"layers.{old}.", f"layers.{new}.")
            assert np.array_equal(made.tensor(here), model.tensor(name)), here
    assert len(made.stored_matrices()) == len(set(made.stored_matrices())) <= len(model.stored_matrices())
    assert all(owner in made.readers for owner in made.shared.values())
    assert "model.layers.0.self_attn.q_norm.weight" not in made
    with torch.no_grad():
        module = load_torch(model)
        hidden = module.embed(torch.arange(5)[None])
        for block in order:
            hidden = module.block(block, hidden)
        np.testing.assert_array_equal(load_torch(made)(torch.arange(5)[None]).numpy(), module.head(hidden).numpy())


def test_a_shared_matrix_is_rounded_for_the_inputs_of_all_its_users(calibration: Calibration, tmp_path: Path) -> None:
    model = dense().with_shared({DOWN(1): DOWN(0)})
    work = Work(lambda: model, calibration, partial=tmp_path)
    fit = Fit(guided=False)
    grid = (3, 32)
    first = {name: tensor for name, tensor, _ in quantize_blocks(model, {DOWN(0): grid}, fit, work)}
    module = load_torch(model)
    hidden = module.embed(torch.from_numpy(work.tokens(model)))
    moment = torch.zeros(())
    with torch.no_grad():
        for layer in range(2):
            x = block_inputs(module, layer, hidden, [DOWN(layer)])[DOWN(layer)]
            moment = moment + x.T @ x
            hidden = module.block(layer, hidden)
    codes, scale = fit_matrix(module.linear(DOWN(0)).weight.data, moment, *grid, fit)
    expected = packed_tensor(codes, scale, *grid)
    assert first.keys() == {DOWN(0)}
    # Sums of another order: single codes at the edge of two may differ.
    difference = first[DOWN(0)].dequantized() != expected.dequantized()
    assert difference.mean() < 0.02
    (tmp_path / "block0.npz").unlink(missing_ok=True)  # a run that was killed at block 1 goes on with the sums
    again = {name: tensor for name, tensor, _ in quantize_blocks(model, {DOWN(0): grid}, fit, work)}
    assert np.array_equal(again[DOWN(0)].packed, first[DOWN(0)].packed)
