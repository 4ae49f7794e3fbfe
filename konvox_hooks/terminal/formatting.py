"""How commands format times, bodies and tracebacks, and the examples at the end of their help.

Called by the commands. Pure except for `say`. Text of a handler or of Konvox may hold terminal control codes: they are
replaced.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import click
from pydantic_core import from_json

import worker
from konvox.samples import wire_timestamp
from konvox_hooks.terminal.output import PROGRAM

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_OUR_FRAMES = tuple(f"{Path(folder)}{os.sep}" for folder in worker.__path__)
_FRAME = re.compile(r'([ |]*)File "(?P<path>[^"]+)", line \d+')


def example(*lines: str) -> str:
    """The examples at the end of a command's help; each line is what follows the program's name."""
    return "\b\n" + "\n".join(
        ["Examples:" if len(lines) > 1 else "Example:", *(f"  {PROGRAM} {line}" for line in lines)]
    )


def say(text: str) -> None:
    """Write a text and a newline to stdout, as UTF-8 in every locale."""
    click.echo(text.encode(errors="replace"))


def shown_time(unix_ms: int) -> str:
    """A time in the format of Konvox and of JSON Lines: ISO 8601 in UTC with milliseconds."""
    return wire_timestamp(_EPOCH + timedelta(milliseconds=unix_ms))


def shown_line(text: str) -> str:
    """A text on one line, with a space for each control character."""
    return "".join(character if character.isprintable() else " " for character in text)


def shown_block(text: str, *, indent: int = 0) -> str:
    """A text of several lines, each of them indented."""
    return "\n".join(" " * indent + shown_line(line) for line in text.splitlines())


def shown_body(body: str) -> str:
    """A body as indented JSON, its keys in their original order."""
    return shown_block(json.dumps(from_json(body), indent=2, ensure_ascii=False))


def shown_outcome(outcome: Mapping[str, Any]) -> dict[str, Any]:
    """A handler's outcome as `--json` has it: the time as a text."""
    rest = {name: value for name, value in outcome.items() if name != "at_ms"}
    return {**rest, "at": shown_time(outcome["at_ms"])}


def users_traceback(text: str) -> str:
    """A traceback without the frames of the worker, which every traceback has. Empty if no other frame remains."""
    kept: list[str] = []
    dropped_indent: int | None = None
    for line in text.splitlines():
        frame = _FRAME.match(line)
        if frame is not None:
            dropped_indent = len(frame[1]) if frame["path"].startswith(_OUR_FRAMES) else None
        elif dropped_indent is not None and len(line) - len(line.lstrip(" |")) <= dropped_indent:
            dropped_indent = None
        if dropped_indent is None:
            kept.append(line)
    return "\n".join(kept) if any(map(_FRAME.match, kept)) else ""
