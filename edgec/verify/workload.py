"""What verification runs: a prefill that crosses chunk and tile borders, then decodes, greedy and sampled; or texts."""

from __future__ import annotations

from dataclasses import dataclass, field

from edgec.artifact import Artifact
from edgec.ir.graph import Graph
from edgec.memory.plan import Extent, Plan
from edgec.ops import attention_neureka
from edgec.ops.sample import Sampling
from edgec.passes.fuse_mlp import apart

TEXT = (
    "Once upon a time, in a small house near the forest, there lived a girl named Lily. She loved to count things: "
    '3 red apples, 12 birds, and 100 leaves. One day her friend Tom said, "Let\'s go to the river!" They walked for a '
    "long time, and when they came to the water they saw a boat. It was old and blue. Lily was not sure that it could "
    'swim, but Tom was brave. "Look," he said, "it has a name on it." The name was Hope.'
)
# Multiply-accumulates that a backend gets, so that verification takes seconds; small models get all they ask for.
BUDGET = {"simulator": 1_500_000_000, "host": 3_000_000_000, "rv32": 400_000_000, "siracusa": 100_000_000}
LEAST_PROMPT, DECODES = 16, 8
SHORT = 3  # tokens of an encoder's second text


@dataclass(frozen=True)
class Workload:
    """Calls to make, in order: a prefill of `prompt`, then `decodes` tokens, the second half of them sampled."""

    prompt: list[int]
    decodes: int
    sampling: Sampling = field(default_factory=lambda: Sampling(temperature=0.8, top_k=40, top_p=0.9, seed=7))


def workload(artifact: Artifact, backend: str) -> Workload:
    """The workload of one backend."""
    plan, graph = artifact.plan, artifact.graphs["decode"]
    wanted = _tokens_that_cross(plan)
    affordable = BUDGET[backend] // max(1, macs_per_token(graph))
    decodes = min(DECODES, plan.context // 2)
    least = LEAST_PROMPT if backend in ("simulator", "host") else 2
    length = max(1, min(wanted, max(least, affordable - decodes), plan.context - decodes))
    ids = artifact.tokenizer.encode(TEXT)
    repeated = ids * (length // len(ids) + 1)
    return Workload(repeated[:length], decodes)


def texts(artifact: Artifact, backend: str) -> list[list[int]]:
    """What an encoder gets: a text that crosses runs, as long as a backend's budget allows, then a short one."""
    plan, graph = artifact.plan, artifact.graphs["encode"]
    least = plan.chunk + 1 if backend in ("simulator", "host") else 2
    length = min(plan.context, max(least, BUDGET[backend] // max(1, macs_per_token(graph)) - SHORT))
    ids = artifact.tokenizer.encode(TEXT)
    repeated = ids * (length // len(ids) + 1)
    return [repeated[:length], ids[: min(SHORT, plan.context)]]


def macs_per_token(graph: Graph) -> int:
    """Multiply-accumulates of the matrices for one token."""
    matmuls = [one for n in graph.nodes if n.op.startswith("matmul_") for one in apart(graph, n)]
    return sum(graph.type_of(n.inputs["w"]).shape[0] * int(n.attrs["k"]) for n in matmuls)


def _tokens_that_cross(plan: Plan) -> int:
    """Tokens after which every tile of the cache's first two has been entered, a chunk was cut short, and scores are an
    accelerator's where they ever are.
    """
    chunk = plan.programs["prefill"].rows
    calls = [
        p.call for program in plan.programs.values() for s in program.steps for p in s.phases if p.call is not None
    ]
    engine = next((c.numbers for c in calls if c.kernel == "attention_neureka"), None)
    late = attention_neureka.first_position(engine) if engine is not None else 0
    counts = [call.numbers["count"] for call in calls if call.kernel.startswith("attention_scores")]
    tiles = [count.limit for count in counts if isinstance(count, Extent) and count.limit < plan.context]
    return max(2 * chunk + 3, max(tiles, default=0) + 3, late + 3)
