"""The public listener: makes a connection for each caller, and ends those that keep it waiting.

Run by `konvox_hooks.service.receiver`. A connection is `receiver.connection`'s until something comes by it that is no
plain delivery; from then on it is aiohttp's, as `receiver.delegated`.

The table of connections is bounded. If it is full, the connection that has been idle for longest makes room for a new
one: strangers that only keep connections open cannot lock anybody out. One by which an event has come goes last.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Sequence
from contextlib import suppress
from itertools import chain
from pathlib import Path
from typing import TypeAlias

from aiohttp import web

from receiver.access_log import RequestLog, logger
from receiver.app import create_app
from receiver.challenge import AnsweredChallenges
from receiver.connection import Connection
from receiver.counters import Counters
from receiver.delegated import LINGER_SECONDS, DelegatedConnection
from receiver.group_commit import GroupCommit
from receiver.peers import Network, TrustedProxies
from receiver.sockets import bound_port, listen
from receiver.verification import AccountPolicy, Verifier

REQUEST_SECONDS = 7.0
"""How long a request may take to arrive. Konvox itself gives up after 10 s."""

IDLE_SECONDS = 75.0
"""How long a connection may stay open without a request. The usual proxies close theirs after 60 s."""

MOST_CONNECTIONS = 5_000
"""How many connections may be open. Konvox needs a few."""

BACKLOG = 1_024
"""How many connections may wait to be accepted. So many may come at once when all others are open."""

BACKLOG_DIVISOR = 4
"""So many times as many connections may be open as may come at once."""

SHEDDING_SHARE = 0.8
"""The share of these from which on each answer ends its connection, to make room for others."""

SWEEP_SECONDS = 1.0
"""How often to look for connections that keep us waiting. It is cheaper than a timer for each request."""

COUNTS_SECONDS = 1.0
"""How often the log says how many events came in. A line for each would cost more than its event."""

OpenConnection: TypeAlias = Connection | DelegatedConnection


class PublicListener:
    """Takes deliveries in.

    Args:
        policies: those of all accounts, at least one.
        group_commit: makes the events durable.
        stop_seconds: how long deliveries that are under way are given when it stops.
        most_connections: how many may be open.
        idle_seconds: how long a connection may stay open without a request; None for `IDLE_SECONDS`.
        trusted_proxies: the addresses of proxies whose word about a peer counts.
        nonce_dir: where answered challenges are noted; None for in memory.
        share_port: whether other processes of this user may listen on the same port; the kernel spreads the
            connections over them.

    Attributes:
        verifier: decides about deliveries.
        group_commit: makes the events durable.
        counters: how many requests ended how.
        log: its lines in the log.
    """

    def __init__(
        self,
        policies: Sequence[AccountPolicy],
        group_commit: GroupCommit,
        *,
        stop_seconds: float,
        most_connections: int = MOST_CONNECTIONS,
        idle_seconds: float | None = None,
        trusted_proxies: Sequence[Network] = (),
        nonce_dir: Path | None = None,
        share_port: bool = False,
    ) -> None:
        proxies = TrustedProxies(trusted_proxies)
        self.verifier = Verifier(policies)
        self.group_commit = group_commit
        self.counters = Counters()
        self.log = RequestLog(proxies)
        self._stopping = False
        self._stop_seconds = stop_seconds
        self._share_port = share_port
        self._most_connections = most_connections
        self._idle_seconds = idle_seconds
        self._shedding_connections = int(most_connections * SHEDDING_SHARE)
        self._connections: set[Connection] = set()
        self._delegated: set[DelegatedConnection] = set()
        self._longest_idle: list[tuple[float, OpenConnection]] = []
        self._all_closed = asyncio.Event()
        self._servers: list[asyncio.Server] = []
        self._watch: asyncio.Task[None] | None = None
        challenges = AnsweredChallenges(nonce_dir)
        app = create_app(
            self.verifier, group_commit, self.counters, log=self.log, proxies=proxies, challenges=challenges
        )
        self._runner = web.AppRunner(app, shutdown_timeout=stop_seconds)

    async def start(self, host: str | Sequence[str], port: int) -> int:
        """Listen on one address or several; returns the port.

        Raises:
            OSError: an address cannot be listened on.
        """
        await self._runner.setup()
        loop = asyncio.get_running_loop()
        self._servers = await listen(
            lambda: Connection(self, loop),
            [host] if isinstance(host, str) else host,
            port,
            # Of those that are accepted at once, none may be without a file: see `konvox_hooks.service.file_limit`.
            backlog=max(1, min(BACKLOG, self._most_connections // BACKLOG_DIVISOR)),
            reuse_port=self._share_port or None,
        )
        self._watch = asyncio.create_task(self._sweep_and_log())
        return bound_port(self._servers)

    async def stop(self) -> None:
        """Take no more connections, answer what has come, and end."""
        self._stopping = True
        for server in self._servers:
            server.close()
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
        self.log.sum_up()

    @property
    def idle_seconds(self) -> float:
        """How long a connection may stay open without a request."""
        return IDLE_SECONDS if self._idle_seconds is None else self._idle_seconds

    @property
    def is_shedding(self) -> bool:
        """Whether answers end their connections: the listener stops, or too many are open."""
        return self._stopping or len(self._connections) >= self._shedding_connections

    def opened(self, connection: Connection) -> bool:
        """A connection was made; called by it. Returns whether there is room for it, or another has made room."""
        if len(self._connections) + len(self._delegated) >= self._most_connections and not self._make_room():
            return False
        self._connections.add(connection)
        return True

    def closed(self, connection: Connection) -> None:
        """A connection is closed, or aiohttp's from now on; called by it."""
        self._connections.discard(connection)
        if not self._connections:
            self._all_closed.set()

    def delegated(self, connection: DelegatedConnection) -> None:
        """A connection is aiohttp's from now on; called by it."""
        self._delegated.add(connection)

    def delegated_closed(self, connection: DelegatedConnection) -> None:
        """A connection of aiohttp's is closed; called by it."""
        self._delegated.discard(connection)

    def aiohttp_protocol(self, *, is_known: bool) -> asyncio.Protocol:
        """The protocol of aiohttp, for one connection."""
        server = self._runner.server
        assert server is not None  # noqa: S101 - the runner was set up before anybody could connect
        return DelegatedConnection(self, server, asyncio.get_running_loop(), is_known=is_known)

    def _open(self) -> Iterator[OpenConnection]:
        return chain(self._connections, self._delegated)

    def _make_room(self) -> bool:
        """End the connection that has been idle for longest; whether there was one.

        The list of candidates is used up before it is made again: one that became idle since comes after all of it.
        """
        if self._end_longest_idle():
            return True
        idle = [connection for connection in self._open() if not connection.busy]
        idle = [connection for connection in idle if not connection.is_known] or idle
        idle.sort(key=lambda connection: connection.since, reverse=True)
        self._longest_idle = [(connection.since, connection) for connection in idle]
        return self._end_longest_idle()

    def _end_longest_idle(self) -> bool:
        while self._longest_idle:
            since, connection = self._longest_idle.pop()
            is_open = connection in self._connections or connection in self._delegated
            if is_open and not connection.busy and connection.since == since:
                self.counters.evicted += 1
                connection.abort()
                self._connections.discard(connection)
                self._delegated.discard(connection)
                return True
        return False

    async def _sweep_and_log(self) -> None:
        loop = asyncio.get_running_loop()
        logged, logged_at = (0, 0), loop.time()
        while True:
            await asyncio.sleep(min(SWEEP_SECONDS, COUNTS_SECONDS))
            now = loop.time()
            for connection in list(self._open()):
                if not connection.busy and now - connection.since > self._limit_seconds(connection):
                    connection.expire()
            if now - logged_at >= COUNTS_SECONDS:
                logged, logged_at = self._log_counts(logged), now
                self.log.sum_up()

    def _limit_seconds(self, connection: OpenConnection) -> float:
        if connection.lingering:
            return LINGER_SECONDS
        return REQUEST_SECONDS if connection.reading else self.idle_seconds

    def _log_counts(self, logged: tuple[int, int]) -> tuple[int, int]:
        """Log how many events came in since the last time; returns the counts as they are now."""
        counts = self.counters.accepted, self.counters.duplicates
        if counts != logged:
            logger.info("events.received", accepted=counts[0] - logged[0], duplicates=counts[1] - logged[1])
        return counts
