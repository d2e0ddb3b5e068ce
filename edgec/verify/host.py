"""Runs an emitted project as a program on this machine, with guards around every memory."""

from __future__ import annotations

import os
import select
import signal
import subprocess
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

from edgec.errors import VerifyError
from edgec.verify.driver import Backend
from edgec.verify.toolchain import compile_host


class HostBackend(Backend):
    """The project's C, compiled for verification and run in a process of its own.

    cores      how many cores a fork has (they run one after the other, the last one first)
    late_dma   transfers happen at the wait instead of the start; a correct program computes the same bits
    compiler   command line, default: what find_host_compiler() finds
    traced     build with trace calls; without, `trace` is never called and the program runs faster
    seconds    how long the program may be silent
    """

    name = "the host program"

    def __init__(
        self,
        project_dir: Path,
        build_dir: Path,
        cores: int = 1,
        late_dma: bool = False,
        compiler: Sequence[str] | None = None,
        *,
        traced: bool = True,
        optimize: str = "-O2",
        seconds: float = 300.0,
    ) -> None:
        defines = ["EDGEC_VERIFY"] + ["EDGEC_DMA_LATE"] * late_dma + ["EDGEC_TRACE"] * traced
        build_dir.mkdir(parents=True, exist_ok=True)
        program = build_dir / f"verify_host{'_late' * late_dma}{'_traced' * traced}"
        compile_host(project_dir, program, defines, "verify_main.c", optimize, compiler)
        self._seconds = seconds
        # a file and not a pipe, because nobody empties it; close() closes it
        self._printed = tempfile.TemporaryFile()  # noqa: SIM115
        self._process = subprocess.Popen(
            [program.resolve()],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._printed,
            env={**os.environ, "EDGEC_CORES": str(cores)},
            bufsize=0,
        )
        self._buffer = bytearray()
        self._text = ""

    def printed(self) -> str:
        """What the program has printed for a person."""
        if not self._printed.closed:
            self._printed.seek(0)
            self._text = self._printed.read().decode(errors="replace")
        return self._text

    def close(self) -> None:
        """Kill the program if it still runs."""
        for pipe in (self._process.stdin, self._process.stdout):
            if pipe:
                pipe.close()
        self._process.kill()
        self._process.wait()
        self.printed()
        self._printed.close()

    def _send(self, data: bytes) -> None:
        pipe = self._process.stdin
        if pipe is None or pipe.closed:
            raise VerifyError(f"{self.name} was closed")
        try:
            while data:
                data = data[pipe.write(data) :]
        except BrokenPipeError:
            raise self._ended() from None

    def _receive(self, count: int) -> bytes:
        pipe = self._process.stdout
        if pipe is None or pipe.closed:
            raise VerifyError(f"{self.name} was closed")
        deadline = time.monotonic() + self._seconds
        while len(self._buffer) < count:
            if not select.select([pipe], [], [], max(0.0, deadline - time.monotonic()))[0]:
                self.close()
                raise VerifyError(f"{self.name} gave no answer for {self._seconds:g} s: it hangs or is too slow")
            data = pipe.read(1 << 20)
            if not data:
                raise self._ended()
            self._buffer += data
        data = bytes(self._buffer[:count])
        del self._buffer[:count]
        return data

    def _ended(self) -> VerifyError:
        code = self._process.wait()
        self.close()
        said = self.printed().strip().splitlines()
        how = f"was ended by {signal.Signals(-code).name}" if code < 0 else f"ended with exit code {code}"
        return VerifyError(f"{self.name} {how}" + (f": {said[-1]}" if said else ""))
