"""The process that runs GPTQModel: `python -m edgec.compress.gptqmodel_worker FOLDER`.

FOLDER holds job.json (options), float/ (the model), tokens.npy [samples, length]; the result is FOLDER/quantized.
On the standard output: a line of JSON for each finished block, {"layer": number from 1}, and {"error": sentence} at a
failure. What GPTQModel prints goes to FOLDER/log.txt.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from edgec.frontend.checks import one_line

Say = Callable[[dict[str, Any]], None]


def main(folder: Path) -> int:
    """Run the job of a folder; the exit code."""
    with os.fdopen(os.dup(1), "w", encoding="utf-8") as out, (folder / "log.txt").open("w") as log:
        os.dup2(log.fileno(), 1)
        os.dup2(log.fileno(), 2)

        def say(message: dict[str, Any]) -> None:
            print(json.dumps(message), file=out, flush=True)

        try:
            run(folder, json.loads((folder / "job.json").read_text(encoding="utf-8")), say)
        except Exception as error:  # whatever GPTQModel raises
            say({"error": f"{type(error).__name__}: {one_line(error)}"})
            return 1
    return 0


def run(folder: Path, job: dict[str, Any], say: Say) -> None:
    """Quantise FOLDER/float to FOLDER/quantized."""
    for name, value in (("GPTQMODEL_CPU_WORKERS", str(os.cpu_count() or 1)), ("HF_HUB_OFFLINE", "1")):
        os.environ.setdefault(name, value)
    write_padding_tokenizer(folder / "float")
    import torch
    from gptqmodel import BACKEND, GPTQModel, QuantizeConfig

    awq = job["options"]["method"] == "awq"
    # GPTQModel's AWQ packs in the type of the model, and knows half types only.
    dtype = torch.float16 if awq else torch.float32
    config = QuantizeConfig(**job["config"])
    model = GPTQModel.load(str(folder / "float"), config, device="cpu", dtype=dtype)

    def finished(layer_idx: int, submodule_finalized: bool) -> None:
        if submodule_finalized:
            say({"layer": layer_idx + 1})

    model.layer_callback = finished
    tokens = torch.from_numpy(np.load(folder / "tokens.npy"))
    data = [{"input_ids": row[None], "attention_mask": torch.ones_like(row[None])} for row in tokens]
    backend = BACKEND.AWQ_TORCH if awq else BACKEND.GPTQ_TORCH
    model.quantize(data, batch_size=1, backend=backend)
    model.save(str(folder / "quantized"))


def write_padding_tokenizer(folder: Path) -> None:
    """A tokenizer with a padding token, without which GPTQModel does not load a model. It is not used: the
    calibration arrives as tokens."""
    from tokenizers import Tokenizer, models

    Tokenizer(models.WordLevel({"<pad>": 0}, unk_token="<pad>")).save(str(folder / "tokenizer.json"))
    settings = {"tokenizer_class": "PreTrainedTokenizerFast", "pad_token": "<pad>", "eos_token": "<pad>"}
    (folder / "tokenizer_config.json").write_text(json.dumps(settings), encoding="utf-8")


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
