"""How the commands about past events show them: times, bodies, tracebacks, and an example at the end of each help.

Pure but for `say`. What a handler or Konvox wrote is shown so that it cannot speak to the terminal.
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
    """The end of a command's help: what one types, without the program's name."""
    return "\b\n" + "\n".join(
        ["Examples:" if len(lines) > 1 else "Example:", *(f"  {PROGRAM} {line}" for line in lines)]
    )


def say(text: str) -> None:
    """Write a text and a newline to stdout. It is UTF-8, whatever the locale."""
    click.echo(text.encode(errors="replace"))


def shown_time(unix_ms: int) -> str:
    """A time as Konvox and JSON Lines write it: ISO 8601 in UTC with milliseconds."""
    return wire_timestamp(_EPOCH + timedelta(milliseconds=unix_ms))


def shown_line(text: str) -> str:
    """A text on one line."""
    return "".join(character if character.isprintable() else " " for character in text)


def shown_block(text: str, *, indent: int = 0) -> str:
    """A text that keeps its lines, each of them indented."""
    return "\n".join(" " * indent + shown_line(line) for line in text.splitlines())


def shown_body(body: str) -> str:
    """A body as indented JSON, its keys in the order in which they came."""
    return shown_block(json.dumps(from_json(body), indent=2, ensure_ascii=False))


def shown_outcome(outcome: Mapping[str, Any]) -> dict[str, Any]:
    """A handler's outcome as `--json` has it: the time as a text."""
    rest = {name: value for name, value in outcome.items() if name != "at_ms"}
    return {**rest, "at": shown_time(outcome["at_ms"])}


def users_traceback(text: str) -> str:
    """A traceback without the frames of the worker, which lead to every handler. Empty where no others are left."""
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
