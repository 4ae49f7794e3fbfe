"""Errors of handlers as text: bounded, whatever was raised, and starting in the user's code.

Called by the dispatcher, by the runner for the log, and by the commands that show tracebacks. An error is users' code
as well: its text may be of any size, and making it may fail.
"""

from __future__ import annotations

import os
import re
import traceback
from pathlib import Path
from typing import Final

import worker

LONGEST_ERROR_CHARACTERS: Final = 2_000
LONGEST_TRACEBACK_CHARACTERS: Final = 20_000

_OUR_FRAMES = tuple(f"{Path(folder)}{os.sep}" for folder in worker.__path__)
_FRAME = re.compile(r'([ |]*)File "(?P<path>[^"]+)", line \d+')


def text_of(value: object) -> str:
    """The text of a value of users' code, bounded, and as JSON can hold it."""
    try:
        return _storable(f"{value}"[:LONGEST_ERROR_CHARACTERS])
    except Exception:  # noqa: BLE001 - users' code
        return f"<{type(value).__name__} without a text>"


def error_line(error: BaseException) -> str:
    """An error on one line: its class and its text, bounded."""
    try:
        text = "".join(traceback.format_exception_only(error))
    except Exception:  # noqa: BLE001 - users' code
        text = f"{type(error).__name__}: <its text cannot be made>"
    return _storable(" ".join(text[: 4 * LONGEST_ERROR_CHARACTERS].split())[:LONGEST_ERROR_CHARACTERS])


def traceback_of(error: BaseException) -> str:
    """The whole traceback of an error, bounded: first in each line, then in all."""
    try:
        text = "".join(traceback.format_exception(error))
    except Exception:  # noqa: BLE001 - users' code
        text = f"{error_line(error)}\n"
    text = shortened(text, 50 * LONGEST_TRACEBACK_CHARACTERS)  # else the lines below could be millions
    lines = (shortened(line, LONGEST_ERROR_CHARACTERS) for line in text.split("\n"))
    return _storable(shortened("\n".join(lines), LONGEST_TRACEBACK_CHARACTERS))


def shortened(text: str, most_characters: int) -> str:
    """A text of at most so many characters, and some that say how many were left out of its middle."""
    if len(text) <= most_characters:
        return text
    half = most_characters // 2
    return f"{text[:half]} … {len(text) - 2 * half} characters left out … {text[-half:]}"


def users_traceback(text: str) -> str:
    """A traceback without the frames of the worker, which every traceback has. Empty if no other frame remains."""
    kept: list[str] = []
    dropped_indent: int | None = None
    for line in text.split("\n"):
        frame = _FRAME.match(line)
        if frame is not None:
            dropped_indent = len(frame[1]) if frame["path"].startswith(_OUR_FRAMES) else None
        elif dropped_indent is not None and len(line) - len(line.lstrip(" |")) <= dropped_indent:
            dropped_indent = None
        if dropped_indent is None:
            kept.append(line)
    return "\n".join(kept).removesuffix("\n") if any(map(_FRAME.match, kept)) else ""


def _storable(text: str) -> str:
    """The text without lone surrogates, which an error may quote and no JSON can hold."""
    return text.encode("utf-8", "backslashreplace").decode()
