"""Keeps transformers from advising to install torch: edgec uses its configurations and tokenizers only."""

from __future__ import annotations

import os
import sys


def quiet_transformers() -> None:
    """Call before importing transformers."""
    os.environ.setdefault("TRANSFORMERS_NO_ADVISORY_WARNINGS", "1")


def without_torch() -> None:
    """For a process that reads configurations and tokenizers only: to transformers torch is not installed.

    It would import torch where it finds it, which takes three quarters of its own import. Call before that.
    """
    if "torch" not in sys.modules and "transformers" not in sys.modules:
        sys.modules["torch"] = None  # type: ignore[assignment]  # how Python marks a module that is not to be found
