"""Which event's handler started when: a line each, in the file that MARKS names. Written by every contender alike.

The clock is CLOCK_MONOTONIC, which all processes of a machine share (Node's `process.hrtime` reads it too).
"""

from __future__ import annotations

import os
import time
from functools import cache
from pathlib import Path


def mark(contact_id: str) -> None:
    """Tell that the handler of this contact's event starts now."""
    now = time.monotonic_ns()
    os.write(_file(), f"{contact_id} {now}\n".encode())


def read_marks(path: Path) -> dict[str, list[int]]:
    """When the handlers of each contact's event started, in ns; complete lines only."""
    marks: dict[str, list[int]] = {}
    text = path.read_text() if path.exists() else ""
    for line in text[: text.rfind("\n") + 1].splitlines():
        contact_id, started_ns = line.split()
        marks.setdefault(contact_id, []).append(int(started_ns))
    return marks


@cache
def _file() -> int:
    return os.open(os.environ["MARKS"], os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
