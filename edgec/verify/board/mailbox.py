"""The mailbox through which a program under verification reads commands, writes replies and reports values.

    struct { volatile uint32_t operation, address, bytes, answer; } edgec_mailbox;

The program fills it and calls hal_siracusa_idle; when that returns, `operation` is 0.

    1  read up to `bytes` bytes of input to `address`; `answer` is how many came, 0 if none yet
    2  append the bytes at `address` to the output
    3  print them for a person
    4  report them as the tensor with id `answer`
"""

from __future__ import annotations

from collections.abc import Callable

from edgec.errors import VerifyError
from edgec.verify.board.memory import Memories
from edgec.verify.driver import Trace

NOTHING, READ, WRITE, PRINT, TRACE = range(5)
SYMBOL, IDLE_FUNCTION = "edgec_mailbox", "hal_siracusa_idle"


class Mailbox:
    """Serves the mailbox at an address of the program; `inspect` reads what it reports, wherever that is."""

    def __init__(self, address: int, memories: Memories, inspect: Callable[[int, int], bytes]) -> None:
        self._address, self._memories, self._inspect = address, memories, inspect
        self.input, self.output = bytearray(), bytearray()
        self.printed = bytearray()
        self.on_trace: Trace | None = None

    def serve(self) -> bool:
        """Do the operation; False if the program must wait, for input or for ever."""
        operation, address, size, answer = (self._word(i) for i in range(4))
        going_on = True
        if operation == READ:
            data = bytes(self.input[:size])
            self._memories.write(address, data)
            del self.input[: len(data)]
            self._set_word(3, len(data))
            going_on = bool(data)
        elif operation == WRITE:
            self.output += self._memories.read(address, size)
        elif operation == PRINT:
            self.printed += self._memories.read(address, size)
        elif operation == TRACE:
            data = self._inspect(address, size)
            if self.on_trace:
                self.on_trace(answer, data)
        elif operation == NOTHING:
            going_on = False
        else:
            raise VerifyError(f"asks the mailbox for operation {operation}, which it does not have")
        self._set_word(0, NOTHING)
        return going_on

    def _word(self, index: int) -> int:
        return int.from_bytes(self._memories.read(self._address + 4 * index, 4), "little")

    def _set_word(self, index: int, value: int) -> None:
        self._memories.write(self._address + 4 * index, value.to_bytes(4, "little"))
