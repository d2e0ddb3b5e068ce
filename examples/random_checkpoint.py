"""Makes a checkpoint with random weights from a config.json: for planning, timing and verifying a shape.

    python examples/random_checkpoint.py examples/microllama/config.json out/microllama
    edgec build out/microllama --bits 8 --context 64
    edgec verify out/microllama-siracusa

Weights are normal, scaled so that activations keep a size near 1. The tokenizer has a token for each byte and fills the
rest of the vocabulary with words that no text contains.
"""

from __future__ import annotations

import argparse
import shutil
from pathlib import Path

import numpy as np
from safetensors.numpy import save_file
from tokenizers import Tokenizer, decoders, models, pre_tokenizers

from edgec.frontend.huggingface_config import architecture_of


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("config", type=Path)
    parser.add_argument("out", type=Path, help="a folder to make")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    make(options.config, options.out, options.seed)


def make(config: Path, out: Path, seed: int = 0) -> None:
    """Write a checkpoint into the folder `out`. The vocabulary must have 256 tokens or more."""
    rng = np.random.default_rng(seed)
    tensors = {}
    shapes = architecture_of(config).config.tensor_shapes()
    for name, shape in shapes.items():
        if len(shape) == 1:
            tensors[name] = np.ones(shape, np.float32)
        else:
            tensors[name] = (rng.standard_normal(shape) / np.sqrt(shape[-1])).astype(np.float32)
    out.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(config, out / "config.json")
    save_file(tensors, out / "model.safetensors", metadata={"format": "pt"})
    byte_tokenizer(shapes["model.embed_tokens.weight"][0]).save(str(out / "tokenizer.json"))


def byte_tokenizer(size: int) -> Tokenizer:
    """Bytes, then words that never occur, `size` tokens in all."""
    letters = sorted(pre_tokenizers.ByteLevel.alphabet())
    words = [*letters, *(f"<unused {i}>" for i in range(size - len(letters)))]
    made = Tokenizer(models.BPE({word: i for i, word in enumerate(words)}, []))
    made.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    made.decoder = decoders.ByteLevel()
    return made


if __name__ == "__main__":
    main()
