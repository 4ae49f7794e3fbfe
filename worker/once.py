"""`ctx.once` on Redis: an effect happens once over all attempts, workers and replays of an event.

Bound to an event and a handler by `surroundings`, entered by users' handlers.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from broker import keys
from broker.connection import Server
from handlers import Retry

_RUNNING, _DONE = b"running", b"done"


class OnceGate:
    """The keys of one handler for one event.

    Args:
        server: Redis.
        event_id: the event; a replay shares the keys of the event's first delivery.
        handler: the handler's name.
        running_ms: how long a block that does not come back counts as running: the handler's time limit and the lease.
        done_ms: how long a finished block is remembered.
    """

    def __init__(self, server: Server, event_id: str, handler: str, *, running_ms: int, done_ms: int) -> None:
        self._server = server
        self._event_id = event_id
        self._handler = handler
        self._running_ms = running_ms
        self._done_ms = done_ms

    @asynccontextmanager
    async def __call__(self, key: str, /) -> AsyncIterator[bool]:
        """True for whoever comes first; released if the block raises, and by itself if its worker dies in it.

        Raises:
            Retry: another run is in the block at this moment; whether it will finish cannot be known yet.
        """
        name = keys.once_key(self._event_id, self._handler, key)
        state = await self._server.set(name, _RUNNING, nx=True, px=self._running_ms, get=True)
        if state == _DONE:
            yield False
            return
        if state == _RUNNING:
            raise Retry(after=await self._server.pttl(name) / 1000)
        try:
            yield True
        except BaseException:
            await self._server.delete(name)
            raise
        await self._server.set(name, _DONE, px=self._done_ms)
