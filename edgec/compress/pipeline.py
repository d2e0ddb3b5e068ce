"""Runs a recipe's stages one after the other; every stage leaves a checkpoint that can be evaluated alone.

    OUT/0-dense.json         the model before the first stage: size and quality
    OUT/1-depth/             a Hugging Face folder (compress/folder.py)
    OUT/2-width/ ...

A stage's folder appears whole, by renaming. Its key is a hash over the model, all stages up to it, the data and the
seed: a run that was killed, or repeated with a recipe that differs further down, takes over what has the same key.
What a long stage keeps of itself while it runs is in OUT/.partial-<key>.
"""

from __future__ import annotations

import hashlib
import json
import shutil
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from edgec.compress.folder import MARK, write_folder
from edgec.compress.sizes import size_of
from edgec.compress.stage import Work, refuse_stages
from edgec.compress.vocab import settled
from edgec.compress.vocabulary import with_tokens_of
from edgec.errors import OutputError, RecipeError
from edgec.frontend.checkpoint import Checkpoint
from edgec.frontend.load import load_checkpoint
from edgec.frontend.provenance import sha256
from edgec.output import replaced_folder, write_file
from edgec.recipe import Recipe, stage_options

VERSION = 1  # of what stages compute: raising it makes every earlier result stale

Say = Callable[[str, int, int], None]
Measure = Callable[[Checkpoint, Say], dict[str, Any]]  # quality of a model: perplexity and the protocol behind it


@dataclass(frozen=True)
class Compressed:
    """The last stage's model, and the folders of all stages."""

    model: Checkpoint
    folders: tuple[Path, ...]
    table: tuple[dict[str, Any], ...]  # one row a stage, the dense model first
    unrounded: Path | None  # folder of the last stage before quantisation; None: that is the dense model itself


def compress(
    model: Checkpoint,
    recipe: Recipe,
    out: Path,
    *,
    say: Say = lambda text, done, total: None,
    measure: Measure | None = None,
    minutes: float | None = None,
) -> Compressed:
    """Run the recipe's stages on a model and leave their checkpoints in `out`.

    `minutes` bounds each training stage. A recipe that quantises starts from the floats of a model that arrives
    quantised: its matrices are rounded again in any case, and pruning or training must not be bound to their old grids.
    Raises RecipeError for what the recipe cannot do to this model, before the first stage runs.
    """
    _check_data(recipe)
    recipe = replace(recipe, stages=settled(recipe.stages, model, recipe.calibration))
    config = model.config
    refuse_stages(config, recipe.stages)
    for stage in recipe.stages:
        config = stage.shape(config)
    if any(stage.method == "quantize" for stage in recipe.stages):
        model = replace(model, packed={})
    key = _key(str(VERSION), model.provenance.get("files"), _tokenizer_key(model), recipe.seed, _data(recipe))
    dense = _measured_dense(model, out, key, say, measure)
    original, before_quantize = model, model
    rows: list[dict[str, Any]] = [dense]
    folders: list[Path] = []
    unrounded = None
    for number, stage in enumerate(recipe.stages, 1):
        key = _key(key, stage_options(stage), *_own_text(stage))
        folder = out / f"{number}-{stage.method}"
        if _done(folder) != key:
            partial = out / f".partial-{key[:16]}"
            work = Work(
                original=lambda stages=model.stages: with_tokens_of(original, stages),  # type: ignore[misc]
                calibration=recipe.calibration,
                seed=recipe.seed,
                partial=partial,
                say=lambda text, done, total, n=number, s=stage: say(  # type: ignore[misc]
                    f"{n}/{len(recipe.stages)} {s.method}: {text}", done, total
                ),
                deadline=None if minutes is None else time.monotonic() + 60 * minutes,
                before_quantize=with_tokens_of(before_quantize, model.stages),
            )
            began = time.monotonic()
            made = stage.run(model, work)
            seconds = time.monotonic() - began
            row = {
                **stage_options(stage),
                "key": key,
                "seed": recipe.seed,
                "data": _data(recipe),
                "notes": work.notes,
                **size_of(made),
                "quality": measure(made, work.say) if measure else None,
            }
            made = replace(made, stages=(*model.stages, row))
            with replaced_folder(folder, mark=MARK) as fresh:
                write_folder(fresh, made)
                # Time is the one thing that differs between runs: it has a file of its own.
                write_file(fresh / "seconds.json", json.dumps({"seconds": round(seconds, 1)}) + "\n")
            shutil.rmtree(partial, ignore_errors=True)
        model = load_checkpoint(str(folder))
        model = replace(model, tokenizer=with_tokens_of(original, model.stages).tokenizer or model.tokenizer)
        if not model.packed:
            before_quantize, unrounded = model, folder
        rows.append(model.stages[-1] | {"seconds": _seconds(folder)})
        folders.append(folder)
    return Compressed(model, tuple(folders), tuple(rows), unrounded)


def _measured_dense(model: Checkpoint, out: Path, key: str, say: Say, measure: Measure | None) -> dict[str, Any]:
    file = out / "0-dense.json"
    try:
        found = json.loads(file.read_text(encoding="utf-8"))
        if found["key"] == key:
            return dict(found)
    except (OSError, ValueError, KeyError, TypeError):
        pass
    row = {"method": "dense", "key": key, **size_of(model), "quality": measure(model, say) if measure else None}
    write_file(file, json.dumps(row, indent=1, sort_keys=True) + "\n")
    return row


def _check_data(recipe: Recipe) -> None:
    """A text that is named must be there, before anything is computed."""
    own = [(f"text of the {stage.method} stage", stage.file) for stage in recipe.stages if getattr(stage, "file", "")]
    for what, file in [("calibration text", recipe.calibration.file), *own]:
        if file and not Path(file).is_file():
            raise RecipeError(f"the {what} {file} does not exist.")


def _data(recipe: Recipe) -> dict[str, Any]:
    file = recipe.calibration.file
    named = {"file": Path(file).name, "sha256": sha256(Path(file))} if file else {"file": ""}
    return asdict(recipe.calibration) | named


def _own_text(stage: Any) -> list[str]:
    """The hash of a text that a stage alone uses; none for most."""
    return [sha256(Path(stage.file))] if getattr(stage, "file", "") else []


def _tokenizer_key(model: Checkpoint) -> str:
    return "" if model.tokenizer is None else hashlib.sha256(model.tokenizer.backend.to_str().encode()).hexdigest()


def _key(*parts: Any) -> str:
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()


def _done(folder: Path) -> str | None:
    """The key of a finished stage's folder. Raises OutputError for a folder that no stage left."""
    if not folder.exists():
        return None
    try:
        return str(json.loads((folder / MARK).read_text(encoding="utf-8"))["stages"][-1]["key"])
    except (OSError, ValueError, KeyError, TypeError, IndexError):
        raise OutputError(f"{folder} exists and is not a stage of edgec; choose another -o or remove it.") from None


def _seconds(folder: Path) -> float | None:
    try:
        return float(json.loads((folder / "seconds.json").read_text(encoding="utf-8"))["seconds"])
    except (OSError, ValueError, KeyError):
        return None
