"""GPTQModel as a quantiser of the block matrices: GPTQ and AWQ, taken over without a second rounding.

The float model is written as a Hugging Face folder, GPTQModel runs on it in a process of its own
(`gptqmodel_worker.py`: it prints, patches other libraries and keeps memory), and the folder that it saves is read by
the front end for such folders. So what edgec computes with is what GPTQModel wrote, code by code.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from dataclasses import asdict, dataclass
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np

import edgec
from edgec.compress.stage import Work
from edgec.compress.standard_form import standard_config
from edgec.errors import RecipeError, ToolError
from edgec.frontend.checkpoint import Checkpoint

METHODS = ("gptq", "awq")
GROUPS = {"gptq": (0, 16, 32, 64, 128, 256, 512, 1024), "awq": (0, 16, 32, 64, 128)}
BITS = {"gptq": (2, 3, 4, 8), "awq": (4,)}


@dataclass(frozen=True)
class Options:
    """What GPTQModel is asked for. Raises RecipeError for what it cannot do.

    act_order: GPTQ quantises inputs by falling activation, on grids fixed before (desc_act with static_groups: plain
    desc_act scatters groups over the inputs, which the kernels cannot run). Otherwise `group_aware` orders groups, and
    the inputs inside a group, by activation, which is GPTQModel's default. AWQ knows neither.
    """

    method: str = "gptq"
    bits: int = 4
    group_size: int = 64  # inputs that share a scale; 0: all of a row
    act_order: bool = False
    damp_percent: float = 0.05  # of the mean diagonal of the Hessian, added to it
    group_aware: bool = True
    symmetric: bool = True

    def __post_init__(self) -> None:
        if self.method not in METHODS:
            raise RecipeError(f"GPTQModel's method {self.method!r} is unknown here; known: {', '.join(METHODS)}.")
        if self.bits not in BITS[self.method]:
            listed = ", ".join(map(str, BITS[self.method]))
            raise RecipeError(f"GPTQModel quantises by {self.method} to {listed} bits, not {self.bits}.")
        if self.group_size not in GROUPS[self.method]:
            listed = ", ".join(map(str, GROUPS[self.method]))
            raise RecipeError(f"GPTQModel's {self.method} takes a group_size of {listed}, not {self.group_size}.")
        if not 0 < self.damp_percent < 1:
            raise RecipeError(f"damp_percent is {self.damp_percent}; it is a share between 0 and 1.")

    def config(self) -> dict[str, Any]:
        """The arguments of GPTQModel's QuantizeConfig."""
        made: dict[str, Any] = {"bits": self.bits, "group_size": self.group_size or -1, "sym": self.symmetric}
        made |= {"offload_to_disk": False, "pack_impl": "original"}  # the other one compiles C++ with what it finds
        if self.method == "awq":
            return made | {"method": "awq", "format": "gemm"}
        order = {"desc_act": self.act_order, "static_groups": self.act_order}
        order["act_group_aware"] = self.group_aware and not self.act_order and self.group_size > 0
        # Format gptq_v2 keeps a zero point of 0, which gptq stores as -1.
        return made | order | {"method": "gptq", "format": "gptq_v2", "damp_percent": self.damp_percent}


def quantize(model: Checkpoint, options: Options, work: Work) -> Checkpoint:
    """The model with its block matrices packed as GPTQModel quantises them on the calibration text.

    AWQ moves scales between matrices, norms and biases, so it changes the float tensors of the blocks too. Raises
    RecipeError for a model that GPTQModel cannot quantise with these options, ToolError if it is missing or fails.
    """
    from edgec.compress.folder import write_folder
    from edgec.frontend.huggingface import load_huggingface

    if find_spec("gptqmodel") is None:
        raise ToolError("GPTQModel is not installed; pip install 'edgec[gptq]', or take another quantiser.")
    _check_shapes(model, options)
    if standard_config(model.config) != model.config:
        raise RecipeError("GPTQModel would quantise idle heads too (compress/standard_form.py); take edgec's own gptq.")
    if model.factors or model.shared:
        raise RecipeError("GPTQModel stores every matrix by itself: quantise products and shared matrices by gptq.")
    if model.branches or (model.patterns and options.method == "gptq"):  # AWQ only rounds, and 0 is on its grids
        what = "low-rank branches" if model.branches else "pruned weights at zero"
        raise RecipeError(f"GPTQModel does not keep {what}; quantise this model by edgec's own gptq.")
    work.notes["gptqmodel"] = version("gptqmodel")
    tokens = work.tokens(model)
    with tempfile.TemporaryDirectory(prefix="edgec-") as name:
        folder = Path(name)
        write_folder(folder / "float", model)
        np.save(folder / "tokens.npy", tokens)
        job = {"options": asdict(options), "config": options.config()}
        (folder / "job.json").write_text(json.dumps(job), encoding="utf-8")
        _run(folder, model.config.n_layers, work)
        made = load_huggingface(folder / "quantized", "GPTQModel", model.tokenizer)
        names = model.matrix_names()
        packed = {name: made.packed[name]() for name in names}
        floats = {}
        if options.method == "awq":
            blocks = [name for name in made.readers if name.startswith("model.layers.") and name not in packed]
            floats = {name: made.tensor(name) for name in blocks}
    return model.with_tensors(floats).with_packed(packed)


def _check_shapes(model: Checkpoint, options: Options) -> None:
    """What GPTQModel asks of a matrix [n, k], found by trying, before it has computed for minutes."""
    multiple_n, multiple_k = 1, 1
    if options.method == "awq":  # its search for clipping works on 64 outputs at a time
        multiple_n, multiple_k = 64, options.group_size or 1
    elif options.bits == 3:  # 32 codes fill three words
        multiple_n, multiple_k = 32, 32
    shapes = model.config.tensor_shapes()
    for name in model.matrix_names():
        n, k = shapes[name]
        if n % multiple_n or k % multiple_k:
            raise RecipeError(
                f"{name} has {n} outputs and {k} inputs; GPTQModel's {options.method} at {options.bits} bits needs "
                f"multiples of {multiple_n} and {multiple_k}. Take another quantiser, width or group_size."
            )


def _run(folder: Path, n_layers: int, work: Work) -> None:
    """Run the worker on a job folder, progress to `work.say`. Raises ToolError with its last words."""
    root = str(Path(edgec.__file__).resolve().parents[1])
    path = os.pathsep.join([root, *filter(None, [os.environ.get("PYTHONPATH")])])
    command = [sys.executable, "-m", "edgec.compress.gptqmodel_worker", str(folder)]
    work.say("GPTQModel starts", 0, n_layers)
    error = ""
    with subprocess.Popen(
        command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, env=os.environ | {"PYTHONPATH": path}, cwd=folder
    ) as worker:
        assert worker.stdout is not None
        try:
            for line in worker.stdout:
                message = json.loads(line)
                error = message.get("error", "")
                if "layer" in message:
                    work.say(f"GPTQModel, block {message['layer']}", message["layer"], n_layers)
        except BaseException:
            worker.kill()
            raise
    if worker.returncode:
        raise ToolError(f"GPTQModel failed: {error or _last_line(folder / 'log.txt')}.")


def _last_line(log: Path) -> str:
    """The end of a log; GPTQModel's own threads end the process without an exception that could be caught."""
    lines = log.read_text(encoding="utf-8", errors="replace").splitlines() if log.is_file() else []
    last = next((line for line in reversed(lines) if line.strip()), "its process ended without a word")
    return " ".join(last.split())[:300].rstrip(".")
