"""What a compression stage is: a frozen dataclass of options with a `run`, in a file named after its method.

`edgec/compress/<method>.py` exports its class as STAGE; a recipe names it by the file:

    [[stage]]
    method = "depth"
    blocks = 2

Nothing registers a stage: `names()` lists the files that have one.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from functools import cache
from importlib import import_module
from pathlib import Path
from pkgutil import iter_modules
from typing import Any, ClassVar, Protocol

import numpy as np
from numpy.typing import NDArray

from edgec.errors import RecipeError
from edgec.frontend.checkpoint import Checkpoint
from edgec.frontend.model_config import ModelConfig
from edgec.frontend.seq2seq_config import has_encoder

Tokens = NDArray[np.int64]


@dataclass(frozen=True)
class Calibration:
    """Text that stages measure and train on: a file, and how many windows of how many tokens are taken from it.

    The windows are consecutive from the start of the file for `seed` 0 as for every other: what varies with the seed
    is what a stage draws from them.
    """

    file: str = ""
    samples: int = 64
    length: int = 512

    def __post_init__(self) -> None:
        if self.samples < 1 or not 2 <= self.length <= 65536:
            raise RecipeError(
                "calibration takes 1 window or more, each of 2 to 65,536 tokens,"
                f" not {self.samples:,} of {self.length:,}."
            )


@dataclass
class Work:
    """What a running stage has besides the model: data, progress, a place for partial results, and limits."""

    original: Callable[[], Checkpoint]  # the model before the first stage
    calibration: Calibration = field(default_factory=Calibration)
    seed: int = 0
    partial: Path | None = None  # a folder that outlives a killed run; None: nothing is kept
    say: Callable[[str, int, int], None] = lambda text, done, total: None  # progress: text, steps done, steps in all
    deadline: float | None = None  # time.monotonic() at which a training stage must be done; None: its own options
    before_quantize: Checkpoint | None = None  # the last model of the chain with no packed matrix
    notes: dict[str, Any] = field(default_factory=dict)  # what the stage wants recorded in edgec.json

    def tokens(
        self, model: Checkpoint, samples: int | None = None, length: int | None = None, at_most: bool = False
    ) -> Tokens:
        """Calibration windows [samples, length] of token ids. Raises RecipeError if the text is too short.

        `at_most` takes fewer from a text that has no more.
        """
        from edgec.compress.calibration import windows

        return windows(model, self.calibration, samples, length, at_most)

    def load(self, key: str) -> dict[str, NDArray[Any]] | None:
        """Arrays that an earlier, interrupted run kept under `key`."""
        file = self.partial / f"{key}.npz" if self.partial else None
        if file is None or not file.is_file():
            return None
        with np.load(file) as data:
            return {name: data[name] for name in data.files}

    def save(self, key: str, arrays: dict[str, NDArray[Any]]) -> None:
        """Keep arrays for a later run of the same stage; written whole or not at all."""
        if self.partial is None:
            return
        import io

        from edgec.output import write_file

        buffer = io.BytesIO()
        np.savez(buffer, **arrays)  # type: ignore[arg-type]
        write_file(self.partial / f"{key}.npz", buffer.getvalue())

    def seconds_left(self) -> float:
        """Seconds until the deadline, infinite if there is none."""
        return float("inf") if self.deadline is None else self.deadline - time.monotonic()


class Stage(Protocol):
    """One compression step. Subclasses are frozen dataclasses; impossible options raise RecipeError when made.

    A stage that changes more than the configuration says so without weights, by one of two methods more:

        block_order(config) -> Sequence[int]      which blocks run in its model, by their numbers in the one before
        structure(structure) -> Structure         which matrices are products or shared (frontend/structure.py)

    They raise RecipeError where that depends on the weights. A stage that works on models with an encoder says so by

        encoder_refusal(config) -> str            "", or which of its options do not work there, as a sentence
    """

    method: ClassVar[str]

    def run(self, model: Checkpoint, work: Work) -> Checkpoint:
        """The compressed model. Same model, options, data and seed give the same bytes."""
        ...

    def shape(self, config: ModelConfig) -> ModelConfig:
        """The configuration that `run` gives for a model of this one, known without weights."""
        ...


@cache
def names() -> tuple[str, ...]:
    """Methods of all stages: the modules of this package that export STAGE."""
    found = []
    for module in iter_modules([str(Path(__file__).parent)]):
        source = (Path(__file__).parent / f"{module.name}.py").read_text() if not module.ispkg else ""
        if "\nSTAGE = " in source:
            found.append(module.name)
    return tuple(sorted(found))


def find(method: str) -> Any:
    """The stage class of a method. Raises RecipeError for an unknown one."""
    if method not in names():
        raise RecipeError(f"there is no stage {method!r}; known: {', '.join(names())}.")
    return import_module(f"edgec.compress.{method}").STAGE


def refuse_stages(config: ModelConfig, stages: Sequence[Any]) -> None:
    """Raise RecipeError if one of the stages does not work on a model of this kind."""
    if not has_encoder(config):
        return
    for stage in stages:
        if not hasattr(stage, "encoder_refusal"):
            raise RecipeError(f"the stage {stage.method} works on models that continue text, not on an encoder.")
        if refusal := stage.encoder_refusal(config):
            raise RecipeError(refusal)


def layers_of(names: Sequence[str], layer: int) -> list[str]:
    """Those of `names` that belong to a block."""
    return [name for name in names if name.startswith(f"model.layers.{layer}.")]


def floats_of(model: Checkpoint, names: Sequence[str], method: str, work: Work) -> Checkpoint:
    """The model with these matrices off their grids, for a stage that moves weights; work.notes say which were packed.

    A model that arrived quantised loses nothing by it: it is rounded again at the end. Raises RecipeError if a stage of
    the recipe has packed them, as its work would be undone.
    """
    packed = [name for name in names if name in model.packed]
    if packed and any(stage.get("method") == "quantize" for stage in model.stages):
        raise RecipeError(
            f"the {method} stage changes weights that a quantize stage has packed; put it before quantize."
        )
    if packed:
        work.notes["dequantised"] = packed
    return replace(model, packed={name: read for name, read in model.packed.items() if name not in packed})
