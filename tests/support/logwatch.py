"""Watching the log: what was logged, and waiting for a line instead of for a time."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, MutableMapping
from contextlib import contextmanager
from typing import Any, NoReturn

import structlog


class LogWatch:
    """Everything that is logged in this process, in whatever thread. Made with `watching`, inside an event loop.

    Attributes:
        entries: the lines so far.
    """

    def __init__(self) -> None:
        self.entries: list[MutableMapping[str, Any]] = []
        self._loop = asyncio.get_running_loop()
        self._changed = asyncio.Event()

    def __call__(self, _logger: Any, method: str, entry: MutableMapping[str, Any]) -> NoReturn:
        """Take a line; called by structlog."""
        self.entries.append({**entry, "log_level": method})
        self._loop.call_soon_threadsafe(self._changed.set)
        raise structlog.DropEvent

    def of(self, event: str) -> list[MutableMapping[str, Any]]:
        """The lines of an event."""
        return [entry for entry in self.entries if entry["event"] == event]

    def names(self, *prefixes: str) -> list[str]:
        """The events whose names begin in one of these ways, in order."""
        return [entry["event"] for entry in self.entries if entry["event"].startswith(prefixes)]

    async def until(self, event: str, *, times: int = 1) -> MutableMapping[str, Any]:
        """Wait until an event has been logged so many times; returns its line."""
        while len(lines := self.of(event)) < times:
            self._changed.clear()
            await self._changed.wait()
        return lines[times - 1]


@contextmanager
def watching() -> Iterator[LogWatch]:
    """Watch the log; nothing of it is printed meanwhile."""
    # The list itself is changed, because loggers that were used before hold on to it.
    processors = structlog.get_config()["processors"]
    usual = list(processors)
    watch = LogWatch()
    processors[:] = [watch]
    try:
        yield watch
    finally:
        processors[:] = usual
