"""load_checkpoint: from what the user typed to a Checkpoint, whatever the format."""

from __future__ import annotations

import re
from pathlib import Path

from edgec.errors import ModelError
from edgec.frontend.checkpoint import Checkpoint, TextTokenizer
from edgec.frontend.checks import one_line

EMBEDDED = {"stories": Path(__file__).resolve().parents[1] / "models" / "stories"}
HUB_ID = re.compile(r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*")
HUB_FILES = ["*.json", "*.safetensors", "tokenizer.model", "merges.txt"]
HUB_SKIP = ["[!0-9]*/*", "consolidated*"]  # other precisions and formats; 1_Pooling is a module of an encoder


def load_checkpoint(source: str, tokenizer: str | None = None) -> Checkpoint:
    """The checkpoint that `source` names.

    `source` is a Hugging Face folder, a .gguf file, a llama2.c .bin file, "stories" (the model that
    comes with edgec), or a model id `org/name` of the Hugging Face hub. `tokenizer` replaces the
    checkpoint's own: a folder, a tokenizer.json or a llama2.c tokenizer. Raises ModelError, with one
    sentence, for everything that cannot be loaded exactly.
    """
    from edgec.frontend.tokenizer import check_vocabulary, load_tokenizer

    try:
        given = load_tokenizer(Path(tokenizer)) if tokenizer is not None else None
        checkpoint = _load(source, given)
    except OSError as error:  # a name that no file can have, a folder that may not be listed
        raise ModelError(f"{source} cannot be read: {error.strerror or error}.") from error
    if checkpoint.tokenizer is not None:
        check_vocabulary(tokenizer or source, checkpoint.tokenizer, checkpoint.config)
    if tokenizer is not None:
        checkpoint.provenance["notes"].append(f"tokenizer from {tokenizer}")
    return checkpoint


def _load(source: str, tokenizer: TextTokenizer | None) -> Checkpoint:
    """Dispatch on what the path is, not on what its name promises, wherever that is possible."""
    path = Path(source)
    if source in EMBEDDED:  # a folder of that name is ./stories
        path = EMBEDDED[source]
        if not path.is_dir():
            raise ModelError(f"the embedded model {source!r} is not part of this installation of edgec.")
    if path.is_dir():
        if not (path / "config.json").is_file():
            raise ModelError(f"{path} is a folder without config.json; a Hugging Face checkpoint has one.")
        return _load_folder(path, source, tokenizer)
    if path.is_file():
        return _load_file(path, source, tokenizer)
    if HUB_ID.fullmatch(source) and path.suffix not in (".gguf", ".bin"):
        folder = _download(source)
        checkpoint = _load_folder(folder, source, tokenizer)
        checkpoint.provenance["notes"].append(f"hub revision {folder.name}")
        return checkpoint
    found = "is neither a folder nor a file" if path.exists() else "does not exist"
    raise ModelError(f"{source} {found}; give a checkpoint folder, a .gguf or .bin file, or a model id org/name.")


def _load_folder(path: Path, source: str, tokenizer: TextTokenizer | None) -> Checkpoint:
    """A Hugging Face folder by the kind of its model."""
    from edgec.frontend import bart, bert
    from edgec.frontend.huggingface import load_huggingface
    from edgec.frontend.tokenizer import read_json

    family = read_json(path / "config.json").get("model_type")
    load = (
        bert.load_bert if family in bert.FAMILIES else bart.load_bart if family in bart.FAMILIES else load_huggingface
    )
    checkpoint = load(path, source, tokenizer)
    if (path / "edgec.json").is_file():
        from edgec.compress.folder import with_exact_parts

        checkpoint = with_exact_parts(path, checkpoint)
    return checkpoint


def _load_file(path: Path, source: str, tokenizer: TextTokenizer | None) -> Checkpoint:
    if path.suffix == ".gguf":
        from edgec.frontend.gguf import load_gguf

        return load_gguf(path, source, tokenizer)
    if path.suffix == ".bin":
        from edgec.frontend.llama2c import load_llama2c

        return load_llama2c(path, source, tokenizer or _tokenizer_beside(path))
    raise ModelError(
        f"{path} is not a format that edgec knows; it reads .gguf, .bin (llama2.c) and checkpoint folders."
    )


def _tokenizer_beside(path: Path) -> TextTokenizer:
    """The one llama2.c tokenizer in the checkpoint's folder. Raises ModelError if there is none or a choice."""
    from edgec.frontend.llama2c import text_tokenizer

    found = sorted(p for p in path.parent.glob("tok*.bin") if p != path)
    if not found:
        raise ModelError(f"{path} has no tokenizer (tok*.bin) beside it; name one with --tokenizer.")
    if len(found) > 1:
        names = ", ".join(p.name for p in found)
        raise ModelError(f"{path} has several tokenizers beside it ({names}); choose one with --tokenizer.")
    return text_tokenizer(found[0])


def _download(model_id: str) -> Path:
    """The folder of a hub model, downloaded unless it is in the cache. Pickles are never fetched."""
    from huggingface_hub import snapshot_download

    try:
        return Path(snapshot_download(model_id, allow_patterns=HUB_FILES, ignore_patterns=HUB_SKIP))
    except Exception as error:  # offline, unknown, gated, disk full: each a different class
        reasons = {
            "LocalEntryNotFoundError": "the hub cannot be reached and the model is not in the cache",
            "RepositoryNotFoundError": "the hub has no such model, or it needs a login",
        }
        why = reasons.get(type(error).__name__) or one_line(error)
        raise ModelError(
            f"{model_id} is no folder here and cannot be fetched from the Hugging Face hub: {why}."
        ) from error
