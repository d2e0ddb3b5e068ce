"""EoRA: optimal for the inputs it saw, beside packed matrices that it leaves alone, block after block, resumable."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from edgec.compress.eora import Eora, best_branch, input_moments, square_root
from edgec.compress.rtn import quantize_matrix
from edgec.compress.stage import Calibration, Work
from edgec.errors import RecipeError
from edgec.frontend.checkpoint import Checkpoint, LowRank
from edgec.verify.workload import TEXT
from tests.tiny_models import checkpoint, config

torch = pytest.importorskip("torch", reason="torch runs the calibration text")

from edgec.compress.torch_model import load_torch, set_branch  # noqa: E402


@pytest.fixture(scope="module")
def text(tmp_path_factory: pytest.TempPathFactory) -> Path:
    words = np.random.default_rng(0).choice(re.findall(r"\w+", TEXT), 2000)
    path = tmp_path_factory.mktemp("text") / "words.txt"
    path.write_text(" ".join(words))
    return path


def rounded(source: Checkpoint, bits: int = 3) -> Checkpoint:
    return source.with_packed({n: quantize_matrix(source.tensor(n), bits, 16)[0] for n in source.matrix_names()})


def work_for(source: Checkpoint, text: Path, partial: Path | None = None) -> Work:
    return Work(lambda: source, Calibration(str(text), 12, 24), partial=partial, before_quantize=source)


def missed(error: np.ndarray, x: np.ndarray) -> float:
    return float(np.linalg.norm(error @ x))


def svd_branch(w: np.ndarray, rank: int) -> np.ndarray:
    left, sizes, right = np.linalg.svd(w, full_matrices=False)
    return (left[:, :rank] * sizes[:rank]) @ right[:rank]


@pytest.mark.parametrize("rank", [1, 3, 8])
def test_no_branch_of_its_rank_is_better_on_the_inputs(rank: int) -> None:
    rng = np.random.default_rng(rank)
    x = rng.standard_normal((24, 200)) * np.logspace(-2, 1, 24)[:, None]
    x = np.linalg.qr(rng.standard_normal((24, 24)))[0] @ x
    error = rng.standard_normal((20, 24)).astype(np.float32)
    a, b, share = best_branch(error, square_root(x @ x.T), rank)
    assert a.shape == (rank, 24) and b.shape == (20, rank)
    sizes = np.linalg.svd(error @ x, compute_uv=False)
    best = np.sqrt((sizes[rank:] ** 2).sum())
    assert missed(error - b @ a, x) == pytest.approx(best, rel=1e-4)
    assert share == pytest.approx(best**2 / (sizes**2).sum(), rel=1e-4)
    assert missed(error - svd_branch(error, rank), x) > 1.2 * best
    for _ in range(20):
        other = (b + 0.02 * rng.standard_normal(b.shape)) @ (a + 0.02 * rng.standard_normal(a.shape))
        assert missed(error - other, x) > best
    assert np.allclose(np.linalg.norm(b, axis=0).max(), np.sqrt(sizes[0]), rtol=1e-4)


def test_inputs_of_a_subspace_leave_nothing_and_no_infinities() -> None:
    rng = np.random.default_rng(0)
    x = rng.standard_normal((24, 5)) @ rng.standard_normal((5, 100))
    error = rng.standard_normal((20, 24)).astype(np.float32)
    a, b, share = best_branch(error, square_root(x @ x.T), 8)
    assert a.shape == (8, 24) and b.shape == (20, 8)
    assert np.isfinite(a).all() and np.isfinite(b).all() and np.abs(a).max() < 100
    assert missed(error - b @ a, x) < 1e-3 * missed(error, x)
    assert share < 1e-6
    assert not best_branch(np.zeros_like(error), square_root(x @ x.T), 8)[1].any()
    assert not best_branch(error, square_root(np.zeros((24, 24))), 8)[1].any()


def logits(model: Checkpoint, tokens: np.ndarray) -> np.ndarray:
    with torch.no_grad():
        return load_torch(model)(torch.from_numpy(tokens)).numpy()


def test_packed_matrices_stay_and_the_model_comes_nearer_to_the_float_one(text: Path) -> None:
    source = checkpoint(config())
    packed = rounded(source)
    work = work_for(source, text)
    made = Eora(rank=6).run(packed, work)
    assert set(made.branches) == set(source.matrix_names())
    assert {b.rank for b in made.branches.values()} == {6}
    for name in source.matrix_names():
        assert np.array_equal(made.packed[name]().packed, packed.packed[name]().packed)
        assert np.array_equal(made.tensor(name), packed.tensor(name))
    assert set(work.notes["error_left"]) == set(source.matrix_names())
    assert all(0 < share < 0.9 for share in work.notes["error_left"].values())
    tokens = work.tokens(source)
    wanted, before, after = (logits(m, tokens) for m in (source, packed, made))
    assert np.linalg.norm(after - wanted) < 0.75 * np.linalg.norm(before - wanted)


def test_pruned_weights_stay_zero(text: Path) -> None:
    source = checkpoint(config())
    name = source.matrix_names()[3]
    pruned = source.tensor(name).copy()
    pruned[:, ::2] = 0
    source = source.with_tensors({name: pruned}, patterns={name: (1, 2)})
    made = Eora(rank=4).run(rounded(source), work_for(source, text))
    assert made.patterns == {name: (1, 2)}
    assert not made.tensor(name)[:, ::2].any() and made.tensor(name)[:, 1::2].any()


def test_inputs_come_through_the_blocks_before_as_they_run(text: Path) -> None:
    """Block 1's branch is the best one for inputs through block 0 with its branches, and for no others."""
    source = checkpoint(config())
    packed = rounded(source)
    work = work_for(source, text)
    made = Eora(rank=4, samples=12, activations="float", guided=False).run(packed, work)
    name = "model.layers.1.self_attn.q_proj.weight"
    error = source.tensor(name) - packed.tensor(name)
    found = {}
    for with_branches in (True, False):
        module = load_torch(packed)
        for each in source.matrix_names()[:7]:
            set_branch(module, each, made.branches[each] if with_branches else None)
        with torch.no_grad():
            hidden = module.block(0, module.embed(torch.from_numpy(work.tokens(source))))
            moment = input_moments(module, 1, list(hidden.split(1)), [name], {})[name].numpy()
        a, b, _ = best_branch(error, square_root(moment), 4)
        found[with_branches] = float(np.abs(b @ a - made.branches[name].product()).max())
    assert found[True] < 1e-4 < 1e-3 < found[False]


def test_tokens_may_be_weighted(text: Path) -> None:
    source = checkpoint(config())
    module, name = load_torch(source), source.matrix_names()[3]
    tokens = torch.from_numpy(work_for(source, text).tokens(source, 3))
    weights = {name: torch.rand(3, 24, generator=torch.Generator().manual_seed(0))}
    seen = []
    hook = module.linear(name).register_forward_hook(lambda m, x, y: seen.append(x[0].flatten(0, -2).double()))
    with torch.no_grad():
        module.block(0, module.embed(tokens))
        hook.remove()
        hidden = [module.embed(window) for window in tokens.split(1)]
        plain, weighted = (input_moments(module, 0, hidden, [name], w)[name] for w in ({}, weights))
        both = ["model.layers.0.self_attn.q_proj.weight", "model.layers.0.self_attn.v_proj.weight"]
        shared, alone = input_moments(module, 0, hidden, both, {}), input_moments(module, 0, hidden, both[1:], {})
    assert shared[both[0]] is shared[both[1]] and torch.equal(shared[both[1]], alone[both[1]])
    x = seen[0]
    assert torch.allclose(plain, x.T @ x, rtol=1e-4, atol=1e-4)
    assert torch.allclose(weighted, x.T @ (x * weights[name].reshape(-1, 1)), rtol=1e-4, atol=1e-4)
    guided, free = (Eora(4, 12, guided=g).run(rounded(source), work_for(source, text)) for g in (True, False))
    assert not np.allclose(guided.branches[name].product(), free.branches[name].product(), atol=1e-4)


def test_a_killed_run_goes_on_and_gives_the_same_bytes(text: Path, tmp_path: Path) -> None:
    source = checkpoint(config())
    packed = rounded(source)
    whole = Eora(rank=4).run(packed, work_for(source, text))

    def kill(message: str, done: int, total: int) -> None:
        if done == 1:
            raise KeyboardInterrupt

    killed = work_for(source, text, tmp_path)
    killed.say = kill
    with pytest.raises(KeyboardInterrupt):
        Eora(rank=4).run(packed, killed)
    kept = tmp_path / "block0.npz"
    stamp = kept.stat().st_mtime_ns
    again = Eora(rank=4).run(packed, work_for(source, text, tmp_path))
    assert kept.stat().st_mtime_ns == stamp
    for name, branch in whole.branches.items():
        assert np.array_equal(branch.a, again.branches[name].a) and np.array_equal(branch.b, again.branches[name].b)


def test_a_branch_that_is_there_is_widened(text: Path) -> None:
    source = checkpoint(config())
    name = source.matrix_names()[0]
    n, k = source.config.tensor_shapes()[name]
    old = LowRank(np.full((2, k), 0.01, np.float32), np.full((n, 2), 0.01, np.float32))
    source = replace(source, branches={name: old})
    made = Eora(rank=3, roles=("q",)).run(rounded(source), work_for(source, text))
    assert made.branches[name].rank == 5
    assert np.array_equal(made.branches[name].a[:2], old.a) and np.array_equal(made.branches[name].b[:, :2], old.b)
    assert {b.rank for b in made.branches.values()} == {5, 3} and len(made.branches) == 2


def test_what_it_cannot_do_is_one_sentence(text: Path) -> None:
    source = checkpoint(config())
    with pytest.raises(RecipeError, match="put a quantize stage before"):
        Eora().run(source, work_for(source, text))
    shorter = checkpoint(config(n_layers=1))
    with pytest.raises(RecipeError, match="the model changed its shape in between"):
        Eora().run(rounded(shorter), work_for(source, text))
    norm = "model.layers.0.input_layernorm.weight"
    scaled = rounded(source.with_tensors({norm: source.tensor(norm) * 2}))
    with pytest.raises(RecipeError, match=f"{norm} has changed since"):
        Eora().run(scaled, work_for(source, text))
    for options in ({"rank": 0}, {"samples": 0}, {"roles": ("x",)}, {"roles": ()}, {"activations": "int4"}):
        with pytest.raises(RecipeError):
            Eora(**options)
