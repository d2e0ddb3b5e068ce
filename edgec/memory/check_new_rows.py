"""New rows of a cache that are computed behind its older rows, away from its home: what proves them sound.

A slot as large as the cache gets the rows before the run's by a transfer of exactly those, and only so; then a call
writes rows from pos on, and the slot holds the cache. Until a transfer of exactly the new rows ends at the cache's
home, nobody may read more there than the rows before the run's. Each run stores all that it computed.
"""

from __future__ import annotations

from dataclasses import replace

from edgec.memory.contents import Contents
from edgec.memory.plan import Buffer, Extent, Plan, Program, Region, Transfer, before_run, rows_before_run


class NewRows:
    """The caches of a program whose new rows are on their way. Its methods answer what is wrong, or ""."""

    def __init__(self, plan: Plan, program: Program) -> None:
        self.context = plan.context
        self.homes = {b.name: b for b in plan.buffers if b.kind == "kv"}
        self.incomplete = {rows_before_run(name): name for name in self.homes}
        self.all_rows = Extent(program.rows, 0, program.rows) if program.rows > 1 else 1
        self.computed: dict[str, Region] = {}  # by cache, where its new rows are and not yet stored
        self.stored: set[str] = set()

    def opens(self, region: Region, contents: Contents) -> bool:
        """Whether an open region is a slot with the rows before the run's, in which a call may now write the run's."""
        home = self.homes.get(region.value)
        if home is None or region.at or region.size != home.size or home.size != self.context * region.row_bytes:
            return False
        older = Region(region.level, region.offset, region.size, rows_before_run(region.value))
        if region.value in self.computed or region.value in self.stored or contents.holds(older):
            return False
        self.computed[region.value] = region
        return True

    def move(self, t: Transfer) -> str | None:
        """What is wrong with a transfer of rows before the run's or of new rows to their home; None: it is neither."""
        name, older = t.source.value, t.rows == before_run(self.context)
        home = _whole(self.homes[name]) if name in self.homes else None
        from_home = t.source == home and t.source.size == self.context * t.row_bytes and not t.start
        if older or t.target.value in self.incomplete:
            there = replace(t.target, level=t.source.level, offset=t.source.offset, value=name)
            if from_home and older and there == home and t.target.value == rows_before_run(name):
                return ""
            return f"{t.target.value} is not filled with the rows of {name} before the run's"
        if t.start == "both_pos":
            computed = self.computed.get(name)
            if computed == replace(t.source, row_bytes=t.row_bytes) and t.target == home and t.rows == self.all_rows:
                return ""
            return f"what is stored at row pos of {t.target.value} is not all that was computed of it"
        return None

    def named(self, region: Region) -> str:
        """What a call reads or writes never goes by the name of incomplete rows."""
        return f"{region.value} is not for calls" if region.value in self.incomplete else ""

    def read(self, region: Region, by: Transfer | None) -> str:
        """Whether a call or a transfer may read at a place now."""
        older = by is not None and by.rows == before_run(self.context)
        if region.value in self.computed and not older and _touches(region, self.homes[region.value]):
            return f"{region.value} is read at its home before its new rows are there"
        return ""

    def end_phase(self, transfers: tuple[Transfer, ...]) -> None:
        """The phase's stores have ended."""
        for t in transfers:
            if t.start == "both_pos":
                self.computed.pop(t.target.value, None)
                self.stored.add(t.target.value)

    def left(self) -> str:
        """Whether a run ends with rows that were not stored."""
        return next((f"new rows of {name} never reach their home" for name in self.computed), "")


def _whole(home: Buffer) -> Region:
    return Region(home.level, home.offset, home.size, home.name)


def _touches(region: Region, home: Buffer) -> bool:
    inside = region.offset < home.offset + home.size and home.offset < region.offset + region.size
    return region.level == home.level and inside
