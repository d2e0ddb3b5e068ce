"""What a tiling needs to know about its node: types, where values live, run-time row counts."""

from __future__ import annotations

from dataclasses import dataclass

from edgec.ir.graph import Graph, Node, TensorType
from edgec.memory.choices import ALL, Choices
from edgec.memory.plan import Extent, Number, Region, rows_at_run
from edgec.memory.streaming import Load, Operand, Store
from edgec.target import Target


@dataclass(frozen=True)
class StepContext:
    """A node within its graph, with the homes of all values and the target."""

    node: Node
    graph: Graph
    homes: dict[str, Region]
    target: Target
    context: int
    choices: Choices = ALL

    def type(self, role: str) -> TensorType:
        """Type of an input or output by role."""
        return self.graph.type_of(self.node.inputs.get(role) or self.node.outputs[role])

    def home(self, role: str) -> Region:
        """Where an input or output lives as a whole."""
        return self.homes[self.node.inputs.get(role) or self.node.outputs[role]]

    def has(self, role: str) -> bool:
        """Whether the node has this (optional) input."""
        return role in self.node.inputs

    def resident(self, role: str) -> bool:
        """Whether it lives in the compute memory."""
        return self.home(role).level == self.target.compute

    def rows_of(self, value: str) -> Number:
        """Run-time rows of an activation: m where its leading dimension is the run's rows, else a constant."""
        rows = self.graph.type_of(value).shape[0]
        if self.graph.rows > 1 and rows == self.graph.rows:
            return Extent(self.graph.rows, 0, self.graph.rows)
        return rows

    def rows(self, role: str) -> Number:
        """Run-time rows of an input or output."""
        return self.rows_of(self.node.inputs.get(role) or self.node.outputs[role])

    def attr(self, key: str) -> int:
        """An integer attribute."""
        return int(self.node.attrs[key])

    def fetch(self, role: str, first: int = 0, rows: int | None = None) -> Operand:
        """Rows [first, first + rows) of an input in the compute memory: in place, or a load. None if absent."""
        if not self.has(role):
            return None
        kind, home = self.type(role), self.home(role)
        count = kind.shape[0] - first if rows is None else rows
        part = home.part(first * kind.row_bytes, count * kind.row_bytes)
        return part if self.resident(role) else Load(part, kind.row_bytes, count)

    def fetch_columns(self, role: str, first: int, count: int) -> Operand:
        """Columns [first, first + count) of 4 bytes of every row of an input, rows apart as they are in the input."""
        kind = self.type(role)
        size = (kind.shape[0] - 1) * kind.row_bytes + count * 4
        part = self.home(role).part(first * 4, size)
        return part if self.resident(role) else Load(part, size, 1)

    def fetch_positions(self, role: str, rows: Number) -> Load:
        """The rows of a table at the run's positions."""
        table = self.home(role)
        return Load(table, self.type(role).row_bytes, rows, "source_pos", rows_at_run(table.value))

    def deliver(self, role: str) -> Operand:
        """An output as a whole: written in place, or stored from a slot. None if nobody wants it."""
        if role not in self.node.outputs:
            return None
        kind, home = self.type(role), self.home(role)
        return home if self.resident(role) else Store(home, kind.row_bytes, self.rows(role))


def times(number: Number, factor: int) -> Number:
    """A row count times a constant."""
    if isinstance(number, Extent):
        return Extent(number.bound, number.first, number.limit, number.times * factor, number.from_start)
    assert isinstance(number, int)
    return number * factor
