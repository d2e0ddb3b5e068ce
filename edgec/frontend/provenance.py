"""Where a checkpoint came from: names and SHA-256 sums of the files that were read."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from edgec.errors import ModelError


def describe(source: str, form: str, files: Iterable[Path], notes: Sequence[str]) -> dict[str, Any]:
    """The provenance of a checkpoint: source as given, format, {file name: SHA-256}, and notes to the user."""
    digests = {path.name: sha256(path) for path in sorted(set(files))}
    return {"source": source, "format": form, "files": digests, "notes": list(notes)}


def sha256(path: Path) -> str:
    """Hexadecimal SHA-256 of a file, read in pieces so that its size does not matter."""
    try:
        with path.open("rb") as stream:
            return hashlib.file_digest(stream, "sha256").hexdigest()
    except OSError as error:
        raise ModelError(f"{path} cannot be read: {error.strerror or error}.") from error
