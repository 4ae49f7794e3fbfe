"""The public listener: makes a connection for each caller, and ends those that keep it waiting.

Run by `konvox_hooks.service.receiver`. A connection is `receiver.connection`'s until something comes by it that is no
plain delivery; from then on it is aiohttp's.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from contextlib import suppress

from aiohttp import web

from receiver.access_log import AccessLog, ProtocolLog, logger
from receiver.app import create_app
from receiver.connection import Connection
from receiver.counters import Counters
from receiver.group_commit import GroupCommit
from receiver.verification import AccountPolicy, Verifier

REQUEST_SECONDS = 7.0
"""How long a request may take to arrive. Konvox itself gives up after 10 s."""

IDLE_SECONDS = 10.0
"""How long a connection may stay open without a request."""

MOST_CONNECTIONS = 5_000
"""How many connections may be open; further ones get a 503. Konvox needs a few."""

SHEDDING_SHARE = 0.8
"""The share of these from which on each answer ends its connection, to make room for others."""

SWEEP_SECONDS = 1.0
"""How often to look for connections that keep us waiting. It is cheaper than a timer for each request."""

LINGER_SECONDS = 2.0
"""How long the rest of a refused body is read and thrown away: a sender that is still sending would miss the answer."""

COUNTS_SECONDS = 1.0
"""How often the log says how many events came in. A line for each would cost more than its event."""


class PublicListener:
    """Takes deliveries in.

    Args:
        policies: those of all accounts, at least one.
        group_commit: makes the events durable.
        stop_seconds: how long deliveries that are under way are given when it stops.
        most_connections: how many may be open.
        share_port: whether other processes of this user may listen on the same port; the kernel spreads the
            connections over them.

    Attributes:
        verifier: decides about deliveries.
        group_commit: makes the events durable.
        counters: how many requests ended how.
    """

    def __init__(
        self,
        policies: Sequence[AccountPolicy],
        group_commit: GroupCommit,
        *,
        stop_seconds: float,
        most_connections: int = MOST_CONNECTIONS,
        share_port: bool = False,
    ) -> None:
        self.verifier = Verifier(policies)
        self.group_commit = group_commit
        self.counters = Counters()
        self._stopping = False
        self._stop_seconds = stop_seconds
        self._share_port = share_port
        self._most_connections = most_connections
        self._shedding_connections = int(most_connections * SHEDDING_SHARE)
        self._connections: set[Connection] = set()
        self._all_closed = asyncio.Event()
        self._server: asyncio.Server | None = None
        self._watch: asyncio.Task[None] | None = None
        self._runner = web.AppRunner(
            create_app(self.verifier, group_commit, self.counters),
            # A signature is over the raw bytes, so bodies must reach us as they were sent.
            auto_decompress=False,
            keepalive_timeout=IDLE_SECONDS,
            lingering_time=LINGER_SECONDS,
            logger=ProtocolLog(),
            access_log_class=AccessLog,
            access_log=logger,
            shutdown_timeout=stop_seconds,
        )

    async def start(self, host: str, port: int) -> int:
        """Listen; returns the port.

        Raises:
            OSError: the address cannot be listened on.
        """
        await self._runner.setup()
        loop = asyncio.get_running_loop()
        self._server = await loop.create_server(
            lambda: Connection(self, loop), host, port, backlog=1024, reuse_port=self._share_port or None
        )
        self._watch = asyncio.create_task(self._sweep_and_log())
        bound_port: int = self._server.sockets[0].getsockname()[1]
        return bound_port

    async def stop(self) -> None:
        """Take no more connections, answer what has come, and end."""
        self._stopping = True
        if self._server is not None:
            self._server.close()
        await asyncio.sleep(0)  # what has arrived by now is read
        for connection in list(self._connections):
            connection.close_if_idle()
        with suppress(TimeoutError):
            async with asyncio.timeout(self._stop_seconds):
                while self._connections:
                    self._all_closed.clear()
                    await self._all_closed.wait()
        for connection in list(self._connections):
            connection.abort()
        await self._runner.cleanup()
        if self._watch is not None:
            self._watch.cancel()
            await asyncio.wait([self._watch])

    @property
    def is_shedding(self) -> bool:
        """Whether answers end their connections: the listener stops, or too many are open."""
        return self._stopping or len(self._connections) >= self._shedding_connections

    def opened(self, connection: Connection) -> bool:
        """A connection was made; called by it. Returns whether there is room for it."""
        at_aiohttp = len(self._aiohttp.connections)
        if len(self._connections) + at_aiohttp >= self._most_connections:
            return False
        self._connections.add(connection)
        return True

    def closed(self, connection: Connection) -> None:
        """A connection is closed, or aiohttp's from now on; called by it."""
        self._connections.discard(connection)
        if not self._connections:
            self._all_closed.set()

    def aiohttp_protocol(self) -> asyncio.Protocol:
        """The protocol of aiohttp, for one connection."""
        return self._aiohttp()

    @property
    def _aiohttp(self) -> web.Server:
        server = self._runner.server
        assert server is not None  # noqa: S101 - the runner was set up before anybody could connect
        return server

    async def _sweep_and_log(self) -> None:
        loop = asyncio.get_running_loop()
        logged, logged_at = (0, 0), loop.time()
        while True:
            await asyncio.sleep(min(SWEEP_SECONDS, COUNTS_SECONDS))
            now = loop.time()
            for connection in list(self._connections):
                if not connection.busy:
                    limit_seconds = REQUEST_SECONDS if connection.reading else IDLE_SECONDS
                    if now - connection.since > limit_seconds:
                        connection.expire()
            if now - logged_at >= COUNTS_SECONDS:
                logged, logged_at = self._log_counts(logged), now

    def _log_counts(self, logged: tuple[int, int]) -> tuple[int, int]:
        """Log how many events came in since the last time; returns the counts as they are now."""
        counts = self.counters.accepted, self.counters.duplicates
        if counts != logged:
            logger.info("events.received", accepted=counts[0] - logged[0], duplicates=counts[1] - logged[1])
        return counts
