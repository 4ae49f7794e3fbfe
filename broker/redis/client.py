"""Connections to Redis or Valkey, with a time-out on everything. Used by every process that touches the store."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, cast

import redis
from arq.connections import ArqRedis
from redis.asyncio import ConnectionPool
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.connection import HiredisRespSerializer
from redis.exceptions import ReadOnlyError, RedisError, ResponseError

from broker.errors import BrokerUnavailableError, refusal_in_words
from broker.redis import sentinel
from broker.redis.commands import BlockingServer, Server
from broker.redis.sentinel_url import is_sentinel_url, parse_sentinel_url

COMMAND_TIMEOUT_SECONDS = 2.0
"""How long Redis is given to answer; what takes longer counts as an outage."""

PAGE = 500
"""How many things are looked up in one round trip: bounds how long the server is kept busy."""

OUTAGES = (RedisError, OSError, TimeoutError)
"""What redis-py raises when Redis is away, hung, read-only or full (a dropped connection may be a plain OSError)."""


class TunedConnection:
    """What our connections do in another way than those of redis-py, whichever of its classes they are."""

    _serializer = HiredisRespSerializer()

    def pack_command(self, *arguments: Any) -> list[bytes]:
        """The command as it goes over the wire; in C, as on blocking connections: redis-py takes six times as long."""
        packed: list[bytes] = self._serializer.pack(*arguments)
        return packed

    async def send_packed_command(self, command: Any, check_health: bool = True) -> None:  # noqa: FBT001, FBT002 - as redis-py has it
        """Send it. That the connection was closed a moment ago is an outage, also in uvloop's words."""
        connection: Any = super()
        try:
            await connection.send_packed_command(command, check_health)
        except RuntimeError as closed:
            raise redis.ConnectionError(str(closed)) from closed

    async def read_response(self, *arguments: Any, **options: Any) -> Any:
        """The answer. A server that has become a replica is left: by its name, another may be found now."""
        connection: Any = super()
        try:
            return await connection.read_response(*arguments, **options)
        except ResponseError as refusal:
            said = _said_by_a_replica(refusal)
            if said is None:
                raise
            await connection.disconnect(nowait=True)
            raise redis.ConnectionError(said) from refusal


class TunedBlockingConnection:
    """The same for a thread of its own."""

    def read_response(self, *arguments: Any, **options: Any) -> Any:
        """The answer; likewise."""
        connection: Any = super()
        try:
            return connection.read_response(*arguments, **options)
        except ResponseError as refusal:
            said = _said_by_a_replica(refusal)
            if said is None:
                raise
            connection.disconnect()
            raise redis.ConnectionError(said) from refusal


def _said_by_a_replica(refusal: ResponseError) -> str | None:
    """What a server said that is a replica; None if it said something else.

    Without its master a replica answers READONLY to writes, or MASTERDOWN to nearly everything, as it is set.
    """
    if isinstance(refusal, ReadOnlyError):
        return f"READONLY: {refusal}"
    return str(refusal) if str(refusal).startswith("MASTERDOWN") else None


def connect(url: str, *, timeout_seconds: float = COMMAND_TIMEOUT_SECONDS) -> Server:
    """A client for `redis://`, `rediss://`, `unix://` or `redis+sentinel://` (see `broker.redis.sentinel_url`).

    It connects when it is first used, and again when it must. With Sentinel each new connection goes to the master of
    the moment; a connection is given up when it is lost, and when its server says that it is not the master any more.

    One repetition is made at once, and only after a connection was lost: that is what a restarted server looks like to
    whoever held a connection to it. Anything longer is for the caller to decide.
    """
    options: dict[str, Any] = {
        "socket_timeout": timeout_seconds,
        "socket_connect_timeout": timeout_seconds,
        # A command that timed out is not repeated: whoever waits for it has waited long enough.
        "retry": Retry(NoBackoff(), 1, supported_errors=(redis.ConnectionError,)),
        "retry_on_error": [redis.ConnectionError, ConnectionError],
    }
    if is_sentinel_url(url):
        pool: ConnectionPool = sentinel.async_pool(parse_sentinel_url(url), **options)
    else:
        pool = ConnectionPool.from_url(url, **options)
    pool.connection_class = type("Ours", (TunedConnection, pool.connection_class), {})
    # redis-py's stubs type each command as "the answer, or an awaitable of it", which nobody can await under strict
    # typing. The protocol says what really comes; this is the only place that has to believe it.
    return cast("Server", ArqRedis(pool))


def as_arq(server: Server) -> ArqRedis:
    """The client as arq's own classes want it typed: `connect` makes no other."""
    return cast("ArqRedis", server)


def connect_blocking(url: str, *, timeout_seconds: float = COMMAND_TIMEOUT_SECONDS) -> BlockingServer:
    """The same for a thread of its own (lease renewal), without the repetition."""
    options = {"socket_timeout": timeout_seconds, "socket_connect_timeout": timeout_seconds}
    if is_sentinel_url(url):
        pool: redis.ConnectionPool = sentinel.blocking_pool(parse_sentinel_url(url), **options)
    else:
        pool = redis.ConnectionPool.from_url(url, **options)
    pool.connection_class = type("OursBlocking", (TunedBlockingConnection, pool.connection_class), {})
    return cast("BlockingServer", redis.Redis.from_pool(pool))  # likewise


async def close(server: Server) -> None:
    """Close a client and all of its connections."""
    await server.aclose(close_connection_pool=True)


@contextmanager
def outages_as_unavailable() -> Iterator[None]:
    """Turn what redis-py raises into our own error, whose text holds nothing of the arguments."""
    try:
        yield
    except OUTAGES as error:
        raise BrokerUnavailableError(refusal_in_words(error)) from error
