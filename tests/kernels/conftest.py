"""One compiled library a session."""

from __future__ import annotations

import ctypes
import sys
from pathlib import Path

import pytest

# The modules beside the tests: pytest's importlib mode does not put their folder on the path.
sys.path.insert(0, str(Path(__file__).parent))

from kernel_library import compile_library, compilers


@pytest.fixture(scope="session", params=sorted(compilers()))
def library(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> ctypes.CDLL:
    """The kernels, compiled by each of the host's compilers."""
    return compile_library(compilers()[request.param], tmp_path_factory.mktemp(f"kernels_{request.param}"))
