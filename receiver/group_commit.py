"""Group commit: gathers the events of concurrent requests into batches, each of which is written in one round trip.

Used by the public listener for every event. What a batch is written to is `receiver.failover`: Redis, or the spool.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Sequence

from broker.admission import BATCH_BYTES, BATCH_EVENTS, Write
from broker.errors import BrokerUnavailableError
from broker.records import Job
from receiver.errors import OverloadedError

BATCHES_IN_FLIGHT = 4
"""The most batches at a time: enough for the server to have the next at hand, few enough to grow when it is slow."""

AdmissionResult = bool | Exception
"""What became of an event: True if accepted, False if it is a duplicate, or why it is not known to be kept."""

OnResult = Callable[[AdmissionResult], None]
"""Called with what became of an event. It must not raise."""

MAX_WAITING_EVENTS = 4 * BATCH_EVENTS
"""How many events may wait for a batch. When more wait, Redis is slower than they come, and they overflow."""


class GroupCommit:
    """Gathers the events of concurrent callers into batches.

    Events that come in one turn of the event loop go out together. Once `BATCHES_IN_FLIGHT` are in flight, the next
    batch gathers until one of them comes back.

    Args:
        write: makes a batch durable.
        overflow: makes a batch durable elsewhere when too many events wait; without it, further events fail.
    """

    def __init__(self, write: Write, *, overflow: Write | None = None) -> None:
        self._write_batch = write
        self._overflow = overflow
        self._waiting: list[tuple[Job, OnResult]] = []
        self._in_flight = 0
        self._overflowing = False
        self._starting = False
        self._tasks: set[asyncio.Task[None]] = set()

    def submit(self, job: Job, on_result: OnResult) -> None:
        """Admit one event; `on_result` is called once the batch that holds it is durable, or not going to be."""
        self._enqueue([(job, on_result)])

    def _enqueue(self, entries: Sequence[tuple[Job, OnResult]]) -> None:
        if len(self._waiting) >= MAX_WAITING_EVENTS and not self._overflow_oldest():
            _report_soon(entries, OverloadedError("more events wait than can be written"))
            return
        self._waiting += entries
        if not self._starting and self._in_flight < BATCHES_IN_FLIGHT:
            # Not at once: what else has arrived by now goes along.
            self._starting = True
            asyncio.get_running_loop().call_soon(self._start)

    async def admit(self, job: Job) -> bool:
        """Admit one event, and wait until the batch that holds it is durable.

        Returns:
            True if it was accepted, False if it is a duplicate.

        Raises:
            OverloadedError: too many events wait.
            BrokerUnavailableError: the event is not known to be kept.
        """
        answer: asyncio.Future[AdmissionResult] = asyncio.get_running_loop().create_future()

        def on_result(result: AdmissionResult) -> None:
            if not answer.done():  # it is done if the caller was cancelled: its client has gone away
                answer.set_result(result)

        self.submit(job, on_result)
        result = await answer
        if isinstance(result, Exception):
            raise result
        return result

    async def admit_together(self, jobs: Sequence[Job]) -> list[bool]:
        """Admit the events of one request in one batch, all or none, and wait until it is durable.

        Args:
            jobs: at least one, and no more than `BATCH_EVENTS`.

        Returns:
            True for each that was accepted, False for a duplicate.

        Raises:
            OverloadedError: too many events wait.
            BrokerUnavailableError: the events are not known to be kept.
        """
        together = _Together(len(jobs))
        self._enqueue([(job, together) for job in jobs])
        return await together.answer

    async def drain(self) -> None:
        """Wait until everything submitted so far has been answered."""
        while self._waiting or self._tasks:
            await asyncio.sleep(0)
            if self._tasks:
                await asyncio.wait(self._tasks)

    def _start(self) -> bool:
        """Send the batches that may go; returns whether any went."""
        self._starting = False
        before = self._in_flight
        while self._waiting and self._in_flight < BATCHES_IN_FLIGHT:
            self._in_flight += 1
            self._run(self._commit(self._next_batch()))
        return self._in_flight > before

    async def _commit(self, batch: list[tuple[Job, OnResult]]) -> None:
        results = await self._results(batch, self._write_batch)
        self._in_flight -= 1
        if self._start():
            # The next batch goes out before these callers are answered, or the server would wait for us. Its task needs
            # one turn of the loop to begin, and one for its bytes to leave.
            await asyncio.sleep(0)
            await asyncio.sleep(0)
        _report(batch, results)

    def _overflow_oldest(self) -> bool:
        """Send the events that have waited longest elsewhere; returns whether that is possible."""
        if self._overflow is None or self._overflowing:
            return False
        self._overflowing = True
        self._run(self._commit_elsewhere(self._next_batch(), self._overflow))
        return True

    async def _commit_elsewhere(self, batch: list[tuple[Job, OnResult]], overflow: Write) -> None:
        results = await self._results(batch, overflow)
        self._overflowing = False
        _report(batch, results)

    def _run(self, commit: Coroutine[None, None, None]) -> None:
        task = asyncio.create_task(commit)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def _next_batch(self) -> list[tuple[Job, OnResult]]:
        count = _batch_of(self._waiting)
        batch, self._waiting = self._waiting[:count], self._waiting[count:]
        return batch

    async def _results(self, batch: list[tuple[Job, OnResult]], write: Write) -> Sequence[AdmissionResult]:
        try:
            return await write([job for job, _ in batch])
        except BrokerUnavailableError as outage:
            # Those that wait behind the batch fail with it: an outage is found once, not once a batch.
            behind, self._waiting = self._waiting, []
            _report(behind, [outage] * len(behind))
            return [outage] * len(batch)
        except Exception as fault:  # noqa: BLE001 - each caller must hear of any fault, or its request hangs
            return [fault] * len(batch)


class _Together:
    """Hears what became of the events of one request, which go into one batch.

    Attributes:
        count: how many they are.
        answer: what became of each, or why none is known to be kept.
    """

    def __init__(self, count: int) -> None:
        self.count = count
        self.answer: asyncio.Future[list[bool]] = asyncio.get_running_loop().create_future()
        self._results: list[bool] = []

    def __call__(self, result: AdmissionResult) -> None:
        """Called with what became of one of them, in their order."""
        if self.answer.done():  # it has failed, or the caller was cancelled: its client has gone away
            return
        if isinstance(result, Exception):
            self.answer.set_exception(result)
            return
        self._results.append(result)
        if len(self._results) == self.count:
            self.answer.set_result(self._results)


def _batch_of(waiting: Sequence[tuple[Job, OnResult]]) -> int:
    """How many of the waiting events make the next batch: at least one."""
    size_bytes = 0
    for count, (job, _) in enumerate(waiting[:BATCH_EVENTS]):
        size_bytes += len(job.record.body)
        if size_bytes > BATCH_BYTES:
            return _uncut(waiting, max(count, 1))
    return _uncut(waiting, min(len(waiting), BATCH_EVENTS))


def _uncut(waiting: Sequence[tuple[Job, OnResult]], count: int) -> int:
    """A number near `count` at which events that belong together are not separated."""
    if count == len(waiting):
        return count
    together = waiting[count][1]
    if not isinstance(together, _Together) or waiting[count - 1][1] is not together:
        return count
    before = next(place for place, (_, on_result) in enumerate(waiting) if on_result is together)
    return before or together.count


def _report(batch: Sequence[tuple[Job, OnResult]], results: Sequence[AdmissionResult]) -> None:
    for (_, on_result), result in zip(batch, results, strict=True):
        on_result(result)


def _report_soon(batch: Sequence[tuple[Job, OnResult]], result: AdmissionResult) -> None:
    for _, on_result in batch:
        asyncio.get_running_loop().call_soon(on_result, result)
