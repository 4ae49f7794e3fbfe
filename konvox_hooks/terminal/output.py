"""What a command says: results on stdout, complaints on stderr.

Called by the commands. A table is made for eyes on a terminal, for `cut` and `awk` otherwise; `--json` is for programs.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable, Sequence
from typing import Any

import click

PROGRAM = "konvox-hooks"


def print_json(value: Any) -> None:
    """Write one JSON document and a newline to stdout. Text is UTF-8, whatever the locale."""
    import orjson  # noqa: PLC0415 - only listings need it, and `--help` must start fast

    click.echo(orjson.dumps(value))


def print_table(columns: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
    """Write a table to stdout: aligned on a terminal, tab-separated with a header line otherwise.

    None is an empty cell. Event names and ids come from outside: control characters are replaced, so that a cell can
    neither break a line nor speak to the terminal.
    """
    cells = ([_cell(value) for value in row] for row in rows)
    if sys.stdout.isatty():
        _print_rich_table(columns, cells)
        return
    for line in (list(columns), *cells):
        click.echo("\t".join(line).encode())


def complain(message: str) -> None:
    """Write a message to stderr, after the program's name. Further lines stay as they are: it may be code to paste."""
    click.echo(f"{PROGRAM}: {message}", err=True)


def _cell(value: object) -> str:
    text = "" if value is None else str(value)
    return "".join(character if character.isprintable() else " " for character in text)


def _print_rich_table(columns: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
    # rich costs a tenth of a second to import, and reads NO_COLOR and the terminal's width by itself.
    from rich.console import Console  # noqa: PLC0415
    from rich.table import Table  # noqa: PLC0415
    from rich.text import Text  # noqa: PLC0415

    table = Table(box=None, pad_edge=False, header_style="bold")
    for column in columns:
        table.add_column(column, overflow="fold")  # an id that is cut off cannot be copied
    for row in rows:
        table.add_row(*(Text(cell) for cell in row))
    Console().print(table)
