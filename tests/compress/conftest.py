"""Texts in the words of the tiny models' tokenizer and of the embedded model, and a clock for stages with a limit."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest

from edgec.compress.stage import Calibration
from edgec.verify.workload import TEXT
from tests.compress.clock import Clock
from tests.compress.stories import Stories, told


@pytest.fixture
def calibration(tmp_path: Path) -> Calibration:
    """12 windows of 32 tokens of random words."""
    words = list(dict.fromkeys(re.findall(r"\w+|[^\w\s]+", TEXT)))[:90]
    rng = np.random.default_rng(7)
    file = tmp_path / "calibration.txt"
    file.write_text(" ".join(rng.choice(words, size=600)))
    return Calibration(str(file), samples=12, length=32)


@pytest.fixture(scope="module")
def text(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Words in a fixed cycle: something to learn."""
    words = list(dict.fromkeys(re.findall(r"\w+", TEXT)))[:20] * 100
    path = tmp_path_factory.mktemp("text") / "words.txt"
    path.write_text(" ".join(words))
    return path


@pytest.fixture(scope="module")
def stories(tmp_path_factory: pytest.TempPathFactory) -> Stories:
    """The embedded model and text that it told."""
    return told(tmp_path_factory.mktemp("stories"))


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    """The clock of the training loop and of deadlines."""
    made = Clock()
    monkeypatch.setattr("edgec.compress.training.time", made)
    monkeypatch.setattr("edgec.compress.stage.time", made)
    return made
