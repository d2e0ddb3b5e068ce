"""Arguments of a token's calls in tables in the compute memory, instead of code that writes them.

To write a dozen words onto the stack takes code, and code that runs once a token comes from slow memory: on Siracusa
60 to 140 cycles a call. So calls that can (edgec/memory/call_tables.py) have their arguments in a table, one for each
kernel, and the program's list of steps says which row a step's call gets. The tables lie in the compute memory behind
the plan's data (edgec/memory/planner.py), for all cores read them. Where there is no room, or the chip has no program
of its own, there is none.
"""

from __future__ import annotations

from dataclasses import dataclass, field

NEAR = ".near"  # the tables' section in the chip's program


@dataclass
class CallBlocks:
    """Initialisers of argument structs by kernel, each once, in order of first use."""

    tables: dict[str, dict[str, int]] = field(default_factory=dict)

    def row(self, name: str, initialiser: str) -> int:
        """The row of a kernel's table that holds these arguments."""
        rows = self.tables.setdefault(name, {})
        return rows.setdefault(initialiser, len(rows))
