"""An evaluation: a number, and beside it everything that is needed to get it again."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from edgec.errors import OutputError
from edgec.output import write_file

FILE = "evaluations.json"


@dataclass(frozen=True)
class Evaluation:
    """Metrics of one model on one task under one protocol."""

    task: str
    metrics: Mapping[str, float]
    protocol: Mapping[str, Any]
    model: Mapping[str, Any]  # name, parameters, bytes, bits per weight of the blocks
    seconds: float

    def timed(self, seconds: float) -> Evaluation:
        """The same with the time it took."""
        return replace(self, seconds=round(seconds, 1))

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON values."""
        return asdict(self)


def store(folder: Path, evaluation: Evaluation) -> Path:
    """Add to a folder's `evaluations.json`; a number of the same task and protocol is replaced."""
    file = folder / FILE
    same = (evaluation.task, dict(evaluation.protocol))
    kept = [entry for entry in stored(folder) if (entry["task"], entry["protocol"]) != same]
    write_file(file, json.dumps([*kept, evaluation.to_dict()], indent=1, sort_keys=True) + "\n")
    return file


def stored(path: Path) -> list[dict[str, Any]]:
    """The evaluations of a folder, or of a file with a list of them or one. Raises OutputError if it is damaged."""
    file = path / FILE if path.is_dir() else path
    if not file.is_file():
        return []
    try:
        found = json.loads(file.read_text(encoding="utf-8"))
        entries = found if isinstance(found, list) else [found]
        if all({"task", "metrics", "protocol", "model"} <= entry.keys() for entry in entries):
            return entries
    except (OSError, ValueError, AttributeError):
        pass
    raise OutputError(f"{file} is not a list of evaluations of edgec; remove it or name another.")
