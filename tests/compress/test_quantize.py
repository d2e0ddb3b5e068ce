"""The quantise and recover stages on a tiny model: better than rounding, resumable, the same bytes every time."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from edgec.compress import recover  # noqa: E402
from edgec.compress.chip_numerics import ChipActivations, fake_int8  # noqa: E402
from edgec.compress.quantize import QuantizeBlocks  # noqa: E402
from edgec.compress.recover import Recover  # noqa: E402
from edgec.compress.recover_training import RecoverTraining  # noqa: E402
from edgec.compress.stage import Calibration, Work  # noqa: E402
from edgec.compress.torch_model import load_torch  # noqa: E402
from edgec.errors import RecipeError  # noqa: E402
from edgec.frontend.checkpoint import Checkpoint  # noqa: E402
from tests.tiny_models import checkpoint, config  # noqa: E402

UP = "model.layers.1.mlp.up_proj.weight"


def made(**changes: Any) -> Checkpoint:
    return checkpoint(config(**{"max_seq_len": 64, **changes}))


def divergence(model: Checkpoint, dense: Checkpoint, calibration: Calibration, group_size: int) -> float:
    """Mean KL of next-token distributions from the dense model's, with the chip's activations, on the text."""
    tokens = torch.from_numpy(Work(lambda: dense, calibration).tokens(dense))
    student = load_torch(model)
    student.act = ChipActivations({}, group_size)
    with torch.no_grad():
        want, got = (m(tokens).log_softmax(-1) for m in (load_torch(dense), student))
    return float((want.exp() * (want - got)).sum(-1).mean())


def run(stage: Any, model: Checkpoint, calibration: Calibration, **changes: Any) -> tuple[Checkpoint, Work]:
    work = Work(original=lambda: model, calibration=calibration, **changes)
    return stage.run(model, work), work


def test_each_method_beats_the_one_before(calibration: Calibration) -> None:
    dense = made()
    lost = {}
    for by in ("rtn", "search", "gptq"):
        model, work = run(QuantizeBlocks(by=by, bits=3, group_size=16), dense, calibration)
        lost[by] = divergence(model, dense, calibration, 16)
        assert set(model.packed) == set(dense.matrix_names()) == set(work.notes["errors"])
        for name, read in model.packed.items():
            assert np.array_equal(read().dequantized(), model.tensor(name)) and read().bits == 3
    assert lost["gptq"] < 0.8 * lost["rtn"] and lost["search"] < lost["rtn"], lost


def test_sequential_sees_the_rounded_blocks_before(calibration: Calibration) -> None:
    """Only the later block's inputs differ, and only with `sequential` do they depend on the earlier block's codes."""
    dense = made()
    found = {}
    for sequential in (False, True):
        for bits in (2, 8):
            stage = QuantizeBlocks(bits=4, group_size=16, guided=False, sequential=sequential, bits_of={"o": bits})
            found[sequential, bits] = run(stage, dense, calibration)[0].packed[UP]().packed
    assert np.array_equal(found[False, 2], found[False, 8])
    assert not np.array_equal(found[True, 2], found[True, 8])


def test_widths_differ_by_role(calibration: Calibration) -> None:
    model, _ = run(QuantizeBlocks(by="gptq", bits=4, group_size=0, bits_of={"down": 8, "v": 6}), made(), calibration)
    bits = {name.split(".")[-2]: (read().bits, read().group_size) for name, read in model.packed.items()}
    assert bits["down_proj"] == (8, 52) and bits["v_proj"] == (6, 36) and bits["q_proj"] == (4, 36)


def test_zeros_of_a_pattern_stay(calibration: Calibration) -> None:
    dense = made()
    w = dense.tensor(UP).copy()
    w.reshape(-1, 4)[:, :2] = 0
    pruned = dense.with_tensors({UP: w}, patterns={UP: (2, 4)})
    model, _ = run(QuantizeBlocks(bits=4, group_size=16), pruned, calibration)
    assert (model.tensor(UP).reshape(-1, 4)[:, :2] == 0).all()
    work = Work(original=lambda: dense, calibration=calibration, before_quantize=pruned)
    again = Recover(steps=3, batch=2, rate=0.1).run(model, work)
    assert (again.tensor(UP).reshape(-1, 4)[:, :2] == 0).all()
    assert not np.array_equal(again.tensor(UP), model.tensor(UP))


def test_blocks_that_are_done_are_not_done_again(calibration: Calibration, tmp_path: Path, monkeypatch: Any) -> None:
    dense, stage = made(), QuantizeBlocks(group_size=16)
    whole, _ = run(stage, dense, calibration)
    import edgec.compress.sequential as sequential

    fit, calls = sequential._fit, []

    def failing(module: Any, moments: Any, *rest: Any) -> Any:
        calls.append(int(min(moments).split(".")[2]))
        if calls == [0, 1]:
            raise KeyboardInterrupt
        return fit(module, moments, *rest)

    monkeypatch.setattr(sequential, "_fit", failing)
    with pytest.raises(KeyboardInterrupt):
        run(stage, dense, calibration, partial=tmp_path / "p")
    again, _ = run(stage, dense, calibration, partial=tmp_path / "p")
    assert calls == [0, 1, 1]
    for name in whole.packed:
        assert np.array_equal(whole.packed[name]().packed, again.packed[name]().packed), name
        assert np.array_equal(whole.packed[name]().scale, again.packed[name]().scale), name


def test_recovery_starts_at_the_packed_model_and_improves_it(calibration: Calibration) -> None:
    dense = made()
    model, _ = run(QuantizeBlocks(by="rtn", bits=3, group_size=16), dense, calibration)
    work = Work(original=lambda: dense, calibration=calibration, before_quantize=dense)
    same = Recover(steps=1, rate=0.0, scale_rate=0.0).run(model, work)
    for name in model.packed:
        assert np.array_equal(same.tensor(name), model.tensor(name)), name
    better = Recover(steps=40, batch=4, rate=3e-2, scale_rate=1e-2, text_loss=0.0).run(model, work)
    before, after = (divergence(m, dense, calibration, 16) for m in (model, better))
    assert after < 0.75 * before, (before, after)  # 0.71 where vectors have 256 bits
    assert work.notes["changed_codes"] > 0.01 and work.notes["steps"] == 40
    assert all(better.packed[n]().packed.nbytes == model.packed[n]().packed.nbytes for n in model.packed)


def test_recovery_resumes_to_the_same_bytes(calibration: Calibration, tmp_path: Path, monkeypatch: Any) -> None:
    dense = made()
    model, _ = run(QuantizeBlocks(by="rtn", group_size=16), dense, calibration)
    stage = Recover(steps=6, batch=2, rate=2e-2, save_every=2)
    work = Work(original=lambda: dense, calibration=calibration, before_quantize=dense)
    whole = stage.run(model, work)
    steps = RecoverTraining._step

    def failing(self: RecoverTraining, *rest: Any) -> float:
        failing.calls += 1  # type: ignore[attr-defined]
        if failing.calls == 4:  # type: ignore[attr-defined]
            raise KeyboardInterrupt
        return steps(self, *rest)

    failing.calls = 0  # type: ignore[attr-defined]
    monkeypatch.setattr(RecoverTraining, "_step", failing)
    with pytest.raises(KeyboardInterrupt):
        stage.run(model, replace(work, partial=tmp_path))
    again = stage.run(model, replace(work, partial=tmp_path))
    assert failing.calls == 4 + 4  # type: ignore[attr-defined]
    for name in whole.packed:
        assert np.array_equal(whole.tensor(name), again.tensor(name)), name


def test_a_deadline_ends_training_in_time(calibration: Calibration) -> None:
    import time

    dense = made()
    model, _ = run(QuantizeBlocks(by="rtn", group_size=16), dense, calibration)
    began = time.monotonic()
    work = Work(original=lambda: dense, calibration=calibration, deadline=began + 2.0)
    Recover(steps=100_000, batch=2).run(model, work)
    assert time.monotonic() - began < 6 and 0 < work.notes["steps"] < 100_000


def test_activation_rounding_is_the_devices() -> None:
    from edgec.ops.quantize_dynamic import reference

    x = np.random.default_rng(0).normal(size=(5, 50)).astype(np.float32)
    exact = reference({"x": x}, {"group_size": 16}, 0)
    want = exact["q"] * np.repeat(exact["scale"], 16, axis=1)[:, :50]
    assert np.allclose(fake_int8(torch.from_numpy(x), 16).numpy(), want, rtol=1e-6, atol=1e-7)


def test_gradients_pass_straight_through_the_rounding() -> None:
    from edgec.compress.rounding import LatentWeights
    from edgec.compress.rtn import quantize_matrix

    w = np.random.default_rng(2).normal(size=(2, 20)).astype(np.float32)
    latent = LatentWeights(quantize_matrix(w, 4, 8)[0], w, keep_zeros=False, rank=2, seed=1)
    assert torch.allclose(latent(), torch.from_numpy(latent.packed().dequantized()), rtol=1e-6)
    weights = torch.randn(2, 20, generator=torch.Generator().manual_seed(1))
    (latent() * weights).sum().backward()
    scale = torch.from_numpy(latent.packed().scale.astype(np.float32))
    padded = torch.nn.functional.pad(weights, (0, 4)).view(2, 3, 8)
    assert torch.allclose(latent.b.grad, weights @ latent.a.detach().T, atol=1e-5)  # scale and its inverse cancel
    want = (padded * latent.codes()).sum(-1) * scale
    assert torch.allclose(latent.log_scale.grad[..., 0], want, atol=1e-5)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"by": "magic"}, "magic"),
        ({"bits": 9}, "2 to 8 bits"),
        ({"bits_of": {"head": 8}}, "head"),
        ({"group_size": 4}, "group_size"),
        ({"damp": 0.0}, "damp"),
    ],
)
def test_impossible_options_are_named(options: dict[str, Any], words: str) -> None:
    with pytest.raises(RecipeError, match=words):
        QuantizeBlocks(**options)


def test_a_text_that_is_too_short_is_named(calibration: Calibration) -> None:
    with pytest.raises(RecipeError, match="longer text"):
        run(QuantizeBlocks(), made(), replace(calibration, samples=1000))


def test_recovery_needs_packed_matrices(calibration: Calibration) -> None:
    with pytest.raises(RecipeError, match="quantize stage before"):
        run(Recover(), made(), calibration)
    assert recover.STAGE is Recover
