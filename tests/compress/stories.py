"""Text that the embedded model tells, to train its compressed forms on, and the loss of any model on tokens."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgec.frontend.checkpoint import Checkpoint
from edgec.frontend.load import load_checkpoint

LENGTH = 48


@dataclass(frozen=True)
class Stories:
    """The model, a file with most of its stories, and the tokens [stories, length] of a few others."""

    model: Checkpoint
    file: Path
    held_out: NDArray[np.int64]


def told(folder: Path, count: int = 40) -> Stories:
    """Sampled with a fixed seed."""
    import torch

    from edgec.compress.torch_model import load_torch

    model = load_checkpoint("stories")
    assert model.tokenizer is not None
    module = load_torch(model)
    draw = torch.Generator().manual_seed(0)
    ids = torch.full((count, 1), model.tokenizer.bos_id)
    with torch.no_grad():
        while ids.shape[1] < LENGTH:
            odds = module(ids)[:, -1].softmax(-1)
            ids = torch.cat([ids, torch.multinomial(odds, 1, generator=draw)], dim=1)
    file = folder / "stories.txt"
    file.write_text(model.tokenizer.decode(ids[8:].flatten().tolist()))
    return Stories(model, file, ids[:8].numpy())


def loss(model: Checkpoint, tokens: NDArray[Any]) -> float:
    """Mean loss of the predicted tokens."""
    import torch

    from edgec.compress.torch_model import load_torch

    ids = torch.from_numpy(tokens)
    with torch.no_grad():
        logits = load_torch(model)(ids)[:, :-1].flatten(0, 1)
    return float(torch.nn.functional.cross_entropy(logits, ids[:, 1:].flatten()))
