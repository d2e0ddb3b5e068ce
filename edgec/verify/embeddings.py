"""Float encoder ↔ reference: how close the vectors of a text's sentences are, and which tensors are furthest."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgec.errors import EdgecError
from edgec.frontend.checkpoint import Checkpoint, TextTokenizer
from edgec.ir.graph import Graph, Node
from edgec.simulate.reference import ReferenceRunner
from edgec.verify.quality import SKIPPED, WORST, closeness, float_constants, rounded

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
) -> dict[str, Any]:
    """One entry of the report's `quality`: cosines of each sentence's vectors, and the tensors of the first one."""
    exact = ReferenceRunner({"encode": graph}, consts)
    ideal = ReferenceRunner({"encode": graph}, float_constants(checkpoint, graph, consts), ideal=True)
    found = sentences(text, most)
    if not found:
        raise EdgecError(f"{text_name} has no sentence of {SHORTEST} words.")
    ids = [tokenizer.encode_within(sentence, exact.context) for sentence in found]
    tensors = {name: _tensors(runner, ids[0]) for name, runner in (("exact", exact), ("ideal", ideal))}
    cosines = [closeness(exact.encode(tokens), ideal.encode(tokens))[1] for tokens in ids]
    near = {key: (source, *closeness(a, tensors["ideal"][key][1])) for key, (source, a) in tensors["exact"].items()}
    worst = sorted(near.items(), key=lambda item: -item[1][1])[:WORST]
    return {
        "kind": "embeddings_float_vs_reference",
        "text": text_name,
        "sentences": len(found),
        "tokens": sum(map(len, ids)),
        "cosine_mean": rounded(float(np.mean(cosines))),
        "cosine_min": rounded(min(cosines)),
        "worst_tensors": [
            {"value": key, "source": source, "nmse": rounded(nmse), "cosine": rounded(cosine)}
            for key, (source, nmse, cosine) in worst
        ],
    }


def _tensors(runner: ReferenceRunner, tokens: list[int]) -> dict[str, tuple[str, Array]]:
    """The tensors of a text by name; of those that are written in several runs the last one's."""
    seen: dict[str, tuple[str, Array]] = {}

    def keep(node: Node, name: str, array: Array) -> None:
        if node.op not in SKIPPED:
            seen[name] = (node.source, array.copy())

    runner.trace = keep
    runner.encode(tokens)
    runner.trace = None
    return seen
