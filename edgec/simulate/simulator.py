"""The plan's simulator: one byte array per memory, every transfer and kernel call carried out on bytes.

Nothing but the plan and the memories' initial images goes in, so a planning mistake changes the answer. Memory that
no image initialises starts filled with a pattern. `late` performs a phase's transfers after its call instead of before:
a sound plan gives the same bits either way.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgec.errors import EdgecError, VerifyError
from edgec.ir.graph import DTYPES
from edgec.memory.plan import Call, Phase, Plan, Program, Region, Step, Transfer, evaluate
from edgec.ops import kernel
from edgec.ops.sample import Sampling
from edgec.simulate.timeline import Timeline

U8 = NDArray[np.uint8]
F32 = NDArray[np.float32]
Trace = Callable[[Step, str, bytes], None]
PATTERN = 0xA5


@dataclass
class Simulator:
    """Runs a plan. images: initial bytes per level (weights, tables), at offset 0 of the level.

    timeline, if there is one, is told of every transfer and call.
    """

    plan: Plan
    images: Mapping[str, U8]
    late: bool = False
    timeline: Timeline | None = None
    trace: Trace | None = None
    pos: int = 0

    def __post_init__(self) -> None:
        self.memory: dict[str, U8] = {}
        for level in self.plan.target.memory_by_name:
            used = self.plan.arena_bytes(level)
            image = self.images.get(level)
            memory = np.full(used, PATTERN, np.uint8)
            if image is not None:
                memory[: image.size] = image
            self.memory[level] = memory
        self._homes = {b.name: b for b in self.plan.all_buffers()}

    def reset(self) -> None:
        """Empty the cache."""
        self.pos = 0

    def sampling(self, settings: Sampling) -> None:
        """Choose how tokens are sampled."""
        home = self._homes["sampling"]
        self.memory[home.level][home.offset : home.offset + home.size] = settings.params().view(np.uint8)

    def prefill(self, tokens: list[int]) -> int:
        """Append tokens in chunks; returns the next token."""
        token = -1
        rows = self.plan.programs["prefill"].rows
        for start in range(0, len(tokens), rows):
            token = self.run("prefill", tokens[start : start + rows])
        return token

    def decode(self, token: int) -> int:
        """Append one token; returns the next."""
        return self.run("decode", [token])

    def run(self, name: str, tokens: list[int]) -> int:
        """One run of a program; the sampled token."""
        program = self.plan.programs[name]
        m, pos = len(tokens), self.pos
        if pos + m > self.plan.context:
            raise EdgecError(f"{pos + m} positions do not fit a context of {self.plan.context}.")
        self._steps(program, 0, len(program.steps), tokens, pos)
        self.pos += m
        _, region, _, _ = program.steps[-1].writes[0]
        return int(self._view(region).view(np.int32)[0])

    def encode(self, tokens: list[int]) -> F32:
        """Read a text, each sweep over all of it before the next: its vector, or none (see the reference)."""
        program = self.plan.programs["encode"]
        if not 0 < len(tokens) <= self.plan.context:
            raise EdgecError(f"a text of {len(tokens)} tokens, where 1 to {self.plan.context} fit.")
        length = self._homes["length"]
        self.memory[length.level][length.offset : length.offset + 4].view(np.int32)[0] = len(tokens)
        for first, end in program.sweeps:
            for start in range(0, len(tokens), program.rows):
                self._steps(program, first, end, tokens[start : start + program.rows], start)
        self.pos = 0
        if "decode" in self.plan.programs:
            return np.zeros(0, np.float32)
        _, region, _, _ = program.steps[-1].writes[0]
        return self._view(region).view(np.float32).copy()

    def _steps(self, program: Program, first: int, end: int, tokens: list[int], pos: int) -> None:
        name, m = program.name, len(tokens)
        if self.timeline is not None:
            self.timeline.begin_run(program, m, pos)
        for step in program.steps[first:end]:
            try:
                for phase in step.phases:
                    self._phase(phase, m, pos, tokens)
                    if self.timeline is not None:
                        self.timeline.end_phase(name, step)
            except (ValueError, IndexError, TypeError, AttributeError) as error:  # sizes that do not belong together
                where = f"{name} step {step.index} ({step.op} {step.node})"
                raise VerifyError(f"{where} cannot be carried out as planned: {error}") from error
            if self.trace:
                for value, region, rows, row_bytes in step.writes:
                    size = int(evaluate(rows, m, pos)) * row_bytes
                    self.trace(step, value, self._view(region, pos)[:size].tobytes())

    def _view(self, region: Region, pos: int = 0) -> U8:
        return self.memory[region.level][region.start(pos) : region.offset + region.size]

    def _phase(self, phase: Phase, m: int, pos: int, tokens: list[int]) -> None:
        if not self.late:
            for transfer in phase.transfers:
                self._transfer(transfer, m, pos, tokens)
        if phase.call is not None and (phase.when is None or phase.when.at(m, pos)):
            self._call(phase.call, m, pos)
        if self.late:
            for transfer in phase.transfers:
                self._transfer(transfer, m, pos, tokens)

    def _transfer(self, t: Transfer, m: int, pos: int, tokens: list[int]) -> None:
        rows = int(evaluate(t.rows, m, pos))
        if not rows:
            return
        if self.timeline is not None:
            self.timeline.transfer(t, rows)
        source, target = self.memory[t.source.level], self.memory[t.target.level]
        from_, to = t.source.offset + pos * t.source_stride, t.target.offset + pos * t.target_stride
        size = rows * t.row_bytes
        if t.start == "token":
            for row in range(rows):
                at = from_ + tokens[row] * t.row_bytes
                target[to + row * t.row_bytes : to + (row + 1) * t.row_bytes] = source[at : at + t.row_bytes]
            return
        target[to : to + size] = source[from_ : from_ + size]

    def _call(self, call: Call, m: int, pos: int) -> None:
        code = kernel(call.kernel)
        arguments: dict[str, Any] = {name: evaluate(value, m, pos) for name, value in call.numbers.items()}
        if self.timeline is not None:
            self.timeline.call(call, arguments)
        for p in code.params:
            if p.is_pointer:
                region = call.regions[p.name]
                arguments[p.name] = None if region is None else self._view(region, pos).view(DTYPES[p.dtype])
        code.run(arguments)
