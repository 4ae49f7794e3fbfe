"""`ctx.once` on Redis: an effect happens once over all attempts, workers and replays of an event.

Bound to an event and a handler by the console, entered by users' handlers. A key that is being worked on is kept like
the lease of a job, and never longer: whoever runs the event after its worker died finds the key free again.
"""

from __future__ import annotations

import secrets
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from broker import keys
from broker.redis.commands import BlockingServer, Server
from broker.redis.scripts import Script
from handlers import Retry

_RUNNING, _DONE = "running", "done"
_LEAVE: Script[int] = Script("once_leave", makes_room=True)


class OnceBlocks:
    """The blocks that are being run in this process, whose keys the thread that renews leases keeps as well.

    Args:
        lease_ms: for how long a key is kept without renewal.
    """

    def __init__(self, lease_ms: int) -> None:
        self._lease_ms = lease_ms
        self._running: dict[str, str] = {}
        self._renewed_at = time.monotonic()

    async def enter(self, server: Server, name: str) -> str | None:
        """Take a key. Returns what to leave with, or None if the effect has happened.

        Raises:
            Retry: another run is in the block at this moment; whether it will finish cannot be known yet.
        """
        mine = f"{_RUNNING}:{secrets.token_hex(8)}"
        # The leases of our jobs were renewed when these keys were, or begun later: no key must outlive its job's lease.
        left_ms = self._lease_ms - round((time.monotonic() - self._renewed_at) * 1000)
        found = await server.set(name, mine, nx=True, px=max(left_ms, self._lease_ms // 2), get=True)
        if found is None:
            self._running[mine] = name
            return mine
        if found == _DONE.encode():
            return None
        raise Retry(after=max(await server.pttl(name), 0) / 1000)

    async def leave(self, server: Server, mine: str, *, done_ms: int | None) -> None:
        """Remember that the effect has happened, or release the key.

        Args:
            server: Redis.
            mine: what `enter` gave.
            done_ms: for how long to remember it; None if the block did not come to its end.
        """
        name = self._running.pop(mine)
        if done_ms is None:
            await _LEAVE.run(server, [name], [mine])
        else:
            await server.set(name, _DONE, px=done_ms)

    def renew(self, server: BlockingServer) -> None:
        """Keep the keys, from a thread of its own; to be called right before the leases of the jobs are renewed."""
        renewed_at = time.monotonic()
        names = list(self._running.values())
        if names:
            pipeline = server.pipeline(transaction=False)
            for name in names:
                pipeline.pexpire(name, self._lease_ms, gt=True)  # one that is done by now is remembered for longer
            pipeline.execute()
        self._renewed_at = renewed_at

    async def release(self, server: Server) -> None:
        """Release the keys of the blocks that are left behind, because this process ends within them."""
        if running := dict(self._running):
            await _LEAVE.run(server, list(running.values()), list(running))

    def release_blocking(self, server: BlockingServer) -> None:
        """The same, from a thread of its own."""
        if running := dict(self._running):
            _LEAVE.run_blocking(server, list(running.values()), list(running))


class OnceGate:
    """The keys of one handler for one event.

    Args:
        server: Redis.
        blocks: all blocks of this process.
        event_id: the event; a replay shares the keys of the event's first delivery.
        handler: the handler's name.
        done_ms: how long a finished block is remembered.
    """

    def __init__(self, server: Server, blocks: OnceBlocks, event_id: str, handler: str, *, done_ms: int) -> None:
        self._server = server
        self._blocks = blocks
        self._event_id = event_id
        self._handler = handler
        self._done_ms = done_ms

    @asynccontextmanager
    async def __call__(self, key: str, /) -> AsyncIterator[bool]:
        """True for whoever comes first; released if the block raises, and by itself if its worker dies in it.

        Raises:
            Retry: another run is in the block at this moment; whether it will finish cannot be known yet.
        """
        name = keys.once_key(self._event_id, self._handler, key)
        mine = await self._blocks.enter(self._server, name)
        if mine is None:
            yield False
            return
        try:
            yield True
        except BaseException:
            await self._blocks.leave(self._server, mine, done_ms=None)
            raise
        await self._blocks.leave(self._server, mine, done_ms=self._done_ms)
