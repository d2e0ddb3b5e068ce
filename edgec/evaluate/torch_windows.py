"""Perplexity of the float weights over consecutive windows, in torch: minutes become seconds on the same protocol."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

from edgec.compress.calibration import read_text
from edgec.errors import RecipeError
from edgec.frontend.checkpoint import Checkpoint

BATCH = 4  # windows at once: logits of 49,152 tokens for 4 x 512 positions take 400 MB


def window_perplexity(
    model: Checkpoint,
    file: str,
    windows: int,
    length: int = 512,
    say: Callable[[str, int, int], None] = lambda text, done, total: None,
) -> dict[str, Any]:
    """exp of the mean token loss over the first `windows` windows of a text, with the protocol beside it.

    Windows are `length` consecutive tokens, BOS in front only where the model uses one; the first token of a window
    without BOS is not predicted. The weights act as stored (dequantised, branches added); activations are float32.
    """
    import torch

    from edgec.compress.torch_model import load_torch

    if model.tokenizer is None:
        raise RecipeError("the checkpoint has no tokenizer, so no text can be measured; name one with --tokenizer.")
    length = min(length, model.config.max_seq_len)
    text = read_text(file)
    bos = [model.tokenizer.bos_id] if model.tokenizer.add_bos and model.tokenizer.bos_id is not None else []
    stream = model.tokenizer.backend.encode(text[: windows * length * 24], add_special_tokens=False).ids
    fresh = length - len(bos)
    found = min(windows, len(stream) // fresh)
    if not found:
        raise RecipeError(f"{Path(file).name} has {len(stream):,} tokens, less than one window of {length}.")
    tokens = torch.tensor([bos + stream[i * fresh : (i + 1) * fresh] for i in range(found)])
    module = load_torch(model)
    total = 0.0
    with torch.no_grad():
        for start in range(0, found, BATCH):
            say("perplexity", start, found)
            batch = tokens[start : start + BATCH]
            logits = module(batch)[:, :-1]
            wanted = batch[:, 1:].reshape(-1)
            total += float(
                torch.nn.functional.cross_entropy(logits.reshape(len(wanted), -1), wanted, reduction="sum").double()
            )
    return {
        "perplexity": float(f"{math.exp(total / (found * (length - 1))):.6g}"),
        "protocol": {
            "text": Path(file).name,
            "sha256": hashlib.sha256(Path(file).read_bytes()).hexdigest(),
            "windows": found,
            "window": length,
            "bos": bool(bos),
            "activations": "float32",
        },
    }
