"""Random configurations of the LLaMA family on random targets: built, and exact on every backend."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import pytest
import tiny_models
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from edgec import compiler
from edgec.artifact import Artifact
from edgec.frontend.checkpoint import ModelConfig
from edgec.recipe import ROLES, Recipe, RoleOverride
from edgec.verify.chain import verify

FIXED = settings(
    derandomize=True,
    database=None,
    deadline=None,
    phases=[Phase.generate],  # shrinking would take hours; the failing configuration is printed as it is
    suppress_health_check=list(HealthCheck),
)
GROUPS = (0, 8, 12, 20, 32, 36, 64, 100, 128, 200, 252)
KINDS = ("small", "spilled", "siracusa", "host", "everything in L3", "short transfers")
L1_SIZES = [int(1024 * 1.5**step) for step in range(2, 14)]


@dataclass(frozen=True)
class Case:
    """One configuration; its repr reproduces it."""

    config: ModelConfig
    recipe: Recipe
    target: str
    seed: int
    biases: bool
    qk_norms: bool


@st.composite
def cases(draw: st.DrawFn) -> Case:
    """Sizes that are multiples of nothing, roles with widths of their own."""
    pick = lambda *values: draw(st.sampled_from(values))  # noqa: E731
    kv_heads = pick(2, 1, 3, 4)
    bits, groups = st.integers(2, 8), st.sampled_from(GROUPS)
    override = st.builds(RoleOverride, st.none() | bits, st.none() | groups)
    roles = draw(st.dictionaries(st.sampled_from(ROLES), override, max_size=3))
    config = tiny_models.config(
        hidden_dim=pick(36, 20, 27, 33, 50, 64, 75, 100),
        n_layers=pick(2, 1, 3, 4, 6),
        n_kv_heads=kv_heads,
        n_heads=kv_heads * pick(2, 1, 3, 4),
        head_dim=pick(6, 2, 4, 8, 10, 16, 18, 24, 32),
        ffn_dim=pick(37, 20, 52, 90, 128, 171),
        vocab_size=pick(97, 3, 17, 33, 101, 257, 511),
        tied_embeddings=draw(st.booleans()),
    )
    recipe = tiny_models.recipe(
        draw(bits),
        draw(groups),
        pick(40, 1, 2, 3, 17, 24, 64, 130, 333, 600),
        pick(3, 1, 2, 4, 5, 7, 8, 13, 16),
        **roles,
    )
    return Case(config, recipe, pick(*KINDS), draw(st.integers(0, 999)), draw(st.booleans()), draw(st.booleans()))


def target_of(case: Case, folder: Path) -> str:
    """The target's file: Siracusa, or one with the smallest L1 for which the plan has no deficit."""
    if case.target in ("siracusa", "host"):
        return case.target
    # A row put at a position of the cache or read from one of the rope table is moved by one transfer, not split.
    c = case.config
    shortest = max(c.n_kv_heads * c.head_dim, 2 * c.head_dim)
    levels = {
        "spilled": {"weights": ["L3"], "kv": ["L2"], "large": ["L2"]},
        "everything in L3": {"weights": ["L3"], "kv": ["L3"], "large": ["L2"]},
        "short transfers": {"max_bytes": max(260 + 4 * case.seed, shortest)},
    }.get(case.target, {})
    source = tiny_models.checkpoint(case.config, case.seed, case.biases, case.qk_norms)
    for size in L1_SIZES:
        path = tiny_models.target_file(folder / "target.toml", L1=size, **levels)
        if not tiny_models.planned(source, path, case.recipe).plan.deficits():
            return str(path)
    raise AssertionError(f"no L1 up to {L1_SIZES[-1]} B holds {case}")


def prove(case: Case, folder: Path, objects: Path, legs: tuple[str, ...], optimize: str = "-O0") -> None:
    """Build and verify one configuration."""
    source = tiny_models.checkpoint(case.config, case.seed, case.biases, case.qk_norms)
    target = target_of(case, folder)
    with tiny_models.quick(source, objects, optimize, measured="rv32" in legs):
        artifact = compiler.build("memory", target=target, recipe=case.recipe, out=folder / "out")
        found = verify(artifact, legs)
    assert artifact.built
    for leg in legs:
        result = found["backends"][leg]
        assert result["mismatches"] == 0
        assert result["tensors"] > 20 * case.config.n_layers


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("random")


@given(case=cases())
@settings(FIXED, max_examples=18)
def test_some_configurations(case: Case, folder: Path, objects: Path) -> None:
    prove(case, folder, objects, ("simulator", "host"))


@given(case=cases())
@settings(FIXED, max_examples=2)
def test_two_configurations_on_rv32(case: Case, folder: Path, objects: Path) -> None:
    prove(case, folder, objects, ("simulator", "host", "rv32"))


@pytest.mark.slow
@given(case=cases())
@settings(FIXED, max_examples=180)
def test_many_configurations(case: Case, folder: Path, objects: Path) -> None:
    prove(case, folder, objects, ("simulator", "host"), "-O2")


@pytest.mark.slow
@given(case=cases())
@settings(FIXED, max_examples=20)
def test_many_configurations_on_rv32(case: Case, folder: Path, objects: Path) -> None:
    prove(case, folder, objects, ("simulator", "host", "rv32"), "-O2")


def test_programs_that_leave_their_token_in_different_places(folder: Path, objects: Path) -> None:
    """Found by the test above: prefill's token was read where decode leaves its own."""
    sizes = {"vocab_size": 3, "hidden_dim": 27, "n_layers": 1, "n_heads": 8, "n_kv_heads": 4, "ffn_dim": 52}
    roles = {"q": RoleOverride(7), "v": RoleOverride(3, 252)}
    recipe = tiny_models.recipe(8, 12, 64, 5, **roles)
    case = Case(tiny_models.config(tied_embeddings=True, **sizes), recipe, "spilled", 769, False, True)
    prove(case, folder, objects, ("simulator", "host"))
    plan = Artifact.load(folder / "out").plan
    homes = {p.steps[-1].writes[0][1].offset for p in plan.programs.values()}
    assert len(homes) == 2, "the configuration no longer tests what it is here for"
