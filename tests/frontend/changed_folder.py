"""Folders of models, changed and loaded: what tests of encoders' front ends share."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from edgec.frontend.load import load_checkpoint


def change(folder: Path, file: str = "config.json", **values: Any) -> None:
    path = folder / file
    path.write_text(json.dumps(json.loads(path.read_text()) | values))


def loads(folder: Path) -> Callable[[], object]:
    return lambda: load_checkpoint(str(folder))
