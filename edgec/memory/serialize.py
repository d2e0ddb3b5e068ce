"""Plan ⇄ JSON. The file is the plan: verification and simulation of a built project read it back, nothing else.

Strings (levels, links, values, kernels) are numbered in one table; phases are arrays of integers, to keep the plan of a
large model to some megabytes.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from dataclasses import astuple
from typing import Any

from edgec.errors import OutputError
from edgec.memory.plan import Buffer, Call, Extent, Number, Phase, Plan, Position, Program, Region, Step, Transfer
from edgec.target import Target

FORMAT = "edgec-plan/1"


def dump_plan(plan: Plan) -> str:
    """The plan as JSON text; equal plans give equal text."""
    return "".join(plan_text(plan))


def plan_text(plan: Plan) -> Iterator[str]:
    """The text of dump_plan() in pieces of a step each: as a whole it may be larger than all else in memory."""
    writer = _Writer()
    yield f'{{"buffers":{_json([astuple(b) for b in plan.buffers])},"context":{plan.context},"format":{_json(FORMAT)}'
    yield ',"programs":['
    for number, p in enumerate(plan.programs.values()):
        buffers = _json([astuple(b) for b in p.buffers])
        yield f'{"," if number else ""}{{"buffers":{buffers},"name":{_json(p.name)},"rows":{p.rows},"steps":['
        for index, s in enumerate(p.steps):
            yield f"{',' if index else ''}{_json(writer.step(s))}"
        yield "]}"
    yield f'],"strings":{_json(list(writer.strings))},"target":{_json(plan.target.name)}}}\n'


def plan_sha256(plan: Plan) -> str:
    """SHA-256 of the plan's text, in hexadecimal digits."""
    digest = hashlib.sha256()
    for piece in plan_text(plan):
        digest.update(piece.encode())
    return digest.hexdigest()


def _json(value: Any) -> str:
    return json.dumps(value, separators=(",", ":"), sort_keys=True)


def load_plan(text: str, target: Target) -> Plan:
    """Read a plan back. Raises OutputError if the text is not a plan of this target."""
    try:
        document = json.loads(text)
        if document["format"] != FORMAT or document["target"] != target.name:
            raise OutputError(f"the plan is of format {document['format']} for target {document['target']}.")
        if not isinstance(document["context"], int):
            raise TypeError("the context is not an integer")
        programs = {p["name"]: _program(p, document["strings"]) for p in document["programs"]}
        return Plan(target, document["context"], [Buffer(*b) for b in document["buffers"]], programs)
    except (ValueError, KeyError, IndexError, TypeError, AttributeError) as error:
        raise OutputError(f"the plan is damaged: {type(error).__name__} {error}.") from None


class _Writer:
    def __init__(self) -> None:
        self.strings: dict[str, int] = {}

    def text(self, value: str) -> int:
        return self.strings.setdefault(value, len(self.strings))

    def number(self, value: Number) -> Any:
        if isinstance(value, Extent):
            return ["e", value.bound, value.first, value.limit, value.times, int(value.from_start)]
        if isinstance(value, Position):
            return ["p", value.add]
        return value

    def region(self, r: Region | None) -> Any:
        if r is None:
            return None
        return [self.text(r.level), r.offset, r.size, self.text(r.value), r.at, *([r.row_bytes] if r.row_bytes else [])]

    def step(self, s: Step) -> Any:
        writes = [[self.text(v), self.region(r), self.number(n), b] for v, r, n, b in s.writes]
        return [s.index, s.node, s.op, s.source, [self.phase(p) for p in s.phases], writes]

    def phase(self, p: Phase) -> Any:
        moves = [
            [self.text(t.link), self.region(t.source), self.region(t.target), t.row_bytes, self.number(t.rows), t.start]
            for t in p.transfers
        ]
        call = None
        if p.call is not None:
            regions = {k: self.region(r) for k, r in sorted(p.call.regions.items())}
            numbers = {k: self.number(n) for k, n in p.call.numbers.items()}
            call = [self.text(p.call.kernel), self.text(p.call.engine), regions, numbers]
        return [moves, call, None if p.when is None else self.number(p.when)]


def _program(p: Any, strings: list[str]) -> Program:
    reader = _Reader(strings, p["rows"] > 1)
    return Program(p["name"], p["rows"], [reader.step(s) for s in p["steps"]], [Buffer(*b) for b in p["buffers"]])


class _Reader:
    def __init__(self, strings: list[str], any_rows: bool) -> None:
        self.strings, self.any_rows = strings, any_rows

    def number(self, value: Any) -> Number:
        if not isinstance(value, list):
            if not isinstance(value, (int, float)):
                raise ValueError(f"{value!r} is not a number")
            return value
        if value[0] == "e":
            return Extent(value[1], value[2], value[3], value[4], bool(value[5]))
        return Position(value[1])

    def region(self, r: Any) -> Region:
        return Region(self.strings[r[0]], r[1], r[2], self.strings[r[3]], *r[4:])

    def step(self, s: Any) -> Step:
        writes = tuple((self.strings[v], self.region(r), self.number(n), b) for v, r, n, b in s[5])
        return Step(s[0], s[1], s[2], s[3], tuple(self.phase(p) for p in s[4]), writes)

    def phase(self, p: Any) -> Phase:
        moves = tuple(
            Transfer(self.strings[link], self.region(a), self.region(b), size, self.number(rows), start)
            for link, a, b, size, rows, start in p[0]
        )
        call = None
        if p[1] is not None:
            kernel, engine, regions, numbers = p[1]
            call = Call(
                self.strings[kernel],
                self.strings[engine],
                {k: None if r is None else self.region(r) for k, r in regions.items()},
                {k: self.number(n) for k, n in numbers.items()},
                self.any_rows,
            )
        when = None if p[2] is None else self.number(p[2])
        if when is not None and not isinstance(when, Extent):
            raise ValueError("a phase's condition is not an extent")
        return Phase(moves, call, when)
