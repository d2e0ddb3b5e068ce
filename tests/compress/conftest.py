"""A calibration text in the words of the tiny models' tokenizer."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest

from edgec.compress.stage import Calibration
from edgec.verify.workload import TEXT


@pytest.fixture
def calibration(tmp_path: Path) -> Calibration:
    """12 windows of 32 tokens of random words."""
    words = list(dict.fromkeys(re.findall(r"\w+|[^\w\s]+", TEXT)))[:90]
    rng = np.random.default_rng(7)
    file = tmp_path / "calibration.txt"
    file.write_text(" ".join(rng.choice(words, size=600)))
    return Calibration(str(file), samples=12, length=32)
