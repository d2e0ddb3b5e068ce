"""Float encoder ↔ reference: how close the vectors of a text's sentences are, and which tensors are furthest."""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgec.errors import EdgecError
from edgec.frontend.checkpoint import Checkpoint, TextTokenizer
from edgec.ir.graph import Graph
from edgec.simulate.reference import ReferenceRunner
from edgec.verify.quality import closeness, float_constants, rounded, traced, worst_tensors

SENTENCES = 50  # of a text, from its start
SHORTEST = 3  # words of a sentence

Array = NDArray[Any]


def sentences(text: str, most: int = SENTENCES) -> list[str]:
    """The first sentences of a text: ends of lines, full stops, question and exclamation marks part them."""
    pieces = [" ".join(piece.split()) for piece in re.split(r"(?<=[.!?])\s+|\n+", text)]
    return [piece for piece in pieces if len(piece.split()) >= SHORTEST][:most]


def compare_embeddings(
    checkpoint: Checkpoint,
    graph: Graph,
    consts: Mapping[str, Array],
    tokenizer: TextTokenizer,
    text: str,
    text_name: str,
    most: int = SENTENCES,
    other: ReferenceRunner | None = None,
) -> dict[str, Any]:
    """One entry of the report's `quality`: cosines of each sentence's vectors, and the tensors of the first one.

    other: a float model whose vectors they are compared with in place of the checkpoint's.
    """
    exact = ReferenceRunner({"encode": graph}, consts)
    ideal = ReferenceRunner({"encode": graph}, float_constants(checkpoint, graph, consts), ideal=True)
    found = sentences(text, most)
    if not found:
        raise EdgecError(f"{text_name} has no sentence of {SHORTEST} words.")
    ids = [tokenizer.encode_within(sentence, exact.context) for sentence in found]
    tensors = [traced(runner, partial(runner.encode, ids[0])) for runner in (exact, ideal)]
    cosines = [closeness(exact.encode(tokens), (other or ideal).encode(tokens))[1] for tokens in ids]
    return {
        "kind": "embeddings_float_vs_reference",
        "text": text_name,
        "sentences": len(found),
        "tokens": sum(map(len, ids)),
        "cosine_mean": rounded(float(np.mean(cosines))),
        "cosine_min": rounded(min(cosines)),
        "worst_tensors": worst_tensors(*tensors),
    }
