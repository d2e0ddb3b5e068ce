"""A program in an emulator, under the driver: whatever machine it is, commands go in and records come out."""

from __future__ import annotations

from typing import Protocol

from edgec.errors import VerifyError
from edgec.verify.driver import Backend, Trace


class Machine(Protocol):
    """An emulator with one program, which runs until it waits for input or has ended."""

    input: bytearray

    @property
    def exit_code(self) -> int | None:
        """What it has left with, or None."""

    @property
    def output(self) -> bytearray:
        """Bytes that the program has written."""

    @property
    def printed(self) -> str:
        """What it has printed for a person."""

    on_trace: Trace | None

    def run(self, seconds: float) -> None:
        """Run until the program waits for input or ends; VerifyError if it fails or takes longer."""


class EmulatedBackend(Backend):
    """Drives a machine. `seconds`: how long one command may take."""

    def __init__(self, machine: Machine, seconds: float) -> None:
        self._emulator, self._seconds, self._closed = machine, seconds, False

    def printed(self) -> str:
        """What the program has printed for a person."""
        return self._emulator.printed

    def close(self) -> None:
        """Take no more commands; counts and texts stay readable."""
        self._closed = True

    def _send(self, data: bytes) -> None:
        if self._closed:
            raise VerifyError(f"{self.name} was closed")
        self._emulator.input += data

    def _receive(self, count: int) -> bytes:
        output = self._emulator.output
        if len(output) < count:
            self._run()
        if len(output) < count:
            self.close()
            said = self.printed().strip().splitlines()[-1:]
            raise VerifyError(": ".join([f"{self.name} ended with exit code {self._emulator.exit_code}", *said]))
        data = bytes(output[:count])
        del output[:count]
        return data

    def _run(self) -> None:
        self._emulator.on_trace = self.trace
        try:
            self._emulator.run(self._seconds)
        except BaseException:
            self.close()  # its state is not that of a finished command
            raise
