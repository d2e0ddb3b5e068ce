"""What a report in a terminal is made of: lines, headings, and tables without borders."""

from __future__ import annotations

from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text


def line(console: Console, text: Text | str) -> None:
    """One line as it is: no markup, no highlighting."""
    console.print(text, highlight=False, markup=False, soft_wrap=False)


def plain_table(*columns: str, left: int = 1) -> Table:
    """A borderless table whose first `left` columns are text, the others numbers."""
    table = Table(box=None, padding=(0, 2, 0, 0), pad_edge=False, header_style="dim")
    for number, name in enumerate(columns):
        justify: Any = "left" if number < left else "right"
        table.add_column(name, justify=justify, no_wrap=True, overflow="ellipsis")
    return table


def section(console: Console, title: str, body: Table | None = None) -> None:
    """A blank line, a heading, and a table below it."""
    console.print()
    line(console, Text(title, "bold"))
    if body is not None:
        show(console, body)


def show(console: Console, table: Table) -> None:
    """Print a table, its columns closer together if it would lose digits otherwise."""
    if console.measure(table).maximum > console.width:
        table.padding = (0, 1, 0, 0)
    console.print(table, highlight=False)
