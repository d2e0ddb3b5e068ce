"""The C model as a shared library, from each of the host's compilers; the modules beside the tests."""

from __future__ import annotations

import ctypes
import sys
from pathlib import Path

import pytest

# pytest's importlib mode does not put a test's folder on the path.
sys.path.insert(0, str(Path(__file__).parent))
sys.path.insert(0, str(Path(__file__).parents[1] / "kernels"))

from kernel_library import compilers
from neureka_library import compile_neureka


@pytest.fixture(scope="session", params=sorted(compilers()))
def neureka(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> ctypes.CDLL:
    """kernels/neureka, compiled by each of the host's compilers."""
    return compile_neureka(compilers()[request.param], tmp_path_factory.mktemp(f"neureka_{request.param}"))
