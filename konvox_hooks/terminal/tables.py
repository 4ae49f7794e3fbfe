"""Tables on a terminal, for people who copy from them. Pure. Called by `terminal.output`.

An id, a name, a type or a command is never broken by a line end, because it could not be copied then. Where the columns
fit, they are aligned. Where they fit if long texts go over several lines, those do. Otherwise each row is a paragraph:
its first cell, and below it the others with their columns' names.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from itertools import zip_longest
from typing import Final
from unicodedata import combining, east_asian_width

GAP: Final = "  "
"""What is between two columns."""

_WORD: Final = re.compile(r"(?:`[^`]*`|\S)+")
"""What is never broken: a word, or a command in backquotes."""

_LONGEST_CELL_LINES: Final = 6
"""How many lines a cell may take in an aligned table, before a paragraph is easier to read."""


def terminal_lines(columns: Sequence[str], rows: Sequence[Sequence[str]], *, width: int) -> list[str]:
    """The lines of a table, for a terminal of this many columns. The first line has the columns' names.

    A line is longer than that only if a single word is.
    """
    table = [tuple(columns), *map(tuple, rows)]
    natural = [max(map(cells_wide, cells)) for cells in zip(*table, strict=True)]
    room = width - len(GAP) * (len(columns) - 1)
    if sum(natural) <= room:
        widths: list[int] | None = natural
    else:
        widths = _narrowed(table, natural, room)
    if widths is None:
        return [GAP.join(columns), *(line for row in rows for line in _paragraph(columns, row, width))]
    return [line for row in table for line in _aligned(row, widths)]


def cells_wide(text: str) -> int:
    """How many columns of a terminal a text takes: letters of East Asia take two, combining marks none."""
    if text.isascii():
        return len(text)
    return sum(0 if combining(letter) else 2 if east_asian_width(letter) in "WF" else 1 for letter in text)


def wrapped(text: str, width: int) -> list[str]:
    """A text in lines of at most this width, broken between words only."""
    lines: list[str] = []
    for word in _WORD.findall(text):
        if lines and cells_wide(lines[-1]) + 1 + cells_wide(word) <= width:
            lines[-1] += " " + word
        else:
            lines.append(word)
    return lines or [""]


def _narrowed(table: Sequence[Sequence[str]], natural: Sequence[int], room: int) -> list[int] | None:
    """Widths that fit because texts are wrapped; None if the words alone are too wide, or the texts would be towers."""
    least = [max(cells_wide(word) for cell in cells for word in wrapped(cell, 0)) for cells in zip(*table, strict=True)]
    if sum(least) > room:
        return None
    widths, spare = list(least), room - sum(least)
    for column in sorted(range(len(least)), key=lambda column: natural[column] - least[column]):
        more = min(spare, natural[column] - least[column])
        widths[column] += more
        spare -= more
    tallest = max(len(wrapped(cell, widths[column])) for row in table for column, cell in enumerate(row))
    return widths if tallest <= _LONGEST_CELL_LINES else None


def _aligned(row: Sequence[str], widths: Sequence[int]) -> Iterator[str]:
    cells = [
        [cell] if cells_wide(cell) <= width else wrapped(cell, width) for cell, width in zip(row, widths, strict=True)
    ]
    for parts in zip_longest(*cells, fillvalue=""):
        padded = (part + " " * (width - cells_wide(part)) for part, width in zip(parts, widths, strict=True))
        yield GAP.join(padded).rstrip()


def _paragraph(columns: Sequence[str], row: Sequence[str], width: int) -> Iterator[str]:
    first, *others = row
    yield first
    line = ""
    for column, cell in zip(columns[1:], others, strict=True):
        if not cell:
            continue
        part = f"{column.lower()}: {cell}"
        if line and cells_wide(line) + len(GAP) + cells_wide(part) <= width:
            line += GAP + part
            continue
        if line:
            yield line
        *before, line = _indented(part, width)
        yield from before
    if line:
        yield line


def _indented(part: str, width: int) -> list[str]:
    head, *rest = wrapped(part, width - 2 * len(GAP))
    return [GAP + head, *(GAP * 2 + line for line in rest)]
