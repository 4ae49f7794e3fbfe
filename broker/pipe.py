"""A connection to Redis on which commands go out without waiting for the answers to those before.

Used by the admission: while the server writes one batch to disk, the next ones lie in its socket already, and it takes
all of those in one turn, with one fsync. With an answer awaited before the next batch goes out, receiver and server
wait for each other for a third of the time (docs/performance.md).
"""

from __future__ import annotations

import asyncio
from collections import deque
from typing import Any, NamedTuple, TypeAlias

import redis
from redis.exceptions import ResponseError

from broker.connection import OUTAGES, Server

Connection: TypeAlias = Any
"""A `redis.asyncio.Connection`, and likewise its pool: most of their methods are untyped."""


class Pipe:
    """Runs commands side by side on one connection, which is borrowed for as long as answers are due.

    Only for commands that may run twice: when a connection is lost, each is repeated once on the next one.

    Args:
        server: whose pool lends the connection; the time-out of its commands counts here as well.
    """

    def __init__(self, server: Server) -> None:
        self._pool = server.connection_pool
        self._borrowing = asyncio.Lock()
        self._loan: _Loan | None = None

    async def execute_command(self, *arguments: Any) -> Any:
        """Run a command, and return its answer.

        Raises:
            RedisError: the server refused it, did not answer in time, or is not there; or one of the other `OUTAGES`.
        """
        try:
            return await self._execute(arguments)
        except (redis.ConnectionError, ConnectionError):
            return await self._execute(arguments)

    async def _execute(self, arguments: tuple[Any, ...]) -> Any:
        loan = self._loan
        if loan is None or not loan.good:
            loan = await self._borrow()
        return await loan.execute(arguments)

    async def _borrow(self) -> _Loan:
        async with self._borrowing:
            if self._loan is None or not self._loan.good:  # nobody else has done it meanwhile
                self._loan = _Loan(self._pool, await self._pool.get_connection())
            return self._loan


class _Expected(NamedTuple):
    answer: asyncio.Future[Any]
    deadline: float


class _Loan:
    """A connection, from its first command until no answer is due any more."""

    def __init__(self, pool: Connection, connection: Connection) -> None:
        self._pool = pool
        self._connection = connection
        self._timeout_seconds = connection.socket_timeout
        # Each answer has its deadline here. redis-py, with a time-out of its own, would make a task for each write.
        connection.socket_timeout = None
        self._expected: deque[_Expected] = deque()
        self._reader: asyncio.Task[None] | None = None
        self._over = False

    @property
    def good(self) -> bool:
        """Whether one more command may be sent."""
        return not self._over and self._connection.is_connected

    async def execute(self, arguments: tuple[Any, ...]) -> Any:
        command = self._connection.pack_command(*arguments)
        loop = asyncio.get_running_loop()
        answer: asyncio.Future[Any] = loop.create_future()
        self._expected.append(_Expected(answer, loop.time() + self._timeout_seconds))
        if self._reader is None:
            self._reader = loop.create_task(self._read())
        try:
            await self._connection.send_packed_command(command, check_health=False)
        except BaseException:
            answer.cancel()  # nobody waits for it
            raise
        return await answer

    async def _read(self) -> None:
        lost: Exception = redis.ConnectionError("the connection was given up")
        try:
            while self._expected:
                await self._read_answer(self._expected[0])
                self._expected.popleft()
        except OUTAGES as error:
            lost = error
        finally:
            self._over = True
            await self._give_back(lost)

    async def _read_answer(self, expected: _Expected) -> None:
        try:
            async with asyncio.timeout_at(expected.deadline):
                value = await self._connection.read_response()
        except ResponseError as refusal:
            _tell(expected, refusal)
        except TimeoutError:
            raise redis.TimeoutError(f"no answer within {self._timeout_seconds:g} s") from None
        else:
            if not expected.answer.done():  # it is done if the caller was cancelled
                expected.answer.set_result(value)

    async def _give_back(self, lost: Exception) -> None:
        if self._expected:
            for expected in self._expected:
                _tell(expected, lost)
            # What is still to come by it would be taken for the answers to other commands.
            await self._connection.disconnect(nowait=True)
        self._connection.socket_timeout = self._timeout_seconds
        await self._pool.release(self._connection)


def _tell(expected: _Expected, error: Exception) -> None:
    if not expected.answer.done():
        expected.answer.set_exception(error)
