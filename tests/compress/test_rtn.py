"""Round-to-nearest: within the grid's bounds at every width, whatever the weights are."""

from __future__ import annotations

import dataclasses
import itertools

import numpy as np
import pytest
import tiny_models

from edgec.compress.rtn import quantize_matrix, quantize_model
from edgec.errors import RecipeError
from edgec.frontend.structure import role_of
from edgec.packing import n_groups, row_bytes, unpack
from edgec.recipe import Quantize, RoleOverride

BITS = range(2, 9)
RNG = np.random.default_rng(2)
HALF_PRECISION = 2.0**-11


def absmax(w: np.ndarray, size: int) -> np.ndarray:
    """The largest magnitude of every element's group, at every element."""
    groups = np.arange(w.shape[1]) // size
    return np.stack([np.abs(w[:, groups == g]).max(1) for g in groups], axis=1)


@pytest.mark.parametrize("group_size", [8, 20, 32, 100, 252])
@pytest.mark.parametrize("bits", BITS)
def test_no_weight_is_off_by_more_than_the_grid_allows(bits: int, group_size: int) -> None:
    """Symmetric grid: half a step of absmax / (2^(bits-1) - 1). Full grid: its step is smaller, and at the other end
    one step is missing; it is kept only where its squared error is smaller, so the symmetric bound holds for the group.
    """
    w = RNG.normal(size=(7, 130)).astype(np.float32)
    tensor, nmse = quantize_matrix(w, bits, group_size)
    q = tensor.dequantized()
    step = absmax(w, group_size) / (2 ** (bits - 1) - 1)
    bound = step / 2 + absmax(w, group_size) * HALF_PRECISION * 2
    groups = np.arange(130) // group_size
    for g in range(n_groups(130, group_size)):
        error, limit = ((a[:, groups == g].astype(np.float64) ** 2).sum(1) for a in (w - q, bound))
        assert (error <= limit).all()
    assert (np.abs(w - q) <= 2 * bound).all()
    assert nmse == pytest.approx(((w - q).astype(np.float64) ** 2).sum() / (w.astype(np.float64) ** 2).sum(), rel=1e-3)


def test_more_bits_are_better() -> None:
    w = RNG.normal(size=(16, 256)).astype(np.float32)
    errors = [quantize_matrix(w, bits, 64)[1] for bits in BITS]
    assert all(b < a / 2.5 for a, b in itertools.pairwise(errors))
    assert errors[-1] < 5e-5
    sizes = [quantize_matrix(w, 4, size)[1] for size in (8, 32, 128, 256)]
    assert sizes == sorted(sizes)


@pytest.mark.parametrize("bits", BITS)
def test_shapes_and_codes(bits: int) -> None:
    w = RNG.normal(size=(5, 77)).astype(np.float32)
    tensor, _ = quantize_matrix(w, bits, 20)
    assert tensor.packed.shape == (5, row_bytes(77, bits, 20))
    assert tensor.scale.shape == (5, 4)
    assert (tensor.k, tensor.bits, tensor.group_size, tensor.zero) == (77, bits, 20, None)
    codes = unpack(tensor.packed, 77, bits, 20)
    assert codes.max() < 2**bits
    assert len(np.unique(codes)) > min(2**bits - 1, 40) * 0.7


@pytest.mark.parametrize("bits", BITS)
@pytest.mark.parametrize("value", [0.0, 1.0, -1.0, 0.37, -1000.0, 2e-5])
def test_constant_weights(bits: int, value: float) -> None:
    """One value a group is a point of a grid, up to the scale's 16 bits (subnormal below 6e-5)."""
    w = np.full((3, 40), value, np.float32)
    q = quantize_matrix(w, bits, 16)[0].dequantized()
    assert np.allclose(q, w, rtol=1e-3, atol=2.0**-25 * 2 ** (bits - 1))


@pytest.mark.parametrize("bits", BITS)
def test_zeros_stay_zeros_beside_others(bits: int) -> None:
    w = np.zeros((2, 64), np.float32)
    w[0, 3] = 2.0
    q = quantize_matrix(w, bits, 32)[0].dequantized()
    assert q[0, 3] == 2.0
    assert np.count_nonzero(q) == 1


def test_weights_on_the_grid_come_back_bit_for_bit() -> None:
    for bits in BITS:
        codes = RNG.integers(-(2 ** (bits - 1)) + 1, 2 ** (bits - 1), size=(4, 96)).astype(np.float32)
        codes[:, ::16] = 2 ** (bits - 1) - 1
        tensor, nmse = quantize_matrix(codes * np.float32(0.125), bits, 16)
        assert (tensor.dequantized() == codes * np.float32(0.125)).all()
        assert nmse == 0.0


def test_tiny_and_huge_weights() -> None:
    tiny = np.full((1, 16), 1e-12, np.float32)
    assert not quantize_matrix(tiny, 4, 16)[0].dequantized().any()
    large = np.full((1, 16), 60000.0, np.float32)
    assert np.allclose(quantize_matrix(large, 8, 16)[0].dequantized(), large, rtol=1e-3)
    with pytest.raises(RecipeError, match=r"magnitude 1e\+30"):
        quantize_matrix(np.full((1, 16), 1e30, np.float32), 4, 16)


def test_many_rows_are_the_same_as_few() -> None:
    w = RNG.normal(size=(5000, 8)).astype(np.float32)
    whole, _ = quantize_matrix(w, 4, 8)
    part, _ = quantize_matrix(w[4000:], 4, 8)
    assert (whole.packed[4000:] == part.packed).all()
    assert (whole.scale[4000:] == part.scale).all()


def test_roles() -> None:
    assert role_of("model.layers.3.self_attn.q_proj.weight") == "q"
    assert role_of("model.layers.3.mlp.down_proj.weight") == "down"
    assert role_of("model.embed_tokens.weight") == "embed"
    assert role_of("lm_head.weight") == "head"


def test_overrides_by_role() -> None:
    source = tiny_models.checkpoint(tiny_models.config())
    recipe = Quantize("rtn", 4, 32, {"down": RoleOverride(8, 16), "embed": RoleOverride(2), "q": RoleOverride(None, 0)})
    found = {name: (m.bits, m.group_size) for name, m in quantize_model(source, recipe).matrices.items()}
    assert found["model.layers.1.mlp.down_proj.weight"] == (8, 16)
    assert found["model.layers.1.mlp.up_proj.weight"] == (4, 32)
    assert found["model.embed_tokens.weight"] == (2, 32)
    assert found["lm_head.weight"] == (4, 32)
    assert found["model.layers.0.self_attn.q_proj.weight"] == (4, 36)  # 0: the whole row


@pytest.mark.parametrize(
    ("roles", "bits"),
    [
        ({"head": RoleOverride(8)}, 8),
        ({"embed": RoleOverride(6)}, 6),
        ({"head": RoleOverride(8), "embed": RoleOverride(6)}, 8),
    ],
)
def test_a_tied_embedding_is_head_first(roles: dict[str, RoleOverride], bits: int) -> None:
    source = tiny_models.checkpoint(tiny_models.config(tied_embeddings=True))
    model = quantize_model(source, Quantize("rtn", 4, 32, roles))
    assert model.matrices["model.embed_tokens.weight"].bits == bits
    assert "lm_head.weight" not in model.matrices


def test_what_stays_float_stays_exact_and_progress_is_told() -> None:
    source = tiny_models.checkpoint(tiny_models.config(), biases=True, qk_norms=True)
    told: list[tuple[str, int, int]] = []
    model = quantize_model(source, Quantize(), lambda *args: told.append(args))
    assert {n.rsplit(".", 1)[1] for n in model.floats} == {"weight", "bias"}
    assert len(model.floats) == 2 * (2 + 3 + 2) + 1
    for name, array in model.floats.items():
        assert (array == source.tensor(name)).all()
    assert [i for _, i, _ in told] == list(range(len(told)))
    assert {n for *_, n in told} == {len(told)} == {len(model.floats) + len(model.matrices)}
    assert dataclasses.asdict(model.config) == dataclasses.asdict(source.config)
