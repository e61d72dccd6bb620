"""Tables and sentences that fit the terminal, and pipes without padding.

Owns: the console, and how a table gives way when it is too wide: text wraps between words, then columns that matter least
go, then each row becomes a paragraph. Its rule: a word, an address or a figure is never broken, and no line ends in
blanks. Where nobody's terminal says otherwise (pipes, files), lines are as long as they need to be; `COLUMNS` counts
there too. Not here: what is shown.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import IO, Any, Literal, cast

from rich.cells import cell_len
from rich.console import Console, ConsoleOptions, RenderResult
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from edgesplit_controller.cli.views.wrapping import ENDLESS, NARROWEST, terminal_width

__all__ = ["ELSEWHERE", "PlainTable", "console", "plain_table", "properties"]

GAP = 2
"""Blanks between two columns."""
ELSEWHERE = "a wider terminal or --json has it"

Justify = Literal["left", "right"]


def console(*, endless: bool = False) -> Console:
    """A console on the present standard output; with `endless` lines as long as they need to be."""
    width = ENDLESS if endless else None if sys.stdout.isatty() else terminal_width()
    return Console(file=cast("IO[str]", _WithoutTrailingBlanks(sys.stdout)), markup=False, highlight=False, width=width)


class _WithoutTrailingBlanks:
    """A text file whose lines end where their text does."""

    def __init__(self, file: IO[str]) -> None:
        self._file = file

    def write(self, text: str) -> int:
        """Write text; rich hands over whole lines."""
        lines = text.split("\n")
        return self._file.write("\n".join([*(line.rstrip(" ") for line in lines[:-1]), lines[-1]]))

    def __getattr__(self, name: str) -> Any:
        """All else is the file's."""
        return getattr(self._file, name)


@dataclass
class _Column:
    name: str
    justify: Justify
    wraps: bool
    cells: list[Text] = field(default_factory=list[Text])

    @property
    def natural(self) -> int:
        """Columns of the widest line."""
        return max([cell_len(self.name), *(cell_len(cell.plain) for cell in self.cells)])

    @property
    def least(self) -> int:
        """Columns of the longest word, or of what is kept readable."""
        if not self.wraps:
            return self.natural
        words = [cell_len(word) for cell in self.cells for word in cell.plain.split()]
        return min(self.natural, max([cell_len(self.name), NARROWEST, *words]))


class PlainTable:
    """A table without lines, which fits itself to the console.

    Args:
        title: Above it; empty for none.
        droppable: Names of columns that may go when the table is too wide, the first one first.
        elsewhere: Where those are to be had, for people.
    """

    def __init__(self, title: str = "", droppable: Sequence[str] = (), elsewhere: str = ELSEWHERE) -> None:
        self._title = title
        self._elsewhere = elsewhere
        self._droppable = tuple(droppable)
        self._columns: list[_Column] = []

    def add_column(self, name: str, *, justify: Justify = "left", wraps: bool = False) -> None:
        """Add a column behind the others; `wraps` between words where there is no room."""
        self._columns.append(_Column(name, justify, wraps))

    def add_row(self, *cells: str | Text) -> None:
        """Add a row, a cell a column."""
        for column, cell in zip(self._columns, cells, strict=True):
            column.cells.append(cell if isinstance(cell, Text) else Text(cell))

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        """Render the table, or paragraphs where even its most important columns have no room."""
        room = options.max_width
        columns, dropped = list(self._columns), []
        for name in self._droppable:
            if _width(columns) <= room:
                break
            dropped += [column for column in columns if column.name == name]
            columns = [column for column in columns if column.name != name]
        if _width(columns) > room:
            yield from self._paragraphs()
            return
        yield self._table(columns, room)
        if dropped:
            names = ", ".join(column.name for column in dropped)
            yield Text(f"(left out for want of room: {names}; {self._elsewhere})", style="dim")

    def _table(self, columns: Sequence[_Column], room: int) -> Table:
        table = Table(title=self._title or None, title_justify="left", box=None, pad_edge=False, padding=(0, GAP, 0, 0))
        spare = room - _width(columns)
        for column in columns:
            width = min(column.natural, column.least + spare)
            spare -= width - column.least
            table.add_column(column.name, justify=column.justify, width=width, overflow="fold")
        for row in zip(*(column.cells for column in columns), strict=True):
            table.add_row(*row)
        return table

    def _paragraphs(self) -> RenderResult:
        if self._title:
            yield Text(self._title, style="italic")
        for row in zip(*(column.cells for column in self._columns), strict=True):
            head, *rest = zip(self._columns, row, strict=True)
            yield Text.assemble(head[0].name and f"{head[0].name} ", head[1])
            for column, cell in rest:
                if cell.plain:
                    yield Padding(Text.assemble(column.name and f"{column.name}: ", cell), (0, 0, 0, GAP))


def _width(columns: Sequence[_Column]) -> int:
    """Columns that a table takes at least."""
    return sum(column.least for column in columns) + GAP * max(len(columns) - 1, 0)


def plain_table(
    title: str,
    left: Sequence[str],
    right: Sequence[str] = (),
    droppable: Sequence[str] = (),
    *,
    elsewhere: str = ELSEWHERE,
) -> PlainTable:
    """A table without lines.

    Args:
        title: Above it; empty for none.
        left: Columns aligned left, the first ones.
        right: Columns aligned right, after them.
        droppable: Names of columns that may go when it is too wide, the first one first.
        elsewhere: Where those are to be had, for people.
    """
    table = PlainTable(title, droppable, elsewhere)
    for name in left:
        table.add_column(name)
    for name in right:
        table.add_column(name, justify="right")
    return table


def properties(rows: Sequence[tuple[str, str]]) -> Table:
    """Names and values below each other."""
    table = Table(box=None, show_header=False, pad_edge=False, padding=(0, GAP, 0, 0))
    table.add_column(style="bold", no_wrap=True)
    table.add_column(overflow="fold")
    for name, value in rows:
        table.add_row(name, value)
    return table
