"""`ctx.once` in memory, for tests and for `konvox-hooks replay --to local`, which runs handlers without a broker."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager


class InMemoryOnce:
    """Remembers keys as long as it lives. Make one for each event and handler, and keep it for all attempts."""

    def __init__(self) -> None:
        self._taken: set[str] = set()

    @asynccontextmanager
    async def __call__(self, key: str, /) -> AsyncIterator[bool]:
        """Yield True for the first block with this key. A block that raises releases the key for its retry."""
        if key in self._taken:
            yield False
            return
        self._taken.add(key)
        try:
            yield True
        except BaseException:
            self._taken.discard(key)
            raise
