"""What a chip is made of: memories, the links between them, engines, accelerators, and the needs of its program."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property


@dataclass(frozen=True)
class Memory:
    """One memory level. Sizes in bytes; `base` is its address on the chip, None where the linker chooses.

    bytes_per_cycle: what all its banks together serve, to cores and DMA; 0 where no source gives it.
    """

    name: str
    capacity_bytes: int
    on_chip: bool
    base: int | None = None
    read_only: bool = False
    bytes_per_cycle: float = 0.0

    @property
    def banks(self) -> str:
        """The name of its banks as a resource."""
        return f"{self.name} banks"


@dataclass(frozen=True)
class Link:
    """A DMA path: a transfer of n bytes takes setup_cycles + n / bytes_per_cycle and is at most max_bytes.

    Links of one `channel` take turns: it is the engine behind them; without a name a link has its own.
    """

    source: str
    destination: str
    bytes_per_cycle: float
    setup_cycles: int
    max_bytes: int
    channel: str = ""

    @cached_property
    def name(self) -> str:
        """`MRAM>L1`."""
        return f"{self.source}>{self.destination}"

    @property
    def lane(self) -> str:
        """What it shares with other links, or its own name."""
        return self.channel or self.name

    def cycles(self, nbytes: int) -> float:
        """Cycles of one transfer."""
        return self.setup_cycles + nbytes / self.bytes_per_cycle


@dataclass(frozen=True)
class KernelCost:
    """What the cores take for a call of some kernels, where that was measured; in place of the engine's own figures.

    kernels: names. A call takes call_cycles, each core's pieces of work unit_cycles each, and for what `work` counts
    (`edgec/ops/op.py`) mac_cycles and flop_cycles of one core. any_rows_cycles: what a call takes more that is made for
    any number of rows, as those of a prompt are: a token's have code of their own, which knows the shape.
    """

    kernels: tuple[str, ...]
    call_cycles: float
    unit_cycles: float
    mac_cycles: float
    flop_cycles: float
    any_rows_cycles: float = 0.0


@dataclass(frozen=True)
class Engine:
    """Cores that run the kernels: cycles per multiply-accumulate and per float operation of one core.

    memory_bytes_per_cycle: what its cores together may read or write in the compute memory; 0 where no source gives it.
    fork_cycles: to start and join a kernel call; transfer_cycles: of the first core to program one transfer.
    isa: the instructions beyond RV32 for which kernels have files of their own, "" or "xpulpv2".
    measured: kernels that have figures of their own.
    """

    name: str
    kind: str
    cores: int
    cycles_per_mac: float
    cycles_per_flop: float
    fork_cycles: int
    transfer_cycles: int
    memory_bytes_per_cycle: float = 0.0
    isa: str = ""
    measured: tuple[KernelCost, ...] = ()

    def cost_of(self, kernel: str) -> KernelCost | None:
        """The measured figures of a kernel, if it has some."""
        return self._costs.get(kernel)

    @cached_property
    def _costs(self) -> dict[str, KernelCost]:
        return {name: cost for cost in self.measured for name in cost.kernels}


@dataclass(frozen=True)
class Accelerator:
    """An engine beside the cores that core 0 gives jobs to; kind "neureka" is the only one (`edgec/neureka/`).

    weights: the memories that it streams weights from. read_ahead_bytes: what it reads behind an operand's end.
    start_cycles: from a kernel call to its first job. restart_cycles: of core 0 for each further job.
    wait_cycles: from the end of a job until core 0 goes on.
    """

    name: str
    kind: str
    weights: tuple[str, ...]
    read_ahead_bytes: int
    start_cycles: int
    restart_cycles: int
    wait_cycles: int


@dataclass(frozen=True)
class Placement:
    """Levels by preference for each kind of data; program_bytes of level `program` are kept for code and staging."""

    weights: tuple[str, ...]
    kv: tuple[str, ...]
    large: tuple[str, ...]
    program: str
    program_bytes: int


@dataclass(frozen=True)
class Runtime:
    """What the emitted program itself needs.

    stack_bytes: of the core that runs main. float_abi: how the cores take floats, "f" (registers of their own),
    "zfinx" (the integer registers) or "soft". hal: the folder in templates/ with the chip's own HAL, "" where there is
    only that of a bare RV32 core; the rest is for such a chip. stack_level: the memory in which the stacks of all cores
    and then the HAL's variables (state_bytes) lie; worker_stack_bytes: of each other core. code_level: where the code
    lies, behind the plan's data ("": with the program's data), and code_bytes: what is kept free for it.
    """

    stack_bytes: int
    hal: str = ""
    float_abi: str = "f"
    stack_level: str = ""
    worker_stack_bytes: int = 0
    state_bytes: int = 0
    code_level: str = ""
    code_bytes: int = 0
