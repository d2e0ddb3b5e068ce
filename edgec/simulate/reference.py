"""The graph's reference: every node by its op's NumPy definition. What all other backends must equal.

The same runner with `ideal` semantics is the float model: original weights, no quantisation anywhere.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgec.errors import EdgecError
from edgec.ir.graph import DTYPES, Graph, Node, TensorType, sweeps
from edgec.neureka import matrix
from edgec.ops import find, matmul_w4a8, matmul_w4a8_neureka, matmul_w4a8_nm
from edgec.ops.matmul_w4a8 import bits_of
from edgec.ops.sample import Sampling
from edgec.passes.fuse_mlp import apart

Array = NDArray[Any]
Trace = Callable[[Node, str, Array], None]


def _state(kind: TensorType, ideal: bool) -> Array:
    """A state of zeros. The ideal keeps its cache in float32, where two 4-bit elements of a byte are two."""
    if not ideal or kind.dtype not in ("i8", "f16", "u8"):
        return np.zeros(kind.shape, DTYPES[kind.dtype])
    rows, width = kind.shape
    return np.zeros((rows, 2 * width if kind.dtype == "u8" else width), np.float32)


class ReferenceRunner:
    """Runs a model's graphs over shared states. Not thread-safe; one text at a time.

    consts: every constant by name; in `ideal` mode matrices are the float32 originals [n, k].
    keep_prepared: keep unpacked weights between calls (4 bytes a weight) instead of unpacking each time.
    """

    def __init__(
        self,
        graphs: Mapping[str, Graph],
        consts: Mapping[str, Array],
        *,
        ideal: bool = False,
        keep_prepared: bool = True,
    ) -> None:
        self.graphs = graphs
        self.ideal = ideal
        self.keep_prepared = keep_prepared
        self._consts = consts
        self._prepared: dict[str, Array] = {}
        self._programs = {name: self._compile(graph) for name, graph in graphs.items()}
        states = {v.name: v.type for graph in graphs.values() for v in graph.of_kind("state")}
        self._states = {name: _state(kind, ideal) for name, kind in states.items()}
        self.context = max((kind.shape[0] for name, kind in states.items() if "_cache" in name), default=0)
        self.pos = 0
        self.trace: Trace | None = None
        self.logits: Array = np.zeros(0, np.float32)

    def reset(self) -> None:
        """Empty the cache."""
        self.pos = 0

    def sampling(self, settings: Sampling) -> None:
        """Choose how the next tokens are sampled, and seed the generator."""
        self._states["sampling"][:] = settings.params()

    def prefill(self, tokens: list[int]) -> int:
        """Append tokens in chunks; returns the next token sampled from the last one's logits."""
        token = -1
        rows = self.graphs["prefill"].rows
        for start in range(0, len(tokens), rows):
            token = self.run("prefill", tokens[start : start + rows])
        return token

    def decode(self, token: int) -> int:
        """Append one token; returns the next."""
        return self.run("decode", [token])

    def run(self, program: str, tokens: list[int]) -> int:
        """One run of a graph on at most `rows` tokens; returns the sampled token."""
        env = self.values(program, tokens)
        logits, token = self.graphs[program].outputs
        self.logits = env[logits][0]
        return int(env[token][0])

    def values(self, program: str, tokens: list[int]) -> dict[str, Array]:
        """One run of a graph: every activation by name."""
        if self.pos + len(tokens) > self.context:
            raise EdgecError(f"{self.pos + len(tokens)} positions do not fit a context of {self.context}.")
        env = self._steps(program, 0, None, tokens, self.pos)
        self.pos += len(tokens)
        return env

    def encode(self, tokens: list[int]) -> Array:
        """Read a text, each sweep over all of it before the next.

        Gives its vector, float32 [hidden_dim]; none of a model that writes about it, whose next token is its first.
        """
        if not 0 < len(tokens) <= self.context:
            raise EdgecError(f"a text of {len(tokens)} tokens, where 1 to {self.context} fit.")
        self._states["length"][:] = len(tokens)
        graph, env = self.graphs["encode"], dict[str, Array]()
        for first, end in sweeps(node.op for node in graph.nodes):
            for start in range(0, len(tokens), graph.rows):
                env = self._steps("encode", first, end, tokens[start : start + graph.rows], start)
        self.pos = 0
        vector: Array = env[graph.outputs[0]][0] if graph.outputs else np.zeros(0, np.float32)
        return vector

    def _steps(self, program: str, first: int, end: int | None, tokens: list[int], pos: int) -> dict[str, Array]:
        env: dict[str, Array] = {"tokens": np.asarray(tokens, np.int32)}
        consts, states, trace = self._consts, self._states, self.trace
        for node, compute, inputs, constant in self._programs[program][first:end]:
            arrays = dict(constant)
            for role, name in inputs:
                arrays[role] = env[name] if name in env else states[name] if name in states else consts[name]
            out = compute(arrays, node.attrs, pos)
            for role, name in node.outputs.items():
                env[name] = out[role]
                if trace:
                    trace(node, name, out[role])
        return env

    def _compile(self, graph: Graph) -> list[tuple[Node, Any, list[tuple[str, str]], dict[str, Array]]]:
        program = []
        for node in graph.nodes:
            op = find(node.op)
            constant: dict[str, Array] = {}
            inputs = list(node.inputs.items())
            if node.op.startswith("matmul_") and not self.ideal and self.keep_prepared:
                for one, role in zip(apart(graph, node), ("prepared", "down_prepared"), strict=False):
                    name = one.inputs["w"]
                    if name not in self._prepared:
                        self._prepared[name] = self._prepare(one)
                    constant[role] = self._prepared[name]
                inputs = [(r, n) for r, n in inputs if r not in ("w", "w_pos", "w_zero", "w_tail", "w_fold", "down_w")]
            if self.ideal:
                inputs = [(r, n) for r, n in inputs if n in self._consts or graph.values[n].kind != "const"]
            program.append((node, op.ideal if self.ideal else op.reference, inputs, constant))
        return program

    def _prepare(self, node: Node) -> Array:
        """A matmul's weights as floats, in the form that its reference takes."""
        w, pos, zero = (self._consts.get(node.inputs.get(role, "")) for role in ("w", "w_pos", "w_zero"))
        bits, k, group_size = bits_of(node.op), int(node.attrs["k"]), int(node.attrs["group_size"])
        assert w is not None
        if "_neureka" in node.op:
            apart = (self._consts.get(node.inputs.get(role, "")) for role in ("w_tail", "w_fold"))
            return matrix.prepare(w, k, bits, group_size, matmul_w4a8_neureka.mode_of(node.op), *apart)
        if pos is None:
            return matmul_w4a8.prepare(w, zero, k, bits, group_size)
        pattern = (int(node.attrs["removed"]), int(node.attrs["of"]))
        return matmul_w4a8_nm.prepare(w, pos, zero, k, bits, group_size, pattern)
