"""The plug of N-EUREKA: its control registers, two job contexts, and the end-of-job event.

What a job computes is edgec.neureka.model.execute, or any function of its kind. The two contexts take turns and keep
their registers from one job to the next.
With `late`, a job is executed when all cores wait, or when one asks again and again without waiting.
Source: the HWPE control interface, and the public model of N-EUREKA.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from edgec.errors import VerifyError
from edgec.verify.board.bus import no_register
from edgec.verify.board.event_unit import NEUREKA_EVENT, EventUnit
from edgec.verify.board.memory import Memories

BASE, END = 0x10201000, 0x10201400
TRIGGER, ACQUIRE, FINISHED, STATUS, RUNNING, SOFT_CLEAR = 0x00, 0x04, 0x08, 0x0C, 0x10, 0x14
JOB, REGISTERS = 0x20, 24
CONTEXTS = 2
PATIENCE = 16  # how often in vain somebody may ask before the oldest job is done
NO_CONTEXT = 0xFFFFFFFF  # what an acquire reads when both contexts are in use

Execute = Callable[[list[int], Callable[[int, int], bytes], Callable[[int, bytes], None]], None]


@dataclass
class _Context:
    """A job being written, waiting or running; `id` is None when the context is free."""

    id: int | None = None
    committed: bool = False
    registers: list[int | None] = field(default_factory=lambda: [None] * REGISTERS)


class NeurekaDevice:
    """N-EUREKA's register file; jobs are executed in the order in which they were committed."""

    name = "N-EUREKA"

    def __init__(self, memories: Memories, events: EventUnit, late: bool, execute: Execute | None = None) -> None:
        self._memories, self._events, self._late, self._execute = memories, events, late, execute
        self._contexts = [_Context() for _ in range(CONTEXTS)]
        self._writing = 0  # the context that is acquired next or being written
        self._jobs: list[_Context] = []
        self._next_id = self.finished = 0
        self._last_id = self._vain = 0
        self._held = False  # committed jobs wait for a trigger of 0

    def read(self, _core: int, offset: int) -> int:
        """Acquire a context, or read a register."""
        if offset == ACQUIRE:
            return self._acquire()
        if offset == STATUS:
            self._asked()
            return sum((context.id is not None) << 8 * i for i, context in enumerate(self._contexts))
        if offset == FINISHED:
            self._asked()
            return self.finished
        if offset == RUNNING:
            return self._last_id
        value = self._contexts[self._writing].registers[self._register(offset, "reads")]
        return 0 if value is None else value

    def write(self, _core: int, offset: int, value: int) -> None:
        """Commit and trigger a job, clear everything, or write a register of the acquired context."""
        if offset == TRIGGER:
            self._commit(hold=value != 0)
        elif offset == SOFT_CLEAR:
            self._contexts = [_Context() for _ in range(CONTEXTS)]
            self._jobs, self._writing = [], 0
        else:
            register = self._register(offset, "writes")
            context = self._contexts[self._writing]
            if context.id is None or context.committed:
                raise VerifyError(f"writes job register {register} of N-EUREKA without an acquired context")
            context.registers[register] = value

    def finish_oldest(self) -> bool:
        """Execute the triggered job that has waited longest; whether there is one."""
        if self._held or not self._jobs:
            return False
        job = self._jobs.pop(0)
        missing = [i for i, value in enumerate(job.registers) if value is None]
        if missing:
            raise VerifyError(f"triggers an N-EUREKA job without writing its register {missing[0]}")
        self._run([value or 0 for value in job.registers])
        self._last_id = job.id or 0
        self.finished += 1
        self._vain = 0
        job.id, job.committed = None, False
        self._events.trigger(NEUREKA_EVENT)
        return True

    def _asked(self) -> None:
        self._vain += 1
        if self._vain > PATIENCE:
            self.finish_oldest()

    def _acquire(self) -> int:
        context = self._contexts[self._writing]
        if context.id is not None and not context.committed:
            raise VerifyError("acquires an N-EUREKA context while it holds one that it has not triggered")
        if context.id is not None:
            self._asked()
            return NO_CONTEXT
        context.id = self._next_id
        self._next_id = (self._next_id + 1) % 256
        return context.id

    def _commit(self, hold: bool) -> None:
        context = self._contexts[self._writing]
        if context.id is None or context.committed:
            raise VerifyError("triggers N-EUREKA without an acquired context")
        context.committed = True
        self._jobs.append(context)
        self._writing = (self._writing + 1) % CONTEXTS
        self._held = hold
        while not self._late and self.finish_oldest():
            pass

    def _register(self, offset: int, verb: str) -> int:
        number = (offset - JOB) // 4
        if not 0 <= number < REGISTERS:
            raise no_register(self, offset, verb)
        return number

    def _run(self, registers: list[int]) -> None:
        from edgec.neureka.job import JobError

        if self._execute is None:
            from edgec.neureka.model import execute

            self._execute = execute
        try:
            self._execute(registers, self._memories.read, self._memories.write)
        except JobError as error:
            raise VerifyError(f"triggers a job that N-EUREKA cannot run: {error}") from None
