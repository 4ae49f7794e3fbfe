"""The output of commands: results on stdout, messages on stderr.

Called by the commands. On a terminal a table is aligned for people; otherwise it is tab-separated for `cut` and `awk`.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable, Sequence
from typing import Any

import click

from konvox_hooks.safe_text import safe_json, safe_line, safe_lines

PROGRAM = "konvox-hooks"


def print_json(value: Any) -> None:
    """Write one JSON document and a newline to stdout, as UTF-8 in every locale."""
    import orjson  # noqa: PLC0415 - only listings need it, and `--help` must start fast

    print_document(orjson.dumps(value).decode())


def print_document(document: str) -> None:
    """Write a JSON document and a newline to stdout, with escapes for what could control a terminal."""
    click.echo(safe_json(document).encode())


def print_table(columns: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
    """Write a table to stdout: aligned on a terminal, tab-separated with a header line otherwise.

    None is an empty cell. Event names and ids come from outside, so control characters are replaced: a cell cannot
    break a line or control the terminal.
    """
    cells = ([_cell(value) for value in row] for row in rows)
    if sys.stdout.isatty():
        _print_rich_table(columns, cells)
        return
    for line in (map(_cell, columns), *cells):
        click.echo("\t".join(line).encode())


def complain(message: str) -> None:
    """Write a message to stderr, after the program's name. Further lines are not indented: they may be code to paste.

    So a text from outside must be on one line (`shown_line`), or it could begin a line of its own.
    """
    click.echo(safe_lines(f"{PROGRAM}: {message}").encode(), err=True)


def _cell(value: object) -> str:
    return "" if value is None else safe_line(str(value))


def _print_rich_table(columns: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
    # Importing rich takes a tenth of a second. It reads NO_COLOR and the terminal's width itself.
    from rich.console import Console  # noqa: PLC0415
    from rich.table import Table  # noqa: PLC0415
    from rich.text import Text  # noqa: PLC0415

    table = Table(box=None, pad_edge=False, header_style="bold")
    for column in columns:
        table.add_column(Text(_cell(column)), overflow="fold")  # a truncated id could not be copied
    for row in rows:
        table.add_row(*(Text(cell) for cell in row))
    Console().print(table)
