"""verify(): reference ↔ simulator ↔ host C ↔ RV32 program ↔ the chip's program, bit for bit, tensor by tensor; and
float ↔ reference.

Every backend makes the calls of its workload; after each step the tensors that the step wrote are compared with the
reference's bytes. The first that differs is named with its op, its position and the module it comes from.
"""

from __future__ import annotations

import json
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from edgec.artifact import Artifact
from edgec.compress.vocabulary import with_tokens_of
from edgec.emit.model_c import value_ids
from edgec.emit.riscv import rv32_float_abi
from edgec.errors import EdgecError, MismatchError, VerifyError
from edgec.ir.graph import DTYPES
from edgec.memory.check import PlanError, check
from edgec.memory.plan import Program
from edgec.ops.sample import Sampling
from edgec.output import write_file
from edgec.report.files import write_report
from edgec.report.report import report_of
from edgec.simulate.reference import ReferenceRunner
from edgec.verify.embeddings import compare_embeddings
from edgec.verify.host import HostBackend
from edgec.verify.original import original
from edgec.verify.quality import compare_float
from edgec.verify.rv32 import Rv32Backend
from edgec.verify.siracusa import SiracusaBackend
from edgec.verify.workload import TEXT, Workload, texts, workload

BACKENDS = ("simulator", "host", "rv32", "siracusa")
LEGS = ("float", *BACKENDS)
CHIPS = ("siracusa",)  # backends that are the program of a target with that HAL
Tensors = list[tuple[str, bytes]]
Progress = Callable[[str], None]


class _Runs(Protocol):
    """What verification asks of a backend."""

    def sampling(self, settings: Sampling) -> None: ...
    def prefill(self, tokens: list[int]) -> int: ...
    def decode(self, token: int) -> int: ...
    def encode(self, tokens: list[int]) -> NDArray[np.float32]: ...


@dataclass
class Outcome:
    """What one backend's run showed."""

    tensors: int = 0
    mismatches: int = 0
    first_divergence: dict[str, Any] | None = None
    facts: dict[str, Any] = field(default_factory=dict)

    def add(self, later: Outcome) -> None:
        """What the same run showed next."""
        self.tensors += later.tensors
        self.mismatches += later.mismatches
        self.first_divergence = self.first_divergence or later.first_divergence
        self.facts |= {name: self.facts.get(name, 0) + count for name, count in later.facts.items()}

    def to_dict(self) -> dict[str, Any]:
        """For verification.json."""
        return {
            "tensors": self.tensors,
            "mismatches": self.mismatches,
            "first_divergence": self.first_divergence,
            **self.facts,
        }


def verify(
    artifact: Artifact, legs: Sequence[str], *, text: Path | None = None, progress: Progress | None = None
) -> dict[str, Any]:
    """Run the named legs (of LEGS), write OUT/verification.json and return it.

    Raises MismatchError at the first leg whose bits differ, after writing what was found; VerifyError if the plan is
    unsound, a constant was changed or a program trapped.
    """
    say = progress or (lambda text: None)
    artifact.require_program()
    result: dict[str, Any] = artifact.verification() or {"backends": {}, "quality": [], "skipped": {}}
    reference = cache(artifact.reference)  # unpacked once, for all legs
    say("check the plan")
    try:
        check(artifact.plan)
    except PlanError as error:
        raise VerifyError(f"the plan is unsound: {error}.") from None
    target = artifact.plan.target
    others = [leg for leg in legs if leg in CHIPS and target.runtime.hal != leg]
    if others and len(others) == len(legs):
        raise VerifyError(f"{artifact.path} is built for {target.name}, which has no program for {others[0]}.")
    for leg in (leg for leg in legs if leg not in others):
        say(f"verify {leg}")
        result["skipped"].pop(leg, None)
        if leg == "float":
            _float_leg(artifact, text, result)
            continue
        try:
            outcome = _exact_leg(artifact, leg, reference)
        except VerifyError as error:
            outcome = Outcome(mismatches=1, first_divergence={"error": str(error)})
        result["backends"][leg] = outcome.to_dict()
        _save(artifact, result)
        if outcome.mismatches:
            raise MismatchError(_sentence(leg, outcome))
    _save(artifact, result)
    return result


def _save(artifact: Artifact, result: dict[str, Any]) -> None:
    write_file(artifact.path / "verification.json", json.dumps(result, indent=1, sort_keys=True) + "\n")
    write_report(artifact.path, report_of(artifact))


def _exact_leg(artifact: Artifact, leg: str, reference: Callable[[], ReferenceRunner]) -> Outcome:
    with _opened(artifact, leg) as (backend, received, facts):
        if artifact.encodes:
            outcome = _compare_texts(artifact, reference(), texts(artifact, leg), backend, received)
        elif artifact.seq2seq:
            outcome = _compare_sources(artifact, reference(), leg, backend, received)
        else:
            outcome = _compare(artifact, reference(), workload(artifact, leg), backend, received)
        facts(outcome.facts)
    return outcome


@contextmanager
def _opened(artifact: Artifact, leg: str) -> Iterator[tuple[_Runs, Tensors, Callable[[dict[str, Any]], None]]]:
    """A backend at position 0, the list its traced tensors arrive in, and a function that adds facts of the run."""
    received: Tensors = []
    if leg == "simulator":
        simulator = artifact.simulator()
        simulator.trace = lambda step, value, data: received.append((value, data))
        yield simulator, received, lambda facts: None
        return
    names = {number: name for name, number in value_ids(artifact.plan).items()}
    with (
        tempfile.TemporaryDirectory(prefix="edgec-verify-") as folder,
        _program(artifact, leg, Path(folder)) as program,
    ):
        program.trace = lambda number, data: received.append((names.get(number, f"value {number}"), data))
        program.reset()

        def facts(found: dict[str, Any]) -> None:
            if isinstance(program, Rv32Backend):
                found["stack_high_water"] = program.stack_high_water()
            if isinstance(program, SiracusaBackend):
                found["stack_high_water"] = max(used := program.stack_high_water())
                found["worker_stack_high_water"] = max(used[1:], default=0)

        yield _Driven(program), received, facts


def _program(artifact: Artifact, leg: str, folder: Path) -> HostBackend | Rv32Backend | SiracusaBackend:
    target = artifact.plan.target
    if leg == "host":
        # Late DMA and all cores of the target: the order of things least like the simulator's.
        return HostBackend(artifact.project, folder, cores=target.engines[0].cores, late_dma=True)
    if leg == "siracusa":
        return SiracusaBackend(artifact.project, target, folder)
    return Rv32Backend(artifact.project, folder, float_abi=rv32_float_abi(artifact.plan.target))


@dataclass
class _Driven:
    """A program under the driver, called like the simulator."""

    program: HostBackend | Rv32Backend | SiracusaBackend

    def sampling(self, settings: Sampling) -> None:
        self.program.sampling(settings.temperature, settings.top_k, settings.top_p, settings.seed)

    def prefill(self, tokens: list[int]) -> int:
        return self.program.prefill(tokens)

    def decode(self, token: int) -> int:
        return self.program.decode(token)

    def encode(self, tokens: list[int]) -> NDArray[np.float32]:
        return self.program.encode(tokens)


def _compare(
    artifact: Artifact, reference: ReferenceRunner, work: Workload, backend: _Runs, received: Tensors
) -> Outcome:
    reference.reset()
    expected: Tensors = []
    reference.trace = lambda node, value, array: expected.append((value, array.tobytes()))
    outcome = Outcome(facts={"prompt_tokens": len(work.prompt), "decoded_tokens": work.decodes})
    token = -1
    for call in range(work.decodes + 1):
        if call in (0, work.decodes // 2 + 1):
            settings = work.sampling if call else Sampling()
            reference.sampling(settings)
            backend.sampling(settings)
        expected.clear()
        received.clear()
        start = reference.pos
        if call == 0:
            token, got = reference.prefill(work.prompt), backend.prefill(work.prompt)
        else:
            token, got = reference.decode(token), backend.decode(token)
        tokens = 1 if call else len(work.prompt)
        _compare_call(artifact, outcome, expected, received, "decode" if call else "prefill", start, tokens)
        if outcome.mismatches:
            break
        if got != token:
            outcome.mismatches += 1
            outcome.first_divergence = {"value": "token", "op": "sample", "expected": token, "got": got}
            break
    return outcome


def _compare_texts(
    artifact: Artifact, reference: ReferenceRunner, given: list[list[int]], backend: _Runs, received: Tensors
) -> Outcome:
    expected: Tensors = []
    reference.trace = lambda node, value, array: expected.append((value, array.tobytes()))
    outcome = Outcome(facts={"texts": len(given), "tokens": sum(map(len, given))})
    for tokens in given:
        expected.clear()
        received.clear()
        want, got = reference.encode(tokens), backend.encode(tokens)
        _compare_call(artifact, outcome, expected, received, "encode", 0, len(tokens))
        if outcome.mismatches:
            break
        if got.tobytes() != want.tobytes():
            outcome.mismatches += 1
            what = {"expected": f"{want.size} numbers", "got": f"{int((got != want).sum())} others"}
            outcome.first_divergence = {"value": "embedding", "op": "encode", **what}
            break
    return outcome


def _compare_sources(
    artifact: Artifact, reference: ReferenceRunner, leg: str, backend: _Runs, received: Tensors
) -> Outcome:
    """What is written about a long source, and then about a short one, whose caches still hold the long one's end."""
    outcome = Outcome()
    for source in texts(artifact, leg):
        outcome.add(_compare_texts(artifact, reference, [source], backend, received))
        if not outcome.mismatches:
            outcome.add(_compare(artifact, reference, workload(artifact, leg), backend, received))
        if outcome.mismatches:
            break
    return outcome


def _positions(program: Program, start: int, tokens: int) -> list[int]:
    """The position of the run that wrote each tensor of a call, in order."""
    return [
        position
        for first, end in program.sweeps
        for position in range(start, start + tokens, program.rows)
        for step in program.steps[first:end]
        for _ in step.writes
    ]


def _compare_call(
    artifact: Artifact, outcome: Outcome, expected: Tensors, received: Tensors, program: str, start: int, tokens: int
) -> None:
    positions = _positions(artifact.plan.programs[program], start, tokens)
    for number in range(max(len(expected), len(received))):
        want = expected[number] if number < len(expected) else ("nothing", b"")
        have = received[number] if number < len(received) else ("nothing", b"")
        outcome.tensors += 1
        if want != have:
            outcome.mismatches += 1
            if outcome.first_divergence is None:
                at = positions[min(number, len(positions) - 1)]
                outcome.first_divergence = _divergence(artifact, program, want, have, at)


def _divergence(
    artifact: Artifact, program: str, want: tuple[str, bytes], have: tuple[str, bytes], position: int
) -> dict[str, Any]:
    value = want[0]
    step = next((s for s in artifact.plan.programs[program].steps if any(w[0] == value for w in s.writes)), None)
    found: dict[str, Any] = {"program": program, "position": position, "value": value}
    if step is not None:
        found |= {"step": step.index, "op": step.op, "node": step.node, "source": step.source}
    if want[0] != have[0] or len(want[1]) != len(have[1]):
        return found | {"expected": f"{want[0]}, {len(want[1])} B", "got": f"{have[0]}, {len(have[1])} B"}
    dtype = DTYPES[artifact.graphs[program].type_of(value).dtype]
    a, b = np.frombuffer(want[1], np.uint8), np.frombuffer(have[1], np.uint8)
    element = int(np.flatnonzero(a != b)[0]) // dtype.itemsize
    numbers = [np.frombuffer(data, dtype)[element].item() for data in (want[1], have[1])]
    wrong = int((np.frombuffer(want[1], f"u{dtype.itemsize}") != np.frombuffer(have[1], f"u{dtype.itemsize}")).sum())
    return found | {"element": element, "expected": numbers[0], "got": numbers[1], "wrong_elements": wrong}


def _sentence(leg: str, outcome: Outcome) -> str:
    d = outcome.first_divergence or {}
    if "error" in d:
        return f"{leg} failed: {d['error']}"
    place = f"{d.get('op')} {d.get('value')}" + (f" of {d['source']}" if d.get("source") else "")
    where = f" at position {d['position']} of {d['program']}" if "program" in d else ""
    element = f" element {d['element']} is {d['got']}, not {d['expected']}" if "element" in d else ""
    return f"{leg} differs from the reference first in {place}{where}:{element or ' ' + str(d.get('got'))}."


def _float_leg(artifact: Artifact, text: Path | None, result: dict[str, Any]) -> None:
    """Float model against reference, if the checkpoint that was built is still there."""
    try:
        checkpoint = original(artifact)
        if checkpoint.config.vocab_size != artifact.meta["model"]["vocab_size"]:
            checkpoint = with_tokens_of(checkpoint, artifact.meta["stages"])
        passage = text.read_text(encoding="utf-8") if text else TEXT
    except (OSError, ValueError, EdgecError) as error:
        if text and not text.is_file():
            raise VerifyError(f"text {text} cannot be read.") from None
        result["skipped"]["float"] = str(error)
        return
    name, consts = text.name if text else "built-in passage", artifact.constants()
    if artifact.encodes:
        entry = compare_embeddings(checkpoint, artifact.graphs["encode"], consts, artifact.tokenizer, passage, name)
    else:
        window, graphs = min(256, artifact.plan.context), artifact.graphs
        reads = graphs.get("encode")
        entry = compare_float(checkpoint, graphs["prefill"], consts, artifact.tokenizer, passage, window, name, reads)
    result["quality"] = [q for q in result["quality"] if q.get("text") != name] + [entry]
