"""Connections to Redis or Valkey, with a time-out on everything. Every process that touches the store uses it."""

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
from broker.keys import DEFAULT_NAMESPACE, Keys
from broker.redis import sentinel
from broker.redis.commands import BlockingServer, Server
from broker.redis.sentinel_url import is_sentinel_url, parse_sentinel_url

COMMAND_TIMEOUT_SECONDS = 2.0
"""How long Redis has to answer. A longer wait counts as an outage."""

PAGE = 500
"""How many things are looked up in one round trip: bounds how long the server is kept busy."""

OUTAGES = (RedisError, OSError, TimeoutError)
"""What redis-py raises when Redis is away, hung, read-only or full. A dropped connection may be a plain OSError."""


class _Serializer(HiredisRespSerializer):
    """Writes commands in C: Python takes 6 times as long. Ids that are no UTF-8 go back to Redis as they came."""

    def pack(self, *arguments: Any) -> list[bytes]:
        """The command as it goes over the wire."""
        try:
            packed: list[bytes] = super().pack(*arguments)
        except UnicodeEncodeError:
            packed = super().pack(*(_as_it_came(argument) for argument in arguments))
        return packed


def _as_it_came(argument: Any) -> Any:
    return argument.encode("utf-8", "surrogateescape") if isinstance(argument, str) else argument


class TunedConnection:
    """What our connections do differently from those of redis-py. It is mixed into whichever class the pool uses."""

    _serializer = _Serializer()

    def pack_command(self, *arguments: Any) -> list[bytes]:
        """The command as it goes over the wire."""
        return self._serializer.pack(*arguments)

    async def send_packed_command(self, command: Any, check_health: bool = True) -> None:  # noqa: FBT001, FBT002 - as redis-py has it
        """Send a command. uvloop raises RuntimeError if the connection was closed a moment ago: that is an outage."""
        connection: Any = super()
        try:
            await connection.send_packed_command(command, check_health)
        except RuntimeError as closed:
            raise redis.ConnectionError(str(closed)) from closed

    async def read_response(self, *arguments: Any, **options: Any) -> Any:
        """The answer. If the server has become a replica, this closes the connection: the next may find the master."""
        connection: Any = super()
        try:
            return await connection.read_response(*arguments, **options)
        except ResponseError as refusal:
            reason = _replica_reason(refusal)
            if reason is None:
                raise
            await connection.disconnect(nowait=True)
            raise redis.ConnectionError(reason) from refusal


class TunedBlockingConnection:
    """The same for a thread of its own."""

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **{**options, "command_packer": _Serializer()})

    def read_response(self, *arguments: Any, **options: Any) -> Any:
        """The answer, treated in the same way."""
        connection: Any = super()
        try:
            return connection.read_response(*arguments, **options)
        except ResponseError as refusal:
            reason = _replica_reason(refusal)
            if reason is None:
                raise
            connection.disconnect()
            raise redis.ConnectionError(reason) from refusal


def _replica_reason(refusal: ResponseError) -> str | None:
    """Why a server refused a command because it is a replica; None if that is not the reason.

    A replica answers READONLY to writes. Without its master, its settings may have it answer MASTERDOWN to nearly
    everything.
    """
    if isinstance(refusal, ReadOnlyError):
        return f"READONLY: {refusal}"
    return str(refusal) if str(refusal).startswith("MASTERDOWN") else None


def connect(
    url: str, *, namespace: str = DEFAULT_NAMESPACE, timeout_seconds: float = COMMAND_TIMEOUT_SECONDS
) -> Server:
    """A client for `redis://`, `rediss://`, `unix://` or `redis+sentinel://` (see `broker.redis.sentinel_url`).

    It carries the names of its namespace as `our_keys`. All that is given the client uses these names and no others.

    It connects when it is first used, and again when it must. With Sentinel each new connection goes to the present
    master. A connection is closed when it is lost, and when its server says that it is no longer the master.

    A command whose connection was lost is repeated once, at once: after a restart of the server, every connection that
    was open looks lost. Any longer wait is for the caller to decide.
    """
    options: dict[str, Any] = {
        "socket_timeout": timeout_seconds,
        "socket_connect_timeout": timeout_seconds,
        # A command that timed out is not repeated: its caller has waited long enough.
        "retry": Retry(NoBackoff(), 1, supported_errors=(redis.ConnectionError,)),
        "retry_on_error": [redis.ConnectionError, ConnectionError],
    }
    if is_sentinel_url(url):
        pool: ConnectionPool = sentinel.async_pool(parse_sentinel_url(url), **options)
    else:
        pool = ConnectionPool.from_url(url, **options)
    pool.connection_class = type("OurConnection", (TunedConnection, pool.connection_class), {})
    # redis-py's stubs type a command as "the answer, or an awaitable of it", which strict typing does not let us await.
    # The protocol says what the answers are. Only this line and the two like it below take its word for it.
    return in_namespace(ArqRedis(pool), namespace)


def in_namespace(redis_client: ArqRedis, namespace: str) -> Server:
    """A client that carries the names of a namespace: one of ours, or that of a stock arq worker."""
    server: Any = redis_client
    server.our_keys = Keys(namespace)
    return cast("Server", server)


def as_arq(server: Server) -> ArqRedis:
    """The client with the type that arq's own classes want. It always is one: `connect` makes no other."""
    return cast("ArqRedis", server)


def connect_blocking(
    url: str, *, namespace: str = DEFAULT_NAMESPACE, timeout_seconds: float = COMMAND_TIMEOUT_SECONDS
) -> BlockingServer:
    """The same for a thread without an event loop (lease renewal). It repeats nothing."""
    options = {"socket_timeout": timeout_seconds, "socket_connect_timeout": timeout_seconds}
    if is_sentinel_url(url):
        pool: redis.ConnectionPool = sentinel.blocking_pool(parse_sentinel_url(url), **options)
    else:
        pool = redis.ConnectionPool.from_url(url, **options)
    pool.connection_class = type("OurBlockingConnection", (TunedBlockingConnection, pool.connection_class), {})
    server: Any = redis.Redis.from_pool(pool)
    server.our_keys = Keys(namespace)
    return cast("BlockingServer", server)


async def close(server: Server) -> None:
    """Close a client and all of its connections."""
    await server.aclose(close_connection_pool=True)


@contextmanager
def outages_as_unavailable() -> Iterator[None]:
    """Turn what redis-py raises into a `BrokerUnavailableError`, whose text repeats no argument of the command."""
    try:
        yield
    except OUTAGES as error:
        raise BrokerUnavailableError(refusal_in_words(error)) from error
