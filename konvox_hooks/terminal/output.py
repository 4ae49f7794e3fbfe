"""The output of commands: results on stdout, messages on stderr.

Called by the commands. On a terminal a table is aligned for people; otherwise it is tab-separated for `cut` and `awk`.
"""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Iterable, Sequence
from typing import Any, Final

import click

from konvox_hooks.safe_text import safe_json, safe_line, safe_lines
from konvox_hooks.terminal.tables import terminal_lines

PROGRAM = "konvox-hooks"


def print_json(value: Any) -> None:
    """Write one JSON document and a newline to stdout, as UTF-8 in every locale."""
    import orjson  # noqa: PLC0415 - only listings need it, and `--help` must start fast

    print_document(orjson.dumps(value).decode())


def print_document(document: str) -> None:
    """Write a JSON document and a newline to stdout, with escapes for what could control a terminal."""
    click.echo(safe_json(document).encode())


ACCOUNT_COLUMN: Final = "ACCOUNT"
"""The last column of a listing that may have several accounts. It is left out if no row names one."""


def print_table(columns: Sequence[str], rows: Iterable[Sequence[object]], *, has_accounts: bool = False) -> None:
    """Write a table to stdout: aligned on a terminal, tab-separated with a header line otherwise.

    None is an empty cell. With `has_accounts`, a piped table always has its `ACCOUNT_COLUMN`. Event names and ids come
    from outside, so control characters are replaced: a cell cannot break a line or control the terminal.
    """
    cells = [[_cell(value) for value in row] for row in rows]
    on_terminal = sys.stdout.isatty()
    # Several accounts make it a fixed column for programs, whichever rows are there.
    if columns[-1] == ACCOUNT_COLUMN and (on_terminal or not has_accounts) and not any(row[-1] for row in cells):
        columns, cells = columns[:-1], [row[:-1] for row in cells]
    if on_terminal:
        _print_terminal_table(columns, cells)
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


def _print_terminal_table(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    header, *lines = terminal_lines(columns, rows, width=shutil.get_terminal_size().columns)
    for line in (header if os.environ.get("NO_COLOR") else click.style(header, bold=True), *lines):
        click.echo(line)


def report_shown(shown: int, total: int | None, noun: str, *, more: str, all_seen: bool = True) -> None:
    """Say on stderr how many there are in all, as in "50 of 3,000 events", if not all of them are shown.

    Args:
        shown: how many are shown.
        total: how many there are; None if nobody knows.
        noun: what they are called, in the plural.
        more: how to see the others.
        all_seen: False if there are more than `total`, because counting was given up.
    """
    if total is not None and total > shown:
        complain(f"{shown:,} of {'' if all_seen else 'more than '}{total:,} {noun}; {more}")
