"""smooth_keys: the same logits, keys of even size, a smaller error of a cache of 4 bits."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from edgec.compress.depth import without_blocks
from edgec.compress.folder import write_folder
from edgec.compress.rtn import quantize_matrix, quantize_model
from edgec.compress.smooth_keys import SmoothKeys, key_statistics
from edgec.compress.stage import Calibration, Work
from edgec.errors import RecipeError
from edgec.frontend.checkpoint import Checkpoint
from edgec.frontend.load import load_checkpoint
from edgec.lower.llama import constants, lower
from edgec.recipe import Quantize
from edgec.simulate.reference import ReferenceRunner
from tests.tiny_models import checkpoint, config

torch = pytest.importorskip("torch", reason="torch runs the calibration text")

from edgec.compress.torch_model import load_torch  # noqa: E402


def uneven(qk_norms: bool = False, biases: bool = False) -> Checkpoint:
    """A model with a few large key channels, as trained models have."""
    source = checkpoint(config(n_heads=4, n_kv_heads=2, head_dim=16, hidden_dim=48), 3, biases, qk_norms)
    changed = {}
    for layer in range(source.config.n_layers):
        attn = f"model.layers.{layer}.self_attn"
        norm, weight = f"{attn}.k_norm.weight", f"{attn}.k_proj.weight"
        factor = np.ones(16, np.float32)
        factor[[3, 11, 5]] = 25
        if qk_norms:
            changed[norm] = source.tensor(norm) * factor
            changed[f"{attn}.q_norm.weight"] = source.tensor(f"{attn}.q_norm.weight") / factor
        else:
            changed[weight] = source.tensor(weight) * np.tile(factor, 2)[:, None]
            query = f"{attn}.q_proj.weight"
            changed[query] = source.tensor(query) / np.tile(factor, 4)[:, None]
    return source.with_tensors(changed)


def logits(model: Checkpoint, tokens: np.ndarray) -> np.ndarray:
    with torch.no_grad():
        return load_torch(model)(torch.from_numpy(tokens)).numpy()


def error_of_int4_cache(model: Checkpoint, tokens: list[int]) -> float:
    """Relative error of the logits that the cache's precision alone makes, weights at 8 bits."""
    found = {bits: logits_of(model, tokens, bits) for bits in (8, 4)}
    return float(np.linalg.norm(found[4] - found[8]) / np.linalg.norm(found[8]))


@pytest.mark.parametrize(("qk_norms", "biases"), [(False, False), (False, True), (True, False)])
def test_the_function_stays_and_keys_become_even(qk_norms: bool, biases: bool, calibration: Calibration) -> None:
    source = uneven(qk_norms, biases)
    work = Work(lambda: source, calibration)
    made = SmoothKeys(power=1.0).run(source, work)
    tokens = work.tokens(source, 2)
    before, after = logits(source, tokens), logits(made, tokens)
    assert np.abs(after - before).max() <= 2e-4 * np.abs(before).max()
    ratio = [
        float((s.max(axis=1) / s.min(axis=1)).max()) for m in (source, made) for s in key_statistics(m, work, 8)[1]
    ]
    half = len(ratio) // 2
    assert min(ratio[:half]) > 10
    assert max(ratio[half:]) < (4 if qk_norms else 1.01)  # a gain is shared by all heads
    assert max(work.notes["largest_over_median"]) > 5


def test_a_cache_of_4_bits_loses_less(calibration: Calibration) -> None:
    source = uneven()
    made = SmoothKeys(power=1.0).run(source, Work(lambda: source, calibration))
    tokens = list(range(2, 60))
    assert error_of_int4_cache(made, tokens) < 0.5 * error_of_int4_cache(source, tokens)


def with_common_part() -> Checkpoint:
    """Keys that share a vector beside which other roundings count little: the bias of a slowly rotating pair."""
    source = checkpoint(config(n_heads=4, n_kv_heads=2, head_dim=16, hidden_dim=48), 3, biases=True)
    changed = {}
    for layer in range(source.config.n_layers):
        bias = f"model.layers.{layer}.self_attn.k_proj.bias"
        changed[bias] = source.tensor(bias).copy()
        changed[bias].reshape(2, 16)[:, [7, 15]] += 60
    return source.with_tensors(changed)


@pytest.mark.parametrize("bits", [8, 4])
def test_what_keys_have_in_common_costs_nothing_once_it_is_taken_off(bits: int, calibration: Calibration) -> None:
    source = with_common_part()
    made = SmoothKeys(power=0.0).run(source, Work(lambda: source, calibration))
    assert made.key_centres.keys() == {f"model.layers.{i}.self_attn" for i in range(source.config.n_layers)}
    tokens = list(range(2, 60))
    plain = {width: logits_of(source, tokens, width) for width in (8, bits)}
    exact = logits_of(source, tokens, None)
    smooth = logits_of(made, tokens, bits)
    assert np.linalg.norm(smooth - exact) < 0.5 * np.linalg.norm(plain[bits] - exact)


def logits_of(model: Checkpoint, tokens: list[int], kv_bits: int | None) -> np.ndarray:
    """Logits behind the tokens, weights at 8 bits; kv_bits None: the float model's."""
    if kv_bits is None:
        return logits(model, np.array([tokens]))[0, -1].astype(np.float64)
    quantized = quantize_model(model, Quantize(bits=8, group_size=8), kv_bits=kv_bits)
    consts = constants(quantized, 64)
    graphs = {name: lower(quantized, consts, name, rows, 64) for name, rows in (("prefill", 8), ("decode", 1))}
    runner = ReferenceRunner(graphs, consts)
    runner.prefill(tokens)
    return runner.logits.astype(np.float64)


def test_centres_outlive_the_folder(tmp_path: Path, calibration: Calibration) -> None:
    source = uneven()
    made = SmoothKeys().run(source, Work(lambda: source, calibration))
    write_folder(tmp_path / "stage", made)
    again = load_checkpoint(str(tmp_path / "stage"))
    assert again.key_centres.keys() == made.key_centres.keys()
    for attn, centre in made.key_centres.items():
        assert again.key_centres[attn].tobytes() == centre.tobytes()
    shorter = without_blocks(again, {0})
    assert (
        shorter.key_centres["model.layers.0.self_attn"].tobytes()
        == made.key_centres["model.layers.1.self_attn"].tobytes()
    )


def test_power_0_changes_no_weight(calibration: Calibration) -> None:
    source = uneven()
    made = SmoothKeys(power=0.0).run(source, Work(lambda: source, calibration))
    for name in source.matrix_names():
        assert made.tensor(name).tobytes() == source.tensor(name).tobytes()


def test_packed_queries_are_refused(calibration: Calibration) -> None:
    source = uneven()
    name = "model.layers.0.self_attn.q_proj.weight"
    packed = source.with_packed({name: quantize_matrix(source.tensor(name), 4, 16)[0]})
    with pytest.raises(RecipeError, match="put it before quantize"):
        SmoothKeys().run(packed, Work(lambda: source, calibration))
    centred = SmoothKeys(power=0.0).run(packed, Work(lambda: source, calibration))
    assert name in centred.packed and centred.key_centres
    for options in ({"power": 2.0}, {"samples": 0}):
        with pytest.raises(RecipeError, match="smooth_keys"):
            SmoothKeys(**options)
