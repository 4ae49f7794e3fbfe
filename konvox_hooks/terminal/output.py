"""The output of commands: results on stdout, messages on stderr.

Called by the commands. On a terminal a table is aligned for people; otherwise it is tab-separated for `cut` and `awk`.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable, Sequence
from typing import Any

import click

PROGRAM = "konvox-hooks"


def print_json(value: Any) -> None:
    """Write one JSON document and a newline to stdout, as UTF-8 in every locale."""
    import orjson  # noqa: PLC0415 - only listings need it, and `--help` must start fast

    click.echo(orjson.dumps(value))


def print_table(columns: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
    """Write a table to stdout: aligned on a terminal, tab-separated with a header line otherwise.

    None is an empty cell. Event names and ids come from outside, so control characters are replaced: a cell cannot
    break a line or control the terminal.
    """
    cells = ([_cell(value) for value in row] for row in rows)
    if sys.stdout.isatty():
        _print_rich_table(columns, cells)
        return
    for line in (list(columns), *cells):
        click.echo("\t".join(line).encode())


def complain(message: str) -> None:
    """Write a message to stderr, after the program's name. Further lines stay unchanged: they may be code to paste."""
    click.echo(f"{PROGRAM}: {message}", err=True)


def _cell(value: object) -> str:
    text = "" if value is None else str(value)
    return "".join(character if character.isprintable() else " " for character in text)


def _print_rich_table(columns: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
    # Importing rich takes a tenth of a second. It reads NO_COLOR and the terminal's width itself.
    from rich.console import Console  # noqa: PLC0415
    from rich.table import Table  # noqa: PLC0415
    from rich.text import Text  # noqa: PLC0415

    table = Table(box=None, pad_edge=False, header_style="bold")
    for column in columns:
        table.add_column(column, overflow="fold")  # a truncated id could not be copied
    for row in rows:
        table.add_row(*(Text(cell) for cell in row))
    Console().print(table)
