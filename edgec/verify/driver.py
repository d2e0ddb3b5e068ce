"""A model under verification: the same commands and the same trace, whatever runs it.

The protocol is described in templates/verify_main.c: commands go out as little-endian words, records come back.
"""

from __future__ import annotations

import struct
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from types import TracebackType
from typing import Self

import numpy as np
from numpy.typing import NDArray

from edgec.errors import VerifyError

Trace = Callable[[int, bytes], None]

RESET, SAMPLING, PREFILL, DECODE, QUIT, LOGITS, ENCODE = range(1, 8)
RECORD = struct.Struct("<III")  # tag, id, bytes
TRACE_TAG = int.from_bytes(b"TRAC", "little")
REPLY_TAG = int.from_bytes(b"REPL", "little")


class Backend(ABC):
    """A running model. `trace(value_id, data)`, if set, is called for each tensor in the order of the steps.

    Every method raises VerifyError when the program traps, ends or does not answer; it is then closed.
    Backends are context managers that close themselves.
    """

    name = "backend"
    trace: Trace | None = None

    def reset(self) -> None:
        """Empty the cache; the next token is at position 0."""
        self._command(RESET)

    def sampling(self, temperature: float, top_k: int = 0, top_p: float = 1.0, seed: int = 0) -> None:
        """Choose tokens this way from now on; temperature 0 is greedy."""
        self._command(SAMPLING, struct.pack("<fIfQ", temperature, top_k, top_p, seed))

    def prefill(self, tokens: Sequence[int]) -> int:
        """Append tokens; the sampled next token, or a negative number if the context is full."""
        data = np.asarray(tokens, "<i4")
        return self._token(PREFILL, struct.pack("<I", data.size) + data.tobytes())

    def decode(self, token: int) -> int:
        """Append one token; the sampled next token, or a negative number if the context is full."""
        return self._token(DECODE, struct.pack("<i", token))

    def logits(self) -> NDArray[np.float32]:
        """The logits of the last step, one per vocabulary entry."""
        return np.frombuffer(self._command(LOGITS), "<f4").astype(np.float32)

    def encode(self, tokens: Sequence[int]) -> NDArray[np.float32]:
        """The vector of a text; none of a model that writes about it. VerifyError if the model refuses the text."""
        data = np.asarray(tokens, "<i4")
        answer = self._command(ENCODE, struct.pack("<I", data.size) + data.tobytes())
        if struct.unpack_from("<i", answer)[0]:
            raise VerifyError(f"{self.name} refused a text of {data.size} tokens")
        return np.frombuffer(answer[4:], "<f4").astype(np.float32)

    @abstractmethod
    def close(self) -> None:
        """End the program and free what it holds; harmless when called again."""

    @abstractmethod
    def _send(self, data: bytes) -> None:
        """Give bytes to the program's input."""

    @abstractmethod
    def _receive(self, count: int) -> bytes:
        """Exactly `count` bytes of its output, letting it run until they are there."""

    def _token(self, command: int, payload: bytes) -> int:
        return int(struct.unpack("<i", self._command(command, payload))[0])

    def _command(self, command: int, payload: bytes = b"") -> bytes:
        self._send(struct.pack("<I", command) + payload)
        while True:
            tag, number, size = RECORD.unpack(self._receive(RECORD.size))
            data = self._receive(size)
            if tag == TRACE_TAG:
                if self.trace:
                    self.trace(number, data)
            elif tag == REPLY_TAG and number == command:
                return data
            else:
                self.close()
                raise VerifyError(f"{self.name} answered command {command} with a record it must not send ({tag:#x})")

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, where: TracebackType | None
    ) -> None:
        self.close()
