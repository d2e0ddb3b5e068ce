"""Keeps transformers from advising to install torch: edgec uses its configurations and tokenizers only."""

from __future__ import annotations

import os


def quiet_transformers() -> None:
    """Call before importing transformers."""
    os.environ.setdefault("TRANSFORMERS_NO_ADVISORY_WARNINGS", "1")
