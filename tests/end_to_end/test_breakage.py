"""What is broken on purpose is found, and named: a kernel's constant, an offset, a transfer, a byte of a weight."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import tiny_models

from edgec.artifact import Artifact
from edgec.errors import EdgecError, MismatchError, VerifyError
from edgec.verify.chain import verify

KERNELS = {  # file: (text, what it becomes, op that must be named)
    "rmsnorm/rmsnorm_generic.c": ("+ a->eps", "+ 2.0f * a->eps", "rmsnorm"),
    "quantize_dynamic/quantize_dynamic_generic.c": ("127.0f / ", "126.0f / ", "quantize_dynamic"),
    "matmul_w4a8/matmul_w4a8_generic.c": ("8", "9", "matmul_w"),
    "rope/rope_generic.c": ("a->unit", "1.0001f * a->unit", "rope"),
    "attention/attention_softmax_generic.c": ("255.0f", "254.0f", "attention"),
    "silu_mul/silu_mul_generic.c": ("1.0f", "1.0001f", "silu_mul"),
    "embed/embed_generic.c": ("", "", "embed"),
    "kv_append/kv_append_generic.c": ("127.0f", "120.0f", "kv_append"),
}


@pytest.fixture
def copied(artifact: Artifact, tmp_path: Path) -> Path:
    """A copy of the built folder, to be broken."""
    return Path(shutil.copytree(artifact.path, tmp_path / "out"))


def fails(folder: Path, objects: Path, *legs: str) -> VerifyError:
    """The error that verification must end with."""
    with (
        tiny_models.quick(None, objects),  # type: ignore[arg-type]
        pytest.raises(VerifyError) as caught,
    ):
        verify(Artifact.load(folder), legs)
    assert caught.value.exit_code == 4
    assert "\n" not in str(caught.value)
    return caught.value
