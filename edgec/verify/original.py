"""The float checkpoint that a folder was built from, if it is still where the build found it."""

from __future__ import annotations

import json

from edgec.artifact import Artifact
from edgec.errors import EdgecError
from edgec.frontend.checkpoint import Checkpoint
from edgec.frontend.load import load_checkpoint


def original(artifact: Artifact) -> Checkpoint:
    """Raises EdgecError if it has gone or changed."""
    try:
        local = json.loads((artifact.path / "local.json").read_text(encoding="utf-8"))
        checkpoint = load_checkpoint(local["model"], local["tokenizer"])
    except (OSError, ValueError, KeyError) as error:
        raise EdgecError(str(error)) from error
    if checkpoint.provenance.get("files") != local.get("files", artifact.meta["provenance"].get("files")):
        raise EdgecError("the checkpoint has changed since the build")
    return checkpoint
