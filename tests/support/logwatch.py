"""Watch the log: what was logged, and wait for a line instead of a time."""

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
        """Record a line; called by structlog."""
        self.entries.append({**entry, "log_level": method})
        self._loop.call_soon_threadsafe(self._changed.set)
        raise structlog.DropEvent

    def of(self, event: str) -> list[MutableMapping[str, Any]]:
        """The lines with this event name."""
        return [entry for entry in self.entries if entry["event"] == event]

    def names(self, *prefixes: str) -> list[str]:
        """The event names that begin with one of these texts, in order."""
        return [entry["event"] for entry in self.entries if entry["event"].startswith(prefixes)]

    async def until(self, event: str, *, times: int = 1) -> MutableMapping[str, Any]:
        """Wait until an event has been logged this many times; returns its last line."""
        while len(lines := self.of(event)) < times:
            self._changed.clear()
            await self._changed.wait()
        return lines[times - 1]


@contextmanager
def watching() -> Iterator[LogWatch]:
    """Watch the log, and print nothing of it meanwhile."""
    # The list itself is changed, because loggers that were used before hold on to it.
    processors = structlog.get_config()["processors"]
    usual = list(processors)
    watch = LogWatch()
    processors[:] = [watch]
    try:
        yield watch
    finally:
        processors[:] = usual
