"""A gate for `ctx.once` that lives in memory: for tests, and for running handlers without a broker."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager


class InMemoryOnce:
    """Remembers keys as long as it lives. Make one for each event and handler, and keep it from attempt to attempt."""

    def __init__(self) -> None:
        self._taken: set[str] = set()

    @asynccontextmanager
    async def __call__(self, key: str, /) -> AsyncIterator[bool]:
        """True for whoever comes first with this key; released if the block raises, so that a retry runs it again."""
        if key in self._taken:
            yield False
            return
        self._taken.add(key)
        try:
            yield True
        except BaseException:
            self._taken.discard(key)
            raise
