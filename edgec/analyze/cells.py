"""Numbers that take long, kept one by one: an analysis that was stopped goes on where it was."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from edgec.analyze import VERSION
from edgec.errors import OutputError
from edgec.output import write_file

Say = Callable[[str, int, int], None]
EVERY = 8  # cells between writes


class Cells:
    """Numbers by key, in a file that is named after all that they depend on."""

    def __init__(self, folder: Path, depends: Mapping[str, Any]) -> None:
        told = json.dumps([VERSION, depends], sort_keys=True, default=str)
        self.file = folder / f".partial-{hashlib.sha256(told.encode()).hexdigest()[:16]}.json"
        self.values: dict[str, float] = {}
        if self.file.is_file():
            try:
                self.values = {str(key): float(value) for key, value in json.loads(self.file.read_bytes()).items()}
            except (ValueError, TypeError, AttributeError):
                raise OutputError(
                    f"{self.file}, an earlier run's numbers, is damaged: remove it to start anew."
                ) from None

    def fill(self, wanted: Mapping[str, Callable[[], float]], text: str, say: Say) -> dict[str, float]:
        """All wanted numbers by key; those that are kept are not computed again."""
        try:
            for done, (key, compute) in enumerate(wanted.items()):
                say(text, done, len(wanted))
                if key not in self.values:
                    self.values[key] = compute()
                    if len(self.values) % EVERY == 0:
                        self.save()
        finally:
            self.save()
        return {key: self.values[key] for key in wanted}

    def save(self) -> None:
        """Write what there is; a number that is not finite stays one."""
        write_file(self.file, json.dumps({k: v if np.isfinite(v) else repr(v) for k, v in self.values.items()}))

    def forget(self) -> None:
        """Remove the file: the result is written."""
        self.file.unlink(missing_ok=True)
