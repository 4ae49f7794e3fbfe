"""`ctx.once` on Redis: an effect happens once over all attempts, workers and replays of an event.

The console makes a gate for each event and handler; users' handlers enter it. While a block runs, its key is kept like
the lease of a job, and no longer: if the worker dies in it, the key is free when the event runs again. When the block
is done, that is remembered for `WorkerConfig.once_ttl_seconds`.
"""

from __future__ import annotations

import secrets
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

from broker.redis.commands import BlockingServer, Server
from broker.redis.scripts import Script
from handlers import Retry

_RUNNING, _DONE = "running", "done"
_LEAVE: Script[int] = Script("once_leave", makes_room=True)


class OnceBlocks:
    """The blocks that run in this process. The thread that renews leases keeps their keys as well.

    Args:
        lease_ms: for how long a key is kept without renewal.
    """

    def __init__(self, lease_ms: int) -> None:
        self._lease_ms = lease_ms
        self._running: dict[str, str] = {}
        self._renewed_at = time.monotonic()

    async def enter(self, server: Server, name: str, former_names: Sequence[str] = ()) -> str | None:
        """Take a key. Returns what to leave with, or None if the effect has happened.

        Args:
            server: Redis.
            name: the key.
            former_names: the same key under the names that the handler had before: what was done then is done.

        Raises:
            Retry: another run is in the block at this moment, and may still fail.
        """
        mine = f"{_RUNNING}:{secrets.token_hex(8)}"
        # No key may outlive its job's lease, and that was renewed together with the other keys, or begun later.
        left_ms = self._lease_ms - round((time.monotonic() - self._renewed_at) * 1000)
        found = await server.set(name, mine, nx=True, px=max(left_ms, self._lease_ms // 2), get=True)
        if found is None:
            self._running[mine] = name
            if not former_names:
                return mine
            # Only now that the key is ours: what it was before the handler was renamed may still run.
            try:
                name, found = await self._find(server, former_names)
            except BaseException:
                del self._running[mine]  # its key lapses
                raise
            if found is None:
                return mine
            await self.leave(server, mine, ttl_ms=None)
        if found == _DONE.encode():
            return None
        raise Retry(after=max(await server.pttl(name), 0) / 1000)

    async def _find(self, server: Server, names: Sequence[str]) -> tuple[str, bytes | None]:
        """The first of these keys that exists, and its value."""
        for name in names:
            found = await server.get(name)
            if found is not None:
                return name, found
        return names[0], None

    async def leave(self, server: Server, mine: str, *, ttl_ms: int | None) -> None:
        """Remember that the effect has happened, or release the key.

        Args:
            server: Redis.
            mine: what `enter` gave.
            ttl_ms: for how long to remember it; None if the block did not come to its end.
        """
        name = self._running.pop(mine)
        if ttl_ms is None:
            await _LEAVE.run(server, [name], [mine])
        else:
            await server.set(name, _DONE, px=ttl_ms)

    def renew(self, server: BlockingServer) -> None:
        """Keep the keys, from a thread. Call it right before the leases of the jobs are renewed."""
        renewed_at = time.monotonic()
        names = list(self._running.values())
        if names:
            pipeline = server.pipeline(transaction=False)
            for name in names:
                pipeline.pexpire(name, self._lease_ms, gt=True)  # unless it is done by now, and kept longer
            pipeline.execute()
        self._renewed_at = renewed_at

    async def release(self, server: Server) -> None:
        """Release the keys of the blocks that this process ends in."""
        if running := dict(self._running):
            await _LEAVE.run(server, list(running.values()), list(running))

    def release_blocking(self, server: BlockingServer) -> None:
        """The same, from a thread."""
        if running := dict(self._running):
            _LEAVE.run_blocking(server, list(running.values()), list(running))


class OnceGate:
    """The keys of one handler for one event.

    Args:
        server: Redis.
        blocks: all blocks of this process.
        event_id: the event; a replay shares the keys of the event's first delivery.
        handler: the handler's name.
        ttl_ms: for how long a finished block is remembered.
        was: the names that the handler had before.
    """

    def __init__(
        self,
        server: Server,
        blocks: OnceBlocks,
        event_id: str,
        handler: str,
        *,
        ttl_ms: int,
        was: Sequence[str] = (),
    ) -> None:
        self._server = server
        self._blocks = blocks
        self._event_id = event_id
        self._handler = handler
        self._ttl_ms = ttl_ms
        self._was = was

    @asynccontextmanager
    async def __call__(self, key: str, /) -> AsyncIterator[bool]:
        """True for the first; the key is released if the block raises, and lapses if the worker dies in it.

        Raises:
            Retry: another run is in the block at this moment, and may still fail.
        """
        keys = self._server.our_keys
        name = keys.once_key(self._event_id, self._handler, key)
        former = [keys.once_key(self._event_id, handler, key) for handler in self._was]
        mine = await self._blocks.enter(self._server, name, former)
        if mine is None:
            yield False
            return
        try:
            yield True
        except BaseException:
            await self._blocks.leave(self._server, mine, ttl_ms=None)
            raise
        await self._blocks.leave(self._server, mine, ttl_ms=self._ttl_ms)
