"""The Siracusa cluster in an emulator: a controller, up to eight cores, memories, event unit, DMA, N-EUREKA, HyperBus.

Cores take turns: each one runs until it waits for an event, sleeps or calls the idle function, or for a few blocks of
instructions. The order is a parameter, and so are short turns, and whether DMA, HyperBus and N-EUREKA work at once or
as late as they can, because a correct program gives the same bits with all of them. Nothing but the chip's memories
and registers is mapped. Time is not modelled.
"""

from __future__ import annotations

import ctypes
import mmap
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from random import Random

from edgec.errors import VerifyError
from edgec.verify.board import cluster_control, event_unit, hyperbus, mailbox, mchan, neureka, soc, timer
from edgec.verify.board.bus import CONTROLLER, Bus, Window
from edgec.verify.board.core import Core
from edgec.verify.board.memory import L3_BASE, PAGE, PAINT, SIZES, Memories
from edgec.verify.board.program import Program
from edgec.verify.board.translate import translate
from edgec.verify.board.turns import Turns
from edgec.verify.driver import Trace

MAXIMUM_CORES = 8
STEP_FUNCTION = "hal_step"
MOST_BLOCKS = 24  # of a short turn


class Board:
    """One program, from its first instruction on.

    cores      cluster cores, 1 to 8
    sizes      bytes of memories by name; default: the chip's
    order      the order in which cluster cores take turns
    late_dma, late_neureka   work when somebody asks for the result, not at once; HyperBus as the DMA
    flash      what HyperFlash holds; HyperRAM has the bytes that the program's symbols l3_start and l3_end name
    count      count instructions exactly; makes the board several times slower
    shuffle    a seed: turns last one to MOST_BLOCKS blocks by chance, so that cores meet who write where others read or
               write; as slow
    execute    what N-EUREKA computes; default: edgec's model
    on_trace   called for each traced tensor with its id and bytes
    on_step    called with a0 whenever core 0 enters hal_step
    """

    def __init__(
        self,
        elf: Path,
        cores: int = MAXIMUM_CORES,
        *,
        sizes: Mapping[str, int] | None = None,
        order: Sequence[int] | None = None,
        late_dma: bool = False,
        late_neureka: bool = False,
        count: bool = False,
        shuffle: int | None = None,
        execute: neureka.Execute | None = None,
        flash: bytes = b"",
    ) -> None:
        if not 1 <= cores <= MAXIMUM_CORES:
            raise VerifyError(f"the board has 1 to {MAXIMUM_CORES} cluster cores, not {cores}")
        self._order = list(order) if order is not None else list(range(cores))
        if sorted(self._order) != list(range(cores)):
            raise VerifyError(f"the order of {cores} cores must name each of them once, not {self._order}")
        self.on_step: Callable[[int], None] | None = None
        self._counts = count
        self._chance = None if shuffle is None else Random(shuffle)
        self._program = Program(elf)
        self.symbols = self._program.symbols
        self._memories = Memories(self._sizes(sizes))
        off_chip = self.symbols.get("l3_end", 0) - self.symbols.get("l3_start", 0)
        self._hyperbus = hyperbus.HyperBus(self._memories, late_dma, off_chip, flash)
        self._mailbox = mailbox.Mailbox(self.symbols.get(mailbox.SYMBOL, 0), self._memories, self.read)
        self._stdout = soc.StandardOutput(self._mailbox.printed)
        self._events = event_unit.EventUnit(cores)
        self._dma = mchan.Mchan(cores, self._memories, self._events, late_dma)
        self._neureka = neureka.NeurekaDevice(self._memories, self._events, late_neureka, execute)
        self._load()
        self._cores = self._make_cores(cores, self._bus(cores))
        self._cores[CONTROLLER].start(self._program.entry)
        turns = [CONTROLLER, *self._order]
        self._turns = Turns(self._cores, turns, self._events, self._mailbox, self._finish_late_work)
        self.step_counts: list[tuple[int, list[int]]] = []  # (a0 of hal_step, instructions of each core so far)
        if STEP_FUNCTION in self.symbols:
            self._cores[0].at_function(self.symbols[STEP_FUNCTION], self._on_step)

    # ---- The same interface as rv32_machine.Machine ----

    @property
    def exit_code(self) -> int | None:
        """What the program has left with, or None."""
        return self._turns.exit_code

    @property
    def input(self) -> bytearray:
        """Bytes that the program has not read yet; append to it."""
        return self._mailbox.input

    @input.setter
    def input(self, data: bytearray) -> None:
        self._mailbox.input = data

    @property
    def output(self) -> bytearray:
        """Bytes that the program has written; remove what was read."""
        return self._mailbox.output

    @property
    def printed(self) -> str:
        """What the program has printed for a person, through the mailbox and on its standard output."""
        return self._mailbox.printed.decode(errors="replace")

    @property
    def on_trace(self) -> Trace | None:
        """Called for each traced tensor."""
        return self._mailbox.on_trace

    @on_trace.setter
    def on_trace(self, call: Trace | None) -> None:
        self._mailbox.on_trace = call

    def run(self, seconds: float) -> None:
        """Run until the program waits for input or ends; VerifyError if it fails or takes longer."""
        try:
            try:
                self._turns.run(seconds)
            finally:
                self._check_core_local()
        except VerifyError as error:
            raise VerifyError(f"the Siracusa program: {error}") from None

    # ---- Results ----

    @property
    def instructions(self) -> list[int]:
        """Instructions that each cluster core has executed; needs count=True. A translated one counts as one."""
        return [self._cores[number].instructions for number in range(len(self._order))]

    @property
    def dma_bytes(self) -> int:
        """Bytes that the DMA has moved."""
        return self._dma.bytes

    @property
    def hyperbus_bytes(self) -> int:
        """Bytes that have moved between L2 and what is off the chip."""
        return self._hyperbus.bytes

    def read(self, address: int, size: int) -> bytes:
        """Bytes of the board's memories, HyperRAM's included."""
        if address >= L3_BASE:
            return self._hyperbus.ram(address - L3_BASE, size)
        return self._memories.read(address, size)

    def write(self, address: int, data: bytes) -> None:
        """Change bytes of the board's memories, read-only ones too."""
        self._memories.load(address, data)

    def stack_high_water(self) -> list[int | None]:
        """For each cluster core the most stack bytes in use so far; None without symbols stack_start_N, stack_end_N."""
        return [self._stack(number) for number in range(len(self._order))]

    # ---- Setting up ----

    def _sizes(self, sizes: Mapping[str, int] | None) -> dict[str, int]:
        found = SIZES | dict(sizes or {})
        for name in SIZES:
            # Translated code needs room in a jump's reach: the memory of the code ends where the program does.
            first, size = Memories.base(name), found[name]
            if first <= self._program.entry < first + size and name not in (sizes or {}):
                ends = [s.address + s.size for s in self._program.segments if first <= s.address < first + size]
                found[name] = min(size, -(-(max(ends) - first) // PAGE) * PAGE)
        return found

    def _load(self) -> None:
        for segment in self._program.segments:
            if self._memories.region(segment.address, segment.size) is None:
                end = segment.address + segment.size
                place = self._memories.place(end - 1 if self._memories.region(segment.address, 1) else segment.address)
                raise VerifyError(f"a segment from {segment.address:#010x} to {end:#010x} would be loaded {place}")
            self._memories.load(segment.address, segment.data)
        stops = {self.symbols[name] for name in (mailbox.IDLE_FUNCTION, STEP_FUNCTION) if name in self.symbols}
        self._translation = translate(self._program, self._memories, stops)
        for address, word in self._translation.patches.items():
            self._memories.load(address, word.to_bytes(4, "little"))
        self._code = mmap.mmap(-1, -(-len(self._translation.code) // PAGE) * PAGE)
        self._code[: len(self._translation.code)] = self._translation.code

    def _bus(self, cores: int) -> Bus:
        control = cluster_control.ClusterControl(cores, lambda number, boot: self._cores[number].start(boot))
        count = timer.Timer(lambda core: self._cores[core].instructions if self._counts else None)
        return Bus(
            [
                Window(cluster_control.BASE, cluster_control.END, control),
                Window(timer.BASE, timer.END, count),
                Window(neureka.BASE, neureka.END, self._neureka),
                Window(soc.CACHE_BASE, soc.CACHE_END, soc.CacheControl()),
                Window(event_unit.BASE, event_unit.END, self._events),
                Window(mchan.BASE, mchan.END, self._dma),
                Window(hyperbus.CLOCKS_BASE, hyperbus.CLOCKS_END, self._hyperbus.clocks),
                Window(hyperbus.BASE, hyperbus.END, self._hyperbus),
                Window(soc.CONTROL_BASE, soc.CONTROL_END, soc.SocControl(lambda code: self._turns.leave(code))),
                Window(soc.STDOUT_BASE, soc.STDOUT_END, self._stdout),
            ]
        )

    def _make_cores(self, cores: int, bus: Bus) -> dict[int, Core]:
        code = ctypes.addressof(ctypes.c_char.from_buffer(self._code))
        idle = self.symbols.get(mailbox.IDLE_FUNCTION)
        return {
            number: Core(
                number,
                self._program,
                self._memories,
                bus,
                self._translation,
                code,
                idle if number == 0 and mailbox.SYMBOL in self.symbols else None,
                self._counts,
                self._blocks if self._chance and number != CONTROLLER else None,
            )
            for number in [*range(cores), CONTROLLER]
        }

    # ---- What cores call, and checks ----

    def _blocks(self) -> int:
        """Of the next turn."""
        assert self._chance is not None
        return self._chance.randint(1, MOST_BLOCKS)

    def _finish_late_work(self) -> bool:
        """Do one job or transfer that was put off; N-EUREKA first, which may not have waited for the DMA."""
        return self._neureka.finish_oldest() or self._hyperbus.finish_oldest() or self._dma.finish_oldest()

    def _on_step(self, step: int) -> None:
        if self._counts:
            self.step_counts.append((step, self.instructions))
        if self.on_step is not None:
            self.on_step(step)

    def _check_core_local(self) -> None:
        for core in self._cores.values():
            address = core.local.unexpected_write()
            if address is not None:
                raise VerifyError(f"{core.name} wrote near the null pointer, at {address:#010x}")

    def _stack(self, number: int) -> int | None:
        start, end = (self.symbols.get(f"stack_{which}_{number}") for which in ("start", "end"))
        if start is None or end is None:
            return None
        return len(self._memories.read(start, end - start).lstrip(bytes([PAINT])))
