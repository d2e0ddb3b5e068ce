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

from edgec.ir.graph import Graph
from edgec.memory.homes import united
from edgec.memory.plan import Buffer, Plan, main
from edgec.report.advice import advice
from edgec.report.layer_table import LayerCost, layer_costs
from edgec.report.memory_use import Deficit, MemoryUse, memory_use
from edgec.report.model_facts import model_facts
from edgec.report.peaks import peaks
from edgec.report.speed import Speed, TextTime, speed, text_times
from edgec.report.steps import StepCost, step_costs

if TYPE_CHECKING:
    from edgec.artifact import Artifact

SCHEMA = "edgec-report/1"
FITS, NEEDS_L3, DOES_NOT_FIT = "fits_on_chip", "needs_l3", "does_not_fit"
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
    placements: tuple[Mapping[str, Any], ...]
    advice: tuple[str, ...]
    remedies: tuple[Mapping[str, Any], ...]
    effects: tuple[Mapping[str, Any], ...]
    decode: Speed | None
    prefill: Speed | None
    encode: Speed | None
    texts: tuple[TextTime, ...]
    layers: tuple[LayerCost, ...]
    steps: Mapping[str, tuple[StepCost, ...]]
    buffers: tuple[Buffer, ...]
    peaks: Mapping[str, Mapping[str, Any]]
    program: Mapping[str, int] | None
    verification: Mapping[str, Mapping[str, Any]]
    skipped: Mapping[str, str]
    quality: tuple[Mapping[str, Any], ...]
    provenance: Mapping[str, Any]

    @property
    def runs(self) -> dict[str, Speed]:
        """The programs that the model has, decoding or else encoding first."""
        found = {"decode": self.decode, "prefill": self.prefill, "encode": self.encode}
        return {name: speed for name, speed in found.items() if speed is not None}

    @property
    def main(self) -> Speed:
        """What a token takes: decoded, or encoded."""
        return main(self.runs)

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
    stages = tuple(meta.get("stages", ()))
    steps = {name: step_costs(plan, name) for name in sorted(plan.programs)}
    speeds = {name: speed(plan, name) for name in plan.programs}
    cached = sum(b.size for b in plan.buffers if b.kind == "kv")
    return Report(
        schema=SCHEMA,
        edgec=meta["edgec"],
        title=meta["title"],
        verdict=_verdict(memories),
        target=plan.target.name,
        clock_hz=plan.target.clock_hz,
        context=plan.context,
        chunk=plan.chunk,
        max_context=longest,
        kv_bytes_per_token=cached // plan.context,
        model=model_facts(meta, plan, united({name: g for name, g in graphs.items() if name != "prefill"})),
        recipe=meta["recipe"],
        stages=stages,
        quantization=meta["quantization"],
        memory=tuple(memories),
        breakdown=breakdown,
        deficits=tuple(deficits),
        placements=tuple(meta.get("placements", ())),
        advice=tuple(advice(plan, breakdown, deficits, parameters)),
        remedies=tuple(meta.get("remedies", ())),
        effects=tuple(meta.get("effects", ())),
        decode=speeds.get("decode"),
        prefill=speeds.get("prefill"),
        encode=speeds.get("encode"),
        texts=text_times(plan),
        layers=layer_costs(plan, main(steps), stages, meta["quantization"]),
        steps=steps,
        buffers=tuple(plan.all_buffers()),
        peaks=peaks(plan),
        program=meta["program"],
        verification={name: _untimed(entry) for name, entry in verification.get("backends", {}).items()},
        skipped=verification.get("skipped", {}),
        quality=tuple(_untimed(entry) for entry in verification.get("quality", [])),
        provenance=meta["provenance"],
    )


def report_of(artifact: Artifact) -> Report:
    """The report of a built folder as it is now, verification included."""
    return make_report(artifact.meta, artifact.plan, artifact.graphs, artifact.verification())


def _verdict(memories: list[MemoryUse]) -> str:
    if any(m.headroom < 0 for m in memories):
        return DOES_NOT_FIT
    return NEEDS_L3 if any(m.used and not m.on_chip for m in memories) else FITS


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
