"""Float model ↔ reference: the only comparison with a tolerance, reported as numbers instead of a verdict.

Both run the same graph, once by the ops' ideals on the checkpoint's own weights, once by their exact definitions; so
every tensor has a float twin, and the table of the worst ones says which layer quantisation hurts.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgec.evaluate.perplexity import likelihood, score
from edgec.frontend.checkpoint import Checkpoint, TextTokenizer
from edgec.frontend.seq2seq_config import decoder_start
from edgec.ir.graph import Graph, Node
from edgec.ops import matmul_w4a8_silu_neureka
from edgec.passes.join_projections import parts
from edgec.passes.score_rows import score_rows
from edgec.simulate.reference import ReferenceRunner

WORST = 8  # tensors named in the report
# Outputs in other units than the float twin's.
SKIPPED = (
    *("quantize_dynamic", "rmsnorm_quantize", "silu_mul_quantize", "kv_append", "kv_append_i4", "rope_append"),
    *(op.name for op in matmul_w4a8_silu_neureka.OPS),
)

Array = NDArray[Any]
Traced = dict[str, tuple[str, Array]]


def float_runner(
    checkpoint: Checkpoint, graphs: Graph | Mapping[str, Graph], consts: Mapping[str, Array]
) -> ReferenceRunner:
    """The float model over a scoring graph, or over several that share their states."""
    given = {"score": graphs} if isinstance(graphs, Graph) else graphs
    floats: dict[str, Array] = {}
    for graph in given.values():
        floats |= float_constants(checkpoint, graph, consts)
    return ReferenceRunner(given, floats, ideal=True)


def float_constants(checkpoint: Checkpoint, graph: Graph, consts: Mapping[str, Array]) -> dict[str, Array]:
    """A graph's original matrices and vectors, and those of its constants that have no original."""
    names = {v.name for v in graph.of_kind("const")}
    found = {name: parts(name) for name in names if all(part in checkpoint for part in parts(name))}
    floats = {name: np.concatenate([checkpoint.tensor(part) for part in made]) for name, made in found.items()}
    floats |= _branches(checkpoint, {name: graph.type_of(name).shape[0] for name in names if ".lora_" in name})
    return floats | {name: const for name, const in consts.items() if name.endswith((".table", ".gain"))}


def _branches(checkpoint: Checkpoint, sizes: Mapping[str, int]) -> dict[str, Array]:
    """Float twins of a graph's low-rank branches.

    The float model may have a narrower branch (one that it was trained with) or none: what compensates for rounding has
    no counterpart there. Its twin is then filled up with zeros.
    """
    found: dict[str, Array] = {}
    for name, rank in sizes.items():
        if not name.endswith(".lora_a.weight"):
            continue
        path = name.removesuffix("lora_a.weight")
        n, k = checkpoint.tensor(f"{path}weight").shape
        a, b = np.zeros((rank, k), np.float32), np.zeros((n, rank), np.float32)
        own = checkpoint.branches.get(f"{path}weight")
        if own is not None:
            a[: own.rank], b[:, : own.rank] = own.a, own.b
        found |= {name: a, f"{path}lora_b.weight": b}
    return found


def compare_float(
    checkpoint: Checkpoint,
    prefill: Graph,
    consts: Mapping[str, Array],
    tokenizer: TextTokenizer,
    text: str,
    window: int,
    text_name: str,
    encode: Graph | None = None,
) -> dict[str, Any]:
    """One entry of the report's `quality`: likelihood of the text under both, and closeness of their tensors.

    encode: of a model that writes about a source, which is the text's beginning, then.
    """
    graph = score_rows(prefill)
    graphs = {"score": graph} | ({} if encode is None else {"encode": encode})
    runners = {
        "float": float_runner(checkpoint, graphs, consts),
        "reference": ReferenceRunner(graphs, consts),
    }
    if encode is not None:
        for runner in runners.values():
            runner.encode(tokenizer.encode_within(text, runner.context))
    start = decoder_start(checkpoint.config)
    found = {name: likelihood(runner, tokenizer, text, window, start=start) for name, runner in runners.items()}
    sample = [*start, *tokenizer.encode(text)][: min(graph.rows, 64)]
    tensors = {}
    for name, runner in runners.items():
        runner.reset()
        tensors[name] = traced(runner, partial(score, runner, sample))
    logits = closeness(*(tensors[name][graph.outputs[0]][1] for name in ("reference", "float")))
    return {
        "kind": "float_vs_reference",
        "text": text_name,
        "tokens": found["float"].tokens,
        "window": found["float"].window,
        "perplexity_float": rounded(found["float"].perplexity),
        "perplexity_reference": rounded(found["reference"].perplexity),
        "perplexity_delta": rounded(found["reference"].perplexity - found["float"].perplexity),
        "bits_per_byte_float": rounded(found["float"].bits_per_byte),
        "bits_per_byte_reference": rounded(found["reference"].bits_per_byte),
        "cosine_logits": rounded(logits[1]),
        "nmse_logits": rounded(logits[0]),
        "worst_tensors": worst_tensors(tensors["reference"], tensors["float"]),
    }


def worst_tensors(exact: Traced, ideal: Traced) -> list[dict[str, Any]]:
    """The tensors that are furthest from their float twins, for the report."""
    near = {key: (source, *closeness(array, ideal[key][1])) for key, (source, array) in exact.items()}
    worst = sorted(near.items(), key=lambda item: -item[1][1])[:WORST]
    return [
        {"value": key, "source": source, "nmse": rounded(nmse), "cosine": rounded(cosine)}
        for key, (source, nmse, cosine) in worst
    ]


def traced(runner: ReferenceRunner, run: Callable[[], object]) -> Traced:
    """Source and value of the tensors that a run writes, by name; of those that are written several times the last."""
    seen: Traced = {}

    def keep(node: Node, name: str, array: Array) -> None:
        if node.op not in SKIPPED:
            seen[name] = (node.source, array.copy())

    runner.trace = keep
    run()
    runner.trace = None
    return seen


def closeness(exact: Array, ideal: Array) -> tuple[float, float]:
    """Normalised mean squared error |a - b|^2 / |b|^2, and cosine, in float64."""
    a, b = exact.astype(np.float64).ravel(), ideal.astype(np.float64).ravel()
    power, norm = float(b @ b), float(np.sqrt((a @ a) * (b @ b)))
    error = float((a - b) @ (a - b))
    return (error / power if power else 0.0), (float(a @ b) / norm if norm else 1.0)


def rounded(value: float) -> float:
    """Six significant digits."""
    return float(f"{value:.6g}")
