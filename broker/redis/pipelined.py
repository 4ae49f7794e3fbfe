"""A connection to Redis on which commands go out without waiting for the answers to those before.

Used by the admission and by the worker's settler. Commands that redis-py sends leave some turns of the event loop
later, behind whatever else has become ready; these leave in the same turn, so that the server works while we do. And
while it writes one batch of the admission to disk, the next ones lie in its socket already: it takes all of those in
one turn of its own, with one fsync. See docs/performance.md.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Sequence
from typing import NamedTuple, TypeAlias

import redis
from redis.exceptions import RedisError, ResponseError

from broker.redis.commands import Argument, Connection, Pool, Reply, Server

IDLE_SECONDS = 1.0
"""How long a connection that nobody needs is held on to."""

Command: TypeAlias = Sequence[Argument]
"""Its name and its arguments."""


class Pipe:
    """Runs commands side by side on one connection, which is borrowed for as long as it is needed.

    Args:
        server: whose pool lends the connection; the time-out of its commands counts here as well.
    """

    def __init__(self, server: Server) -> None:
        self._pool = server.connection_pool
        self._borrowing = asyncio.Lock()
        self._loan: _Loan | None = None

    async def run(self, *commands: Command) -> list[Reply]:
        """Run commands one behind the other; nothing else is atomic about it.

        Returns:
            Their answers; a refusal is one as well, as a `ResponseError`.

        Raises:
            RedisError: the server is not there, or did not answer in time; or one of the other `OUTAGES`.
        """
        loan = self._loan
        if loan is None or not loan.good:
            loan = await self._borrow()
        return await loan.run(commands)

    async def execute_command(self, *arguments: Argument) -> Reply:
        """Run a command, and return its answer. It is run once more if the connection is lost, as by redis-py.

        Raises:
            RedisError: as `run`; or the server refused the command.
        """
        try:
            [answer] = await self.run(arguments)
        except (redis.ConnectionError, ConnectionError):
            [answer] = await self.run(arguments)
        if isinstance(answer, ResponseError):
            raise answer
        return answer

    async def _borrow(self) -> _Loan:
        async with self._borrowing:
            if self._loan is None or not self._loan.good:  # nobody else has done it meanwhile
                self._loan = _Loan(self._pool, await self._pool.get_connection())
            return self._loan


class _Expected(NamedTuple):
    answers: asyncio.Future[list[Reply]]
    come: list[Reply]
    due: int
    deadline: float


class _Loan:
    """A connection, from its first command until nobody has needed it for a while."""

    def __init__(self, pool: Pool, connection: Connection) -> None:
        self._pool = pool
        self._connection = connection
        self._timeout_seconds = connection.socket_timeout
        # Each answer has its deadline here. redis-py, with a time-out of its own, would make a task for each write.
        connection.socket_timeout = None
        self._loop = asyncio.get_running_loop()
        self._expected: deque[_Expected] = deque()
        self._over = False
        self._patience: asyncio.Timeout | None = None
        self._reader = self._loop.create_task(self._read())

    @property
    def good(self) -> bool:
        """Whether one more command may be sent."""
        ending = self._over or (self._patience is not None and self._patience.expired())
        return not ending and self._connection.is_connected

    async def run(self, commands: Sequence[Command]) -> list[Reply]:
        packed = [part for command in commands for part in self._connection.pack_command(*command)]
        answers: asyncio.Future[list[Reply]] = self._loop.create_future()
        expected = _Expected(answers, [], len(commands), self._loop.time() + self._timeout_seconds)
        self._expected.append(expected)
        if len(self._expected) == 1 and self._patience is not None:
            self._patience.reschedule(expected.deadline)
        try:
            await self._connection.send_packed_command(packed, check_health=False)
        except BaseException:
            answers.cancel()  # nobody waits for them
            raise
        return await answers

    async def _read(self) -> None:
        lost: Exception | None = redis.ConnectionError("the connection was given up")
        try:
            while True:
                until = self._expected[0].deadline if self._expected else self._loop.time() + IDLE_SECONDS
                # Also while nothing is due: a server that goes away is noticed before the next command is sent.
                async with asyncio.timeout_at(until) as self._patience:
                    answer = await self._read_answer()
                self._hand_out(answer)
        except TimeoutError:
            lost = redis.TimeoutError(f"no answer within {self._timeout_seconds:g} s") if self._expected else None
        except (RedisError, OSError) as error:
            lost = error
        finally:
            self._over = True
            await self._give_back(lost)

    async def _read_answer(self) -> Reply:
        try:
            return await self._connection.read_response(disconnect_on_error=False)
        except ResponseError as refusal:
            return refusal

    def _hand_out(self, answer: Reply) -> None:
        expected = self._expected[0]
        expected.come.append(answer)
        if len(expected.come) == expected.due:
            self._expected.popleft()
            if not expected.answers.done():  # it is done if the caller was cancelled
                expected.answers.set_result(expected.come)

    async def _give_back(self, lost: Exception | None) -> None:
        for expected in self._expected:
            if not expected.answers.done() and lost is not None:
                expected.answers.set_exception(lost)
        if lost is not None:
            # What is still to come by it would be taken for the answers to other commands.
            await self._connection.disconnect(nowait=True)
        self._connection.socket_timeout = self._timeout_seconds
        await self._pool.release(self._connection)
