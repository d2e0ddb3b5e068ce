"""The memories of the board: one host buffer each, shared by all cores and by the devices.

Every access is checked against the bounds; what is outside all memories is described by the nearest one.
"""

from __future__ import annotations

import ctypes
import mmap
from collections.abc import Mapping
from dataclasses import dataclass

from edgec.errors import VerifyError

PAGE = 4096
PAINT = 0xA5  # what nobody has written yet
NEAR = 1 << 20  # an access this close to a memory is put down to it

KIB, MIB = 1 << 10, 1 << 20
L1, MRAM, TILE, L2 = "L1", "MRAM", "TILE", "L2"
BASES = {L1: 0x10000000, MRAM: 0x10400000, TILE: 0x10800000, L2: 0x1C000000}
SIZES = {L1: 256 * KIB, MRAM: 4 * MIB, TILE: 4 * MIB, L2: 2 * MIB}
L3_BASE = 0x80000000  # programs' addresses of the RAM off the chip, which no bus decodes (hyperbus.py)


@dataclass(frozen=True)
class Region:
    """Bytes [first, end) of one memory, by a name for messages."""

    name: str
    first: int
    end: int
    writable: bool  # by cores and devices
    data: mmap.mmap

    @property
    def pointer(self) -> int:
        """The host's address of the first byte."""
        return ctypes.addressof(ctypes.c_char.from_buffer(self.data))


class Memories:
    """The board's memories, filled with PAINT.

    sizes  bytes by name, each a multiple of 4096; default: SIZES. A memory of 0 bytes does not exist.
    """

    def __init__(self, sizes: Mapping[str, int] | None = None) -> None:
        self.regions: list[Region] = []
        for name, size in (SIZES | dict(sizes or {})).items():
            if name not in BASES:
                raise VerifyError(f"the board has no memory {name}: it has {', '.join(BASES)}")
            if size % PAGE:
                raise VerifyError(f"{name} of {size} B is not a multiple of {PAGE} B")
            if size:
                first = BASES[name]
                self.regions.append(Region(name, first, first + size, name != MRAM, mmap.mmap(-1, size)))
        for region in self.regions:
            ctypes.memset(region.pointer, PAINT, region.end - region.first)

    @staticmethod
    def base(name: str) -> int:
        """The address at which a memory starts."""
        return BASES[name]

    def region(self, address: int, size: int) -> Region | None:
        """The memory that holds all of [address, address + size)."""
        for region in self.regions:
            if region.first <= address and address + size <= region.end:
                return region
        return None

    def read(self, address: int, size: int) -> bytes:
        """Bytes of one memory; VerifyError outside. No bytes can be at any address."""
        if not size:
            return b""
        region = self._inside(address, size, "reads")
        return region.data[address - region.first : address - region.first + size]

    def write(self, address: int, data: bytes) -> None:
        """Change bytes of one writable memory; VerifyError outside."""
        if not data:
            return
        region = self._inside(address, len(data), "writes")
        if not region.writable:
            raise VerifyError(f"writes into read-only {region.name} (address {address:#010x}, {len(data)} B)")
        region.data[address - region.first : address - region.first + len(data)] = data

    def load(self, address: int, data: bytes) -> None:
        """Write as the loader of the chip: read-only memories too."""
        region = self._inside(address, len(data), "is loaded")
        region.data[address - region.first : address - region.first + len(data)] = data

    def place(self, address: int) -> str:
        """Where an address is, for messages: "after the end of L1"."""
        for region in self.regions:
            if region.first <= address < region.end:
                return f"into {region.name}" if region.writable else f"into read-only {region.name}"
        near = [(address - r.end, f"after the end of {r.name}") for r in self.regions if address >= r.end]
        near += [(r.first - 1 - address, f"before the start of {r.name}") for r in self.regions if address < r.first]
        distance, place = min(near)
        return place if distance < NEAR else "outside all memories"

    def _inside(self, address: int, size: int, verb: str) -> Region:
        region = self.region(address, size)
        if region is None:
            end = address + size - 1
            first_bad = address if self.region(address, 1) is None else end
            raise VerifyError(f"{verb} {self.place(first_bad)} (addresses {address:#010x} to {end:#010x})")
        return region
