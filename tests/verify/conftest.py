"""Lets the tests here import fake_project.py in every import mode of pytest."""

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))

from fake_project import write_project


@pytest.fixture(scope="session")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The stand-in project; tests build it elsewhere and do not change it."""
    return write_project(tmp_path_factory.mktemp("project"))


@pytest.fixture(scope="session")
def build_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One folder for all builds of the stand-in project, so that its kernels are compiled once."""
    return tmp_path_factory.mktemp("build")
