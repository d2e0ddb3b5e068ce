"""Fixtures that all folders share; lets their tests import tiny_models.py in every import mode of pytest."""

import sys
from pathlib import Path
from unittest.mock import patch

import pytest

sys.path.insert(0, str(Path(__file__).parent))

import tiny_models

from edgec.artifact import Artifact

AS_BUILT = ("test_near", "test_bounds", "test_other_allocators")  # files whose plans are those of edgec build


@pytest.fixture(scope="session")
def objects(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where compiled kernels are kept for the whole run."""
    return tmp_path_factory.mktemp("objects")


@pytest.fixture(scope="session")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> tiny_models.Planned:
    """A planned model whose weights and cache stream through a small L1. Not to be changed."""
    return tiny_models.planned(tiny_models.checkpoint(tiny_models.config()), small_target(tmp_path_factory))


@pytest.fixture(scope="session")
def artifact(tmp_path_factory: pytest.TempPathFactory, objects: Path) -> Artifact:
    """The same model built. Not to be changed: copy its folder."""
    source = tiny_models.checkpoint(tiny_models.config())
    out = tmp_path_factory.mktemp("built") / "out"
    with patch("edgec.memory.near.NEAR_SHARE", 0):
        return tiny_models.built(source, out, objects, small_target(tmp_path_factory))


def small_target(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Siracusa with 10 KB of L1 and transfers of at most 1,000 bytes."""
    return tiny_models.target_file(tmp_path_factory.mktemp("target") / "small.toml", L1=10_240, max_bytes=1000)


@pytest.fixture(autouse=True)
def constants_outside(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Tests of the planner's other decisions keep constants out of L1; those of that decision ask for it themselves."""
    where = request.path
    if where.parent.name in ("emit", "memory", "report", "search") and not where.name.startswith(AS_BUILT):
        monkeypatch.setattr("edgec.memory.near.NEAR_SHARE", 0)
