"""What an evaluation asks of a model: logits. The float weights in torch answer, or the quantised reference.

The reference is the graph's own definition, bit for bit what the emitted program computes, so its numbers include int8
activations, the int8 cache and the integer softmax.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from edgec.artifact import Artifact
from edgec.errors import EdgecError
from edgec.evaluate.perplexity import score
from edgec.frontend.checkpoint import Checkpoint, TextTokenizer
from edgec.ir.graph import Graph
from edgec.passes.score_rows import score_rows
from edgec.simulate.reference import ReferenceRunner

ROWS = 64  # tokens that the reference runs at once where no plan sets it; numbers do not depend on it

LONGEST = 4096  # positions of the float twin's cache

Logits = NDArray[np.float32]


def tokenizer_of(checkpoint: Checkpoint) -> TextTokenizer:
    """The checkpoint's tokenizer. Raises EdgecError if it has none."""
    if checkpoint.tokenizer is None:
        raise EdgecError("the checkpoint has no tokenizer, so no text can be measured; name one with --tokenizer.")
    return checkpoint.tokenizer


class Scorer(Protocol):
    """A model that can be asked."""

    tokenizer: TextTokenizer
    context: int  # positions
    arithmetic: str  # for the protocol: what computed

    def logits(self, tokens: Sequence[int]) -> Logits:
        """Logits [tokens, vocabulary] of a sequence from an empty cache."""
        ...

    def session(self) -> Session:
        """An empty cache to feed piece by piece; the scorer's only one."""
        ...


class Session:
    """A cache that is filled piece by piece and can be rewound: what generation and multiple choice need."""

    def __init__(self, runner: ReferenceRunner) -> None:
        self._runner = runner
        runner.reset()

    @property
    def position(self) -> int:
        """Tokens in the cache."""
        return self._runner.pos

    def rewind(self, position: int) -> None:
        """Forget everything from a position on."""
        assert position <= self._runner.pos
        self._runner.pos = position

    def feed(self, tokens: Sequence[int], keep: int) -> Logits:
        """Append tokens; logits [at most keep, vocabulary] behind the last of them."""
        rows, parts = self._runner.graphs["score"].rows, []
        for first in range(0, len(tokens), rows):
            piece = list(tokens[first : first + rows])
            logits = score(self._runner, piece)
            if first + len(piece) > len(tokens) - keep:
                parts.append(logits)
        return np.concatenate(parts)[-keep:].astype(np.float32)


class FloatScorer:
    """A checkpoint's weights as they act, float32 throughout."""

    arithmetic = "float32"

    _runner: ReferenceRunner | None

    def __init__(self, checkpoint: Checkpoint, tokenizer: TextTokenizer) -> None:
        from edgec.compress.torch_model import load_torch

        self.tokenizer, self.context = tokenizer, checkpoint.config.max_seq_len
        self._model = load_torch(checkpoint)
        self._checkpoint, self._runner = checkpoint, None

    def session(self) -> Session:
        """The graph's float twin, which has a cache; torch has none here."""
        if self._runner is None:
            self._runner = float_twin(self._checkpoint, min(self.context, LONGEST))
        self.context = self._runner.context
        return Session(self._runner)

    def logits(self, tokens: Sequence[int]) -> Logits:
        """Logits [tokens, vocabulary]."""
        import torch

        with torch.no_grad():
            found: Logits = self._model(torch.tensor([list(tokens)]))[0].numpy()
        return found


class ReferenceScorer:
    """The quantised reference over a graph that yields every row's logits."""

    def __init__(self, graph: Graph, consts: Mapping[str, Any], tokenizer: TextTokenizer, arithmetic: str) -> None:
        self.tokenizer, self.arithmetic = tokenizer, arithmetic
        self._runner = ReferenceRunner({"score": score_rows(graph)}, consts)
        self.context = self._runner.context

    def logits(self, tokens: Sequence[int]) -> Logits:
        """Logits [tokens, vocabulary]."""
        self._runner.reset()
        rows = self._runner.graphs["score"].rows
        parts = [score(self._runner, list(tokens[i : i + rows])) for i in range(0, len(tokens), rows)]
        return np.concatenate(parts).astype(np.float32)

    def session(self) -> Session:
        """The reference's own cache."""
        return Session(self._runner)


def float_twin(checkpoint: Checkpoint, context: int) -> ReferenceRunner:
    """The graph over the checkpoint's float weights, branches added to their matrices."""
    from edgec.compress.shapes import shapes_only
    from edgec.evaluate.float_twin import floats_of
    from edgec.lower.llama import constants, lower

    shapes = shapes_only(checkpoint)
    graph = score_rows(lower(shapes, constants(shapes, context), "prefill", min(ROWS, context), context))
    return ReferenceRunner({"score": graph}, floats_of(checkpoint, context), ideal=True)


def built_scorer(artifact: Artifact) -> ReferenceScorer:
    """The reference of a built project. Raises OutputError if it holds a report only."""
    artifact.require_program()
    return ReferenceScorer(
        artifact.graphs["prefill"], artifact.constants(), artifact.tokenizer, "the reference of the built project"
    )


def quantised_scorer(checkpoint: Checkpoint, tokenizer: TextTokenizer, window: int) -> ReferenceScorer:
    """The reference of a checkpoint as `edgec build` without a recipe would quantise it: what is packed stays."""
    from edgec.compress.rtn import quantize_model
    from edgec.lower.llama import constants, lower
    from edgec.recipe import Quantize

    model = quantize_model(checkpoint, Quantize())
    consts = constants(model, window)
    graph = lower(model, consts, "prefill", min(ROWS, window), window)
    return ReferenceScorer(graph, consts, tokenizer, "the reference, quantised without a recipe")
