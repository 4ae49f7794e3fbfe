"""A connection to Redis on which commands go out without waiting for the answers to those before.

Used by the admission and by the worker's settler, because it lets the server work while we do. A command leaves in the
turn of the event loop in which it is given; with redis-py it leaves some turns later, behind all that has become ready.
And while the server writes one batch of the admission to disk, the next ones wait in its socket: it takes all of those
in one turn of its own, with one fsync. See docs/performance.md.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Sequence
from typing import NamedTuple, TypeAlias

import redis
from redis.exceptions import RedisError, ResponseError

from broker.redis.client import COMMAND_TIMEOUT_SECONDS
from broker.redis.commands import Argument, Connection, Pool, Reply, Server

IDLE_SECONDS = 1.0
"""How long a connection is kept that nobody uses."""

Command: TypeAlias = Sequence[Argument]
"""Its name and its arguments."""


class PipelinedConnection:
    """Runs commands side by side on one connection, which is borrowed for as long as it is used.

    Args:
        server: whose pool lends the connection; the time-out of its commands counts here as well.

    Attributes:
        our_keys: the names of the namespace that the server works in.
    """

    def __init__(self, server: Server) -> None:
        self.our_keys = server.our_keys
        self._pool = server.connection_pool
        self._borrowing = asyncio.Lock()
        self._shared: _SharedConnection | None = None

    async def run(self, *commands: Command) -> list[Reply]:
        """Run commands one behind the other; nothing else is atomic about it.

        Returns:
            Their answers; a refusal is one as well, as a `ResponseError`.

        Raises:
            RedisError: the server is not there, or did not answer in time; or one of the other `OUTAGES`.
        """
        shared = self._shared
        if shared is None or not shared.usable:
            shared = await self._borrow()
        return await shared.run(commands)

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

    async def _borrow(self) -> _SharedConnection:
        async with self._borrowing:
            if self._shared is None or not self._shared.usable:  # no other caller has borrowed one meanwhile
                self._shared = _SharedConnection(self._pool, await self._pool.get_connection())
            return self._shared


class _Expected(NamedTuple):
    """The answers that one call waits for.

    Attributes:
        answers: what the caller awaits.
        received: those that have come.
        due: how many there will be.
        deadline: when the last of them must be here, in the loop's time.
    """

    answers: asyncio.Future[list[Reply]]
    received: list[Reply]
    due: int
    deadline: float


class _SharedConnection:
    """A connection of the pool, from its first command until nobody has used it for a while."""

    def __init__(self, pool: Pool, connection: Connection) -> None:
        self._pool = pool
        self._connection = connection
        self._own_timeout_seconds = connection.socket_timeout
        self._timeout_seconds = connection.socket_timeout or COMMAND_TIMEOUT_SECONDS
        # Each answer has its deadline here. redis-py, with a time-out of its own, would make a task for each write.
        connection.socket_timeout = None
        self._loop = asyncio.get_running_loop()
        self._expected: deque[_Expected] = deque()
        self._ended = False
        self._time_limit: asyncio.Timeout | None = None
        self._reader = self._loop.create_task(self._read())

    @property
    def usable(self) -> bool:
        """Whether one more command may be sent."""
        ending = self._ended or (self._time_limit is not None and self._time_limit.expired())
        return not ending and self._connection.is_connected

    async def run(self, commands: Sequence[Command]) -> list[Reply]:
        """Send commands, and wait for their answers."""
        packed = [part for command in commands for part in self._connection.pack_command(*command)]
        answers: asyncio.Future[list[Reply]] = self._loop.create_future()
        expected = _Expected(answers, [], len(commands), self._loop.time() + self._timeout_seconds)
        self._expected.append(expected)
        if len(self._expected) == 1 and self._time_limit is not None:
            self._time_limit.reschedule(expected.deadline)  # until now it was the idle limit
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
                # It reads also while nothing is due: so a lost connection is noticed before the next command is sent.
                async with asyncio.timeout_at(until) as self._time_limit:
                    answer = await self._next_answer()
                self._deliver(answer)
        except TimeoutError:
            lost = redis.TimeoutError(f"no answer within {self._timeout_seconds:g} s") if self._expected else None
        except (RedisError, OSError) as error:
            lost = error
        finally:
            self._ended = True
            await self._return_to_pool(lost)

    async def _next_answer(self) -> Reply:
        try:
            return await self._connection.read_response(disconnect_on_error=False)
        except ResponseError as refusal:
            return refusal

    def _deliver(self, answer: Reply) -> None:
        expected = self._expected[0]
        expected.received.append(answer)
        if len(expected.received) == expected.due:
            self._expected.popleft()
            if not expected.answers.done():  # it is done if the caller was cancelled
                expected.answers.set_result(expected.received)

    async def _return_to_pool(self, lost: Exception | None) -> None:
        for expected in self._expected:
            if not expected.answers.done() and lost is not None:
                expected.answers.set_exception(lost)
        if lost is not None:
            # Answers that are still to come would be taken for those to other commands.
            await self._connection.disconnect(nowait=True)
        self._connection.socket_timeout = self._own_timeout_seconds
        await self._pool.release(self._connection)
