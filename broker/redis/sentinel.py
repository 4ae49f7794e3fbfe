"""Connections to the Redis that the sentinels name as the master. They are asked again for each new connection.

Used by `broker.redis.client`, and by `konvox-hooks doctor`. The pools and connections are redis-py's; the discovery is
ours. It asks all sentinels at once, each for a short time, and believes the one that has seen the latest failover.
redis-py asks one after the other: if a machine with a master and a sentinel is gone, waiting for that sentinel uses up
the whole time of every command.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import Any, Final, TypeAlias, TypeGuard, cast

import redis
import redis.asyncio
from redis.asyncio.sentinel import SentinelConnectionPool as AsyncPool
from redis.asyncio.sentinel import SentinelManagedConnection as AsyncConnection
from redis.asyncio.sentinel import SentinelManagedSSLConnection as AsyncTlsConnection
from redis.exceptions import AuthenticationError, NoPermissionError, RedisError, ResponseError
from redis.sentinel import MasterNotFoundError
from redis.sentinel import SentinelConnectionPool as BlockingPool
from redis.sentinel import SentinelManagedConnection as BlockingConnection
from redis.sentinel import SentinelManagedSSLConnection as BlockingTlsConnection

from broker.redis.sentinel_url import SentinelAddress

SENTINEL_SECONDS: Final = 0.5
"""How long a sentinel has to answer. It has nothing else to do, and the command that waits has 2 s in all."""

Untyped: TypeAlias = Any
"""What redis-py has no types for."""


@dataclass(frozen=True, slots=True)
class State:
    """What a sentinel knows of the master.

    Attributes:
        place: host and port.
        epoch: the number of the failover that made it the master.
        flags: as the sentinel names them, such as `master` and `s_down`.
    """

    place: tuple[str, int]
    epoch: int
    flags: frozenset[str]


def state_of(answer: list[bytes]) -> State:
    """Read the answer to SENTINEL MASTER, in which names and values alternate. Pure."""
    facts = {name.decode(): value.decode() for name, value in zip(answer[::2], answer[1::2], strict=True)}
    return State((facts["ip"], int(facts["port"])), int(facts["config-epoch"]), frozenset(facts["flags"].split(",")))


def newest_master(address: SentinelAddress, answers: list[State | Exception]) -> tuple[str, int]:
    """Where the master is, from what each sentinel answered: the latest failover decides. Pure.

    Raises:
        MasterNotFoundError: none of them knows a master that is up; the message has the answer of each.
    """
    up = [answer for answer in answers if _is_up(answer)]
    if not up:
        pairs = zip(address.sentinels, answers, strict=True)
        answered = "; ".join(f"{host}:{port} {_in_words(answer)}" for (host, port), answer in pairs)
        raise MasterNotFoundError(f"no sentinel names a master {address.master} that is up: {answered}")
    return max(up, key=lambda state: state.epoch).place


def _is_up(answer: State | Exception) -> TypeGuard[State]:
    return isinstance(answer, State) and "master" in answer.flags and answer.flags.isdisjoint({"s_down", "o_down"})


def _in_words(answer: State | Exception) -> str:
    if not isinstance(answer, Exception):
        return "says it is down"
    if isinstance(answer, ResponseError) and "No such master" in str(answer):
        return "knows none of this name"
    if isinstance(answer, AuthenticationError | NoPermissionError):
        return "refuses sentinel_username or sentinel_password"
    return f"did not answer ({type(answer).__name__})"


class _Connection(AsyncConnection):
    """A connection to the present master.

    It is closed when the server lacks the replicas that it must have: the server may have been cut off from the others,
    and they may have chosen another master since. READONLY, the answer of a master that is a replica now, is left to
    redis-py.
    """

    async def read_response(self, *arguments: Any, **options: Any) -> Any:
        """The answer, as redis-py reads it."""
        try:
            return await super().read_response(*arguments, **options)
        except ResponseError as error:
            if not _lacks_replicas(error):
                raise
            await self.disconnect()
            raise redis.ConnectionError(_LACKS_REPLICAS) from error


class _TlsConnection(_Connection, AsyncTlsConnection):
    """The same over TLS."""


class _BlockingConnection(BlockingConnection):
    """The same for a thread without an event loop."""

    def read_response(self, *arguments: Any, **options: Any) -> Any:
        """The answer, as redis-py reads it."""
        try:
            return super().read_response(*arguments, **options)
        except ResponseError as error:
            if not _lacks_replicas(error):
                raise
            cast("Untyped", self).disconnect()
            raise redis.ConnectionError(_LACKS_REPLICAS) from error


class _BlockingTlsConnection(_BlockingConnection, BlockingTlsConnection):
    """The same over TLS."""


_LACKS_REPLICAS: Final = "the master has fewer replicas than its min-replicas-to-write (NOREPLICAS)"


def _lacks_replicas(error: ResponseError) -> bool:
    return str(error).startswith("NOREPLICAS")


_QUESTION: Final = ("SENTINEL", "MASTER")


class _Sentinels:
    """What redis-py's pool asks for the master. It connects for one question only, because it is asked rarely."""

    def __init__(self, address: SentinelAddress) -> None:
        self._address = address

    async def discover_master(self, _name: str) -> tuple[str, int]:
        """Ask all sentinels at the same time."""
        return newest_master(self._address, await self.ask_all())

    async def ask_all(self) -> list[State | Exception]:
        """What each of them knows of the master."""
        return await asyncio.gather(*(self._ask(host, port) for host, port in self._address.sentinels))

    async def _ask(self, host: str, port: int) -> State | Exception:
        # A bare connection, because we can close it without waiting. redis-py's client closes its connection in a task;
        # if the time is up, or we are cancelled, before that task has begun, the connection stays open.
        connection_class = redis.asyncio.Connection if self._address.tls is None else redis.asyncio.SSLConnection
        sentinel: Untyped = connection_class(host=host, port=port, **_sentinel_options(self._address))
        try:
            async with asyncio.timeout(SENTINEL_SECONDS):
                await sentinel.send_command(*_QUESTION, self._address.master)
                return state_of(await sentinel.read_response())
        except (RedisError, OSError, TimeoutError) as error:
            return error
        finally:
            await sentinel.disconnect(nowait=True)


class _BlockingSentinels:
    """The same for a thread without an event loop. It has the time to ask one after the other."""

    def __init__(self, address: SentinelAddress) -> None:
        self._address = address

    def discover_master(self, _name: str) -> tuple[str, int]:
        """Ask all sentinels."""
        return newest_master(self._address, [self._ask(host, port) for host, port in self._address.sentinels])

    def _ask(self, host: str, port: int) -> State | Exception:
        connection_class = redis.Connection if self._address.tls is None else redis.SSLConnection
        sentinel: Untyped = connection_class(host=host, port=port, **_sentinel_options(self._address))
        try:
            sentinel.send_command(*_QUESTION, self._address.master)
            return state_of(sentinel.read_response())
        except (RedisError, OSError, TimeoutError) as error:
            return error
        finally:
            sentinel.disconnect()


async def check_sentinels(address: SentinelAddress) -> list[str]:
    """What is wrong with each sentinel that names no master. Empty if nothing is."""
    answers = await _Sentinels(address).ask_all()
    places = zip(address.sentinels, answers, strict=True)
    return [f"{host}:{port} {_in_words(answer)}" for (host, port), answer in places if not _is_up(answer)]


def async_pool(address: SentinelAddress, **options: Any) -> AsyncPool:
    """A pool of connections to the present master."""
    connection_class = _Connection if address.tls is None else _TlsConnection
    pool: AsyncPool = cast("Untyped", AsyncPool)(
        address.master,
        _Sentinels(address),  # all that the pool asks of it is discover_master
        connection_class=connection_class,
        **_server_options(address),
        **options,
    )
    return pool


def blocking_pool(address: SentinelAddress, **options: Any) -> BlockingPool:
    """The same for a thread without an event loop."""
    pool: BlockingPool = cast("Untyped", BlockingPool)(
        address.master,
        _BlockingSentinels(address),
        connection_class=_BlockingConnection if address.tls is None else _BlockingTlsConnection,
        **_server_options(address),
        **options,
    )
    return pool


def _server_options(address: SentinelAddress) -> dict[str, Any]:
    return {
        "db": address.database,
        "username": address.username,
        "password": address.password,
        **(address.tls or {}),
    }


def _sentinel_options(address: SentinelAddress) -> dict[str, Any]:
    return {
        "username": address.sentinel_username,
        "password": address.sentinel_password,
        "socket_timeout": SENTINEL_SECONDS,
        "socket_connect_timeout": SENTINEL_SECONDS,
        "lib_name": None,  # otherwise two more round trips a question
        "lib_version": None,
        **(address.tls or {}),
    }
