"""How commands format times, bodies and tracebacks, and the examples at the end of their help.

Called by the commands. Pure except for `say`. Text of a handler or of Konvox may hold terminal control codes: they are
replaced.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

import click
from pydantic_core import from_json

from konvox.samples import wire_timestamp
from konvox_hooks.safe_text import safe_line, safe_lines
from konvox_hooks.terminal.output import PROGRAM
from worker.running.tracebacks import users_traceback

__all__ = [
    "example",
    "say",
    "shown_block",
    "shown_body",
    "shown_line",
    "shown_outcome",
    "shown_time",
    "users_traceback",
]

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def example(*lines: str) -> str:
    """The examples at the end of a command's help; each line is what follows the program's name."""
    return "\b\n" + "\n".join(
        ["Examples:" if len(lines) > 1 else "Example:", *(f"  {PROGRAM} {line}" for line in lines)]
    )


def say(text: str) -> None:
    """Write a text and a newline to stdout, as UTF-8 in every locale. The text has the lines that it is to have."""
    click.echo(safe_lines(text).encode())


def shown_time(unix_ms: int) -> str:
    """A time in the format of Konvox and of JSON Lines: ISO 8601 in UTC with milliseconds."""
    return wire_timestamp(_EPOCH + timedelta(milliseconds=unix_ms))


def shown_line(text: str) -> str:
    """A text on one line, with a space for each control character."""
    return safe_line(text)


def shown_block(text: str, *, indent: int = 0) -> str:
    """A text of several lines, each of them indented. Indent what comes from outside: it then begins no line."""
    return "\n".join(" " * indent + safe_line(line) for line in text.splitlines())


def shown_body(body: str) -> str:
    """A body as indented JSON, its keys in their original order."""
    return safe_lines(json.dumps(from_json(body), indent=2, ensure_ascii=False))


def shown_outcome(outcome: Mapping[str, Any]) -> dict[str, Any]:
    """A handler's outcome as `--json` has it: the time as a text."""
    rest = {name: value for name, value in outcome.items() if name != "at_ms"}
    return {**rest, "at": shown_time(outcome["at_ms"])}
