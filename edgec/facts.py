"""What build.json says of a build before its program is emitted: model, recipe, plan, tokenizer, provenance."""

from __future__ import annotations

import platform
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from edgec import __version__
from edgec.artifact import FORMAT
from edgec.compress.quantized import QuantizedModel
from edgec.frontend.checkpoint import Checkpoint
from edgec.memory.plan import Plan
from edgec.recipe import Recipe
from edgec.report.placements import placements
from edgec.target import Target


def described(
    checkpoint: Checkpoint, model: QuantizedModel, recipe: Recipe, chip: Target, made: Plan, longest: int
) -> dict[str, Any]:
    """build.json before emission."""
    source = Path(str(checkpoint.provenance.get("source", "model")))
    tokenizer = checkpoint.tokenizer
    return facts(source, model, recipe, chip, made, longest) | {
        "tokenizer": None
        if tokenizer is None
        else {
            "bos_id": tokenizer.bos_id,
            "eos_ids": list(tokenizer.eos_ids),
            "add_bos": tokenizer.add_bos,
            "add_eos": tokenizer.add_eos,
            "encode_special_tokens": bool(tokenizer.backend.encode_special_tokens),
        },
        "provenance": checkpoint.provenance
        | {"source": source.name, "versions": {"python": platform.python_version(), "numpy": np.__version__}},
    }


def facts(
    source: Path, model: QuantizedModel, recipe: Recipe, chip: Target, made: Plan, longest: int
) -> dict[str, Any]:
    """What build.json says of model, recipe and plan."""
    config = {
        k: v for k, v in asdict(model.config).items() if k not in ("rope_inv_freq", "rope_factor", "local_inv_freq")
    }
    parameters = sum(m.packed.shape[0] * m.k for m in model.matrices.values())
    parameters += sum(f.size for f in model.floats.values())
    return {
        "format": FORMAT,
        "edgec": __version__,
        "title": f"{source.stem or source.name} for {chip.name}",
        "model": config | {"parameters": parameters},
        "recipe": recipe.to_dict(),
        "target": chip.name,
        "context": made.context,
        "chunk": made.chunk,
        "max_context": longest,
        "placements": placements(made),
        "program": None,
        "constants": {},
        "sparsity": {name: asdict(storage) for name, storage in model.storage.items()},
        "widths": {name: m.bits for name, m in model.matrices.items()},
        "quantization": {name: float(f"{nmse:.6g}") for name, nmse in model.errors.items()},
    }
