"""Random configurations of the LLaMA family on random targets: built, and exact on every backend."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import tiny_models
from hypothesis import given, settings
from hypothesis import strategies as st
from random_cases import FIXED, KINDS, Case, prove, source_of

from edgec.artifact import Artifact
from edgec.recipe import ROLES, RoleOverride

GROUPS = (0, 8, 12, 20, 32, 36, 64, 100, 128, 200, 252)


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


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("random")


@given(case=cases())
@settings(FIXED, max_examples=18)
def test_some_configurations(case: Case, folder: Path, objects: Path) -> None:
    prove(case, source_of(case), folder, objects, ("simulator", "host"))


@given(case=cases())
@settings(FIXED, max_examples=2)
def test_two_configurations_on_rv32(case: Case, folder: Path, objects: Path) -> None:
    prove(case, source_of(case), folder, objects, ("simulator", "host", "rv32"))


@given(case=cases())
@settings(FIXED, max_examples=3)
def test_three_configurations_on_the_chip(case: Case, folder: Path, objects: Path) -> None:
    """Its own program, whose copies of kernels know these shapes."""
    prove(replace(case, target="siracusa"), source_of(case), folder, objects, ("siracusa",))


@pytest.mark.slow
@given(case=cases())
@settings(FIXED, max_examples=30)
def test_many_configurations_on_the_chip(case: Case, folder: Path, objects: Path) -> None:
    prove(replace(case, target="siracusa"), source_of(case), folder, objects, ("siracusa",), "-O2")


@pytest.mark.slow
@given(case=cases())
@settings(FIXED, max_examples=180)
def test_many_configurations(case: Case, folder: Path, objects: Path) -> None:
    prove(case, source_of(case), folder, objects, ("simulator", "host"), "-O2")


@pytest.mark.slow
@given(case=cases())
@settings(FIXED, max_examples=20)
def test_many_configurations_on_rv32(case: Case, folder: Path, objects: Path) -> None:
    prove(case, source_of(case), folder, objects, ("simulator", "host", "rv32"), "-O2")


def test_programs_that_leave_their_token_in_different_places(folder: Path, objects: Path) -> None:
    """Found by the test above: prefill's token was read where decode leaves its own."""
    sizes = {"vocab_size": 17, "hidden_dim": 27, "n_layers": 1, "n_heads": 8, "n_kv_heads": 4, "ffn_dim": 20}
    recipe = tiny_models.recipe(8, 12, 40, 2)
    case = Case(tiny_models.config(tied_embeddings=True, **sizes), recipe, "spilled", 769, False, True)
    prove(case, source_of(case), folder, objects, ("simulator", "host"))
    plan = Artifact.load(folder / "out").plan
    homes = {p.steps[-1].writes[0][1].offset for p in plan.programs.values()}
    assert len(homes) == 2, "the configuration no longer tests what it is here for"
