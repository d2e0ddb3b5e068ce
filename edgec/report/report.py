"""make_report(): everything that a user asks of a build, as one object. JSON and text are renderings of it.

Every number comes from the plan, from the cost model that planned it, or from a measurement handed in; nothing is
estimated a second time. Equal builds give equal reports: no times of day, no folders of this machine.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from edgec.cost.neureka import peak_macs
from edgec.ir.graph import Graph
from edgec.memory.plan import Buffer, Plan
from edgec.ops.matmul_w4a8 import bits_of
from edgec.passes.join_projections import parts
from edgec.report.advice import advice
from edgec.report.memory_use import Deficit, MemoryUse, memory_use
from edgec.report.sparsity import sparsity_rows
from edgec.report.speed import Speed, speed
from edgec.report.steps import StepCost, step_costs
from edgec.report.storage import storage_rows
from edgec.target import Target

if TYPE_CHECKING:
    from edgec.artifact import Artifact

SCHEMA = "edgec-report/1"
FITS, NEEDS_L3, DOES_NOT_FIT = "fits_on_chip", "needs_l3", "does_not_fit"
_BRANCH = re.compile(r"\.lora_[ab]\.weight(\.scale)?$")
_FOLDERS = re.compile(r"(?<![\w.:/~-])(?:[A-Za-z]:)?[/\\](?:[^\s/\\:]+[/\\])+(?=[^\s/\\])")


@dataclass(frozen=True)
class Report:
    """The fields are the keys of the JSON; edgec/report/schema.json describes each."""

    schema: str
    edgec: str
    title: str
    verdict: str
    target: str
    clock_hz: int
    context: int
    chunk: int
    max_context: int
    kv_bytes_per_token: int
    model: Mapping[str, Any]
    recipe: Mapping[str, Any]
    stages: tuple[Mapping[str, Any], ...]
    quantization: Mapping[str, float]
    memory: tuple[MemoryUse, ...]
    breakdown: Mapping[str, Mapping[str, int]]
    deficits: tuple[Deficit, ...]
    advice: tuple[str, ...]
    remedies: tuple[Mapping[str, Any], ...]
    effects: tuple[Mapping[str, Any], ...]
    decode: Speed
    prefill: Speed
    steps: Mapping[str, tuple[StepCost, ...]]
    buffers: tuple[Buffer, ...]
    peaks: Mapping[str, Mapping[str, float]]
    program: Mapping[str, int] | None
    verification: Mapping[str, Mapping[str, Any]]
    skipped: Mapping[str, str]
    quality: tuple[Mapping[str, Any], ...]
    provenance: Mapping[str, Any]

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON values, keys sorted."""
        return dict(json.loads(json.dumps(asdict(self), sort_keys=True)))

    def to_json(self) -> str:
        """The JSON document; equal reports give equal text."""
        return json.dumps(self.to_dict(), indent=2, sort_keys=True, ensure_ascii=False) + "\n"


def make_report(
    meta: Mapping[str, Any], plan: Plan, graphs: Mapping[str, Graph], verification: Mapping[str, Any]
) -> Report:
    """The report of a build: `meta` is its build.json, `verification` its verification.json or empty."""
    meta, verification = without_folders(meta), without_folders(verification)
    memories, breakdown, deficits = memory_use(plan)
    parameters = int(meta["model"]["parameters"])
    longest = int(meta["max_context"])
    cached = sum(b.size for b in plan.buffers if b.kind == "kv")
    return Report(
        schema=SCHEMA,
        edgec=meta["edgec"],
        title=meta["title"],
        verdict=_verdict(memories),
        target=plan.target.name,
        clock_hz=plan.target.clock_hz,
        context=plan.context,
        chunk=plan.programs["prefill"].rows,
        max_context=longest,
        kv_bytes_per_token=cached // plan.context,
        model=_model(meta["model"], plan, graphs, parameters, meta["quantization"], meta.get("weights_read", True))
        | {"sparsity": sparsity_rows(meta.get("sparsity", {})), "storage": storage_rows(plan, graphs["decode"])},
        recipe=meta["recipe"],
        stages=tuple(meta.get("stages", ())),
        quantization=meta["quantization"],
        memory=tuple(memories),
        breakdown=breakdown,
        deficits=tuple(deficits),
        advice=tuple(advice(plan, breakdown, deficits, parameters)),
        remedies=tuple(meta.get("remedies", ())),
        effects=tuple(meta.get("effects", ())),
        decode=speed(plan, "decode"),
        prefill=speed(plan, "prefill"),
        steps={name: step_costs(plan, name) for name in ("decode", "prefill")},
        buffers=tuple(plan.all_buffers()),
        peaks=_peaks(plan.target),
        program=meta["program"],
        verification={name: _untimed(entry) for name, entry in verification.get("backends", {}).items()},
        skipped=verification.get("skipped", {}),
        quality=tuple(_untimed(entry) for entry in verification.get("quality", [])),
        provenance=meta["provenance"],
    )


def report_of(artifact: Artifact) -> Report:
    """The report of a built folder as it is now, verification included."""
    return make_report(artifact.meta, artifact.plan, artifact.graphs, artifact.verification())


def _peaks(target: Target) -> dict[str, dict[str, float]]:
    """What engines can compute at most, in MAC per cycle, and links and L1's banks carry, in bytes per cycle."""
    compute = target.memory_by_name[target.compute]
    return {
        "engines": {e.name: round(e.cores / e.cycles_per_mac, 6) for e in target.engines}
        | {a.name: round(peak_macs(), 6) for a in target.accelerators},
        "links": {link.name: link.bytes_per_cycle for link in target.links},
        "banks": {compute.banks: compute.bytes_per_cycle} if compute.bytes_per_cycle else {},
    }


def _verdict(memories: list[MemoryUse]) -> str:
    if any(m.headroom < 0 for m in memories):
        return DOES_NOT_FIT
    return NEEDS_L3 if any(m.used and not m.on_chip for m in memories) else FITS


def _model(
    facts: Mapping[str, Any],
    plan: Plan,
    graphs: Mapping[str, Graph],
    parameters: int,
    rounded: Mapping[str, float],
    weights_read: bool,
) -> dict[str, Any]:
    """The model's facts, and its size as the device stores it: matrices, norms and biases, scales, zeros and minima."""
    sizes = {kind: sum(b.size for b in plan.buffers if b.kind == kind) for kind in ("weight", "scale")}
    stored = sum(sizes.values())
    return {
        **facts,
        "weight_bytes": stored,
        "scale_bytes": sizes["scale"],
        "bits_per_weight": round(8 * stored / parameters, 4),
        "weights_by_bits": _weights_by_bits(graphs["decode"]),
        "matrices_kept": len(_matrices(graphs["decode"]) - rounded.keys()) if weights_read else 0,
        "branches": _branches(plan, graphs["decode"]),
    }


def _branches(plan: Plan, graph: Graph) -> dict[str, Any] | None:
    """The low-rank branches beside matrices: how many, their ranks, widths in bits, and bytes with scales."""
    inner = [node for node in graph.nodes if node.inputs.get("w", "").endswith(".lora_a.weight")]
    if not inner:
        return None
    ranks = sorted(graph.type_of(node.inputs["w"]).shape[0] for node in inner)
    return {
        "count": len(inner),
        "rank_min": ranks[0],
        "rank_max": ranks[-1],
        "bits": sorted({bits_of(node.op) for node in inner}),
        "bytes": sum(b.size for b in plan.buffers if b.kind in ("weight", "scale") and _BRANCH.search(b.name)),
    }


def _matrices(graph: Graph) -> set[str]:
    """Names of the model's matrices, branches left out."""
    found = {n.inputs["w"] for n in graph.nodes if "w" in n.inputs and not _BRANCH.search(n.inputs["w"])}
    return {part for name in found for part in parts(name)}


def _weights_by_bits(graph: Graph) -> dict[str, int]:
    """How many matrix elements are stored in each width; a matrix that two nodes share counts once."""
    matrices: dict[str, tuple[str, int]] = {}
    for node in graph.nodes:
        if "w" not in node.inputs:
            continue
        width = str(node.attrs["bits"]) if "bits" in node.attrs else str(bits_of(node.op))
        matrices[node.inputs["w"]] = (width, graph.type_of(node.inputs["w"]).shape[0] * int(node.attrs["k"]))
    result: dict[str, int] = {}
    for width, count in matrices.values():
        result[width] = result.get(width, 0) + count
    return result


def _untimed(entry: Mapping[str, Any]) -> dict[str, Any]:
    """A measurement without how long this machine took for it, which differs from run to run."""
    return {key: value for key, value in entry.items() if not key.endswith("seconds")}


def without_folders(value: Any) -> Any:
    """The same data with absolute paths cut down to the file's name: a report must not depend on where it was made."""
    if isinstance(value, str):
        return _FOLDERS.sub("", value)
    if isinstance(value, Mapping):
        return {key: without_folders(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [without_folders(item) for item in value]
    return value
