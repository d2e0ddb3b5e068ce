"""Who runs when: cores take turns until the program waits for input, ends or fails.

A turn lasts until the core waits for an event, sleeps or calls the idle function, or as long as the core has been told.
One that goes on for long without any of these lets the others run, because it may wait for a value in memory.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping, Sequence

from edgec.errors import VerifyError
from edgec.verify.board import core_local, event_unit
from edgec.verify.board.core import Core, State
from edgec.verify.board.event_unit import EventUnit
from edgec.verify.board.mailbox import Mailbox

TURN_SECONDS = 0.25


class Turns:
    """Runs `cores`, whose waits `events` ends.

    order             in which the numbers of cores take turns
    finish_late_work  called when nobody can go on: does something that was put off, and says whether there was any
    """

    def __init__(
        self,
        cores: Mapping[int, Core],
        order: Sequence[int],
        events: EventUnit,
        mailbox: Mailbox,
        finish_late_work: Callable[[], bool],
    ) -> None:
        self.exit_code: int | None = None
        self._cores = [cores[number] for number in order]
        self._events, self._mailbox, self._finish_late_work = events, mailbox, finish_late_work
        self._running: Core | None = None
        self._turn = 0

    def run(self, seconds: float) -> None:
        """Run until the program waits for input or ends; VerifyError if it fails or takes longer."""
        deadline = time.monotonic() + seconds
        over = threading.Event()
        watch = threading.Thread(target=self._watch, args=(deadline, over), daemon=True)
        watch.start()
        try:
            self._run_all(deadline, seconds)
        finally:
            over.set()
            watch.join()

    def leave(self, code: int) -> None:
        """End the program; called by a device while a core runs."""
        self.exit_code = code
        if self._running is not None:
            self._running.stop()

    def _run_all(self, deadline: float, seconds: float) -> None:
        while self.exit_code is None:
            ran = False
            for core in self._cores:
                while self.exit_code is None and self._can_run(core):
                    ran = True
                    self._run_one(core)
                    if time.monotonic() > deadline:
                        raise VerifyError(f"it gave no answer for {seconds:g} s, {core.name} is in {core.where()}")
                    if core.is_idle() and not self._serve(core):
                        return
                    if core.stopped:
                        break
            if not ran and not self._finish_late_work():
                self._fail()

    def _can_run(self, core: Core) -> bool:
        if core.state is State.WAITING:
            answer = self._events.end_wait(core.number)
            if answer is not None:
                core.answer_wait(answer)
        return core.state is State.READY

    def _run_one(self, core: Core) -> None:
        self._turn += 1
        self._running = core
        core.run()
        self._running = None
        if core.state is State.WAITING:
            offset = core.local[core_local.WAIT_ADDRESS] - event_unit.BASE
            try:
                if not 0 <= offset < event_unit.END - event_unit.BASE:
                    raise VerifyError(f"waits by reading {offset + event_unit.BASE:#010x}, which is no wait register")
                self._events.begin_wait(core.number, offset)
            except VerifyError as error:
                raise VerifyError(f"{core.name} {error} in {core.where()}") from None

    def _serve(self, core: Core) -> bool:
        """Do what the mailbox asks for; False if the program must wait for input."""
        try:
            going_on = self._mailbox.serve()
        except VerifyError as error:
            raise VerifyError(f"{core.name} {error} in {core.where(core.register('ra'))}") from None
        core.answer_idle()
        return going_on

    def _fail(self) -> None:
        waiting = [core for core in self._cores if core.state is State.WAITING]
        if not waiting:
            raise VerifyError("all cores sleep, and nobody has written an exit code")
        told = []
        for core in waiting:
            offset = core.local[core_local.WAIT_ADDRESS] - event_unit.BASE
            told.append(f"{core.name} for {self._events.describe_wait(core.number, offset)} in {core.where()}")
        raise VerifyError(f"all cores wait and no event will come: {'; '.join(told)}")

    def _watch(self, deadline: float, over: threading.Event) -> None:
        """End turns that are too long, and the last one at the deadline."""
        turn = -1
        while not over.wait(max(0.001, min(TURN_SECONDS, deadline - time.monotonic()))):
            core, late = self._running, time.monotonic() > deadline
            if core is not None and (turn == self._turn or late):
                core.stop()
            turn = self._turn
