"""Hugging Face folders: config.json and safetensors, in one file or in shards."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import numpy as np

from edgec.errors import ModelError
from edgec.frontend.checkpoint import Checkpoint, FloatArray, TextTokenizer
from edgec.frontend.checks import check_tensors
from edgec.frontend.huggingface_config import read_architecture
from edgec.frontend.layouts import PlacedTensor, in_our_names, sources
from edgec.frontend.provenance import describe
from edgec.frontend.quantized_folder import PackedMatrix, packed_matrices, zero_biases
from edgec.frontend.safetensors_file import StoredTensor, read_header
from edgec.frontend.tokenizer import FILES, folder_tokenizer, read_json

SINGLE, INDEX = "model.safetensors", "model.safetensors.index.json"
MASKS = (".attn.bias", ".attn.masked_bias", ".attn.attention.bias", ".attn.attention.masked_bias")  # GPT-2's, GPT-Neo's
HEAD, EMBED = "lm_head.weight", "model.embed_tokens.weight"


def load_huggingface(folder: Path, source: str, tokenizer: TextTokenizer | None = None) -> Checkpoint:
    """The checkpoint in `folder`. Every tensor's presence and shape is checked here, its values when it is read."""
    architecture = read_architecture(folder)
    config, notes = architecture.config, list(architecture.notes)
    paths = weight_files(folder)
    stored: dict[str, StoredTensor] = {}
    for path in paths:
        for name, tensor in read_header(path).items():
            if name in stored:
                raise ModelError(f"tensor {name} is stored twice, in {stored[name].path} and in {path}.")
            stored[name] = tensor

    if architecture.quantization and any(not source.whole for source in sources(config).values()):
        raise ModelError(f"{folder} holds quantised matrices of a {config.family} model; give the float checkpoint.")
    tensors = in_our_names(config, stored)
    # Old exports store rotary frequencies and causal masks, which follow from the configuration.
    harmless = {name for name in tensors if name.endswith((".rotary_emb.inv_freq", *MASKS))}
    if config.tied_embeddings and HEAD in tensors:
        _check_tied(tensors)
        harmless.add(HEAD)
    packed: dict[str, PackedMatrix] = {}
    if architecture.quantization:
        packed = packed_matrices(str(folder), architecture.quantization, config.tensor_shapes(), stored)
        known = {f"model.layers.{layer}.{extra}" for layer in range(config.n_layers) for extra in architecture.extras}
        harmless |= zero_biases(packed, stored, known)
        harmless |= {part.name for matrix in packed.values() for part in matrix.parts.values()}
        notes.append(f"{len(packed)} matrices taken over without rounding: {architecture.quantization.text()}")
    shapes = {name: tensor.shape for name, tensor in tensors.items()} | {n: m.shape for n, m in packed.items()}
    check_tensors(str(folder), config, shapes, architecture.extras, harmless)
    for name in tensors.keys() - harmless:
        tensors[name].check_dtype()

    tokenizer = tokenizer or folder_tokenizer(folder)
    files = [*paths, *(path for name in ("config.json", INDEX, *FILES) if (path := folder / name).is_file())]
    readers = {name: tensor.read for name, tensor in tensors.items() if name not in harmless}
    provenance = describe(source, "huggingface", files, notes) | {"rope_parameters": architecture.rope_parameters}
    readers |= {name: partial(_dequantized, matrix) for name, matrix in packed.items()}
    grids = {name: matrix.read for name, matrix in packed.items()}
    return Checkpoint(config, readers, tokenizer, provenance, grids)


def _dequantized(matrix: PackedMatrix) -> FloatArray:
    return matrix.read().dequantized()


def weight_files(folder: Path) -> list[Path]:
    """The safetensors files of the folder. Raises ModelError if it has none, pickles included."""
    if (folder / SINGLE).is_file():
        return [folder / SINGLE]
    if (folder / INDEX).is_file():
        table = read_json(folder / INDEX).get("weight_map")
        names = set(table.values()) if isinstance(table, dict) and table else {None}
        for name in names:
            if not isinstance(name, str) or Path(name).name != name:
                raise ModelError(f"{folder / INDEX} is damaged: {name!r} is not the name of a file beside it.")
            if not (folder / name).is_file():
                raise ModelError(f"{folder / INDEX} needs {name}, which is not there; download it again.")
        return sorted(folder / name for name in names if name)
    if any(folder.glob("pytorch_model*.bin")) or any(folder.glob("*.pt")) or any(folder.glob("*.pth")):
        raise ModelError(
            f"{folder} holds its weights as pickle only, which can run code when read; convert them to {SINGLE}."
        )
    raise ModelError(f"{folder} holds no weights; edgec looks for {SINGLE} or {INDEX}.")


def _check_tied(stored: dict[str, StoredTensor | PlacedTensor]) -> None:
    """A stored head of a tied model must equal the embedding, or the configuration is wrong."""
    head, embed = stored[HEAD], stored.get(EMBED)
    if embed is None or head.shape != embed.shape or not np.array_equal(head.read(), embed.read(), equal_nan=True):
        raise ModelError(
            f"{head.path}: the configuration ties {HEAD} to {EMBED}, but they differ; set tie_word_embeddings to false."
        )
