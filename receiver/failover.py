"""Where the receiver writes events: to Redis, and while Redis cannot take them, to the spool.

The group commit calls it: `GroupCommit(failover.write)`. A batch that Redis did not take in time is spooled. Those that
come later go to the spool at once, until Redis takes events again. Then live batches go directly to Redis, and the
spool is drained beside them: after each of its batches the draining pauses for as long as that batch took.

An event may be written twice, if the answer to the first write was lost. The broker recognises it.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from types import TracebackType
from typing import Final, Literal, Self

import structlog

from broker.errors import BrokerUnavailableError
from broker.records import Job
from broker.redis.client import COMMAND_TIMEOUT_SECONDS
from konvox.backoff import ceiling_seconds, equal_jitter_seconds
from receiver.errors import SpoolError, SpoolFullError
from receiver.spool import Spool, SpoolBatch

State = Literal["direct", "spooling", "draining"]
"""`direct`: Redis takes events, and the spool is empty; `spooling`: Redis does not take them; `draining`: it does
again, and the spool is not empty yet."""

Write = Callable[[Sequence[Job]], Awaitable[list[bool]]]
"""Writes a batch to Redis; raises BrokerUnavailableError if Redis did not confirm it."""

ADOPT_SECONDS: Final = 10.0
"""How often to look for what dead processes have left over."""

DRAIN_EVENTS: Final = 256
"""The most events of one batch to drain: a live batch may have to wait for it (about 6 ms)."""

_FIRST_WAIT_SECONDS: Final = 0.2
_LONGEST_WAIT_SECONDS: Final = 2.0
_MOST_FAILURES: Final = DRAIN_EVENTS.bit_length() - 1
"""How many failures count: after so many, a batch to drain holds a single event."""

logger = structlog.get_logger("receiver")


class FailoverWriter:
    """Keeps events in Redis, or else in the spool. An async context manager: it drains the spool as long as it is open.

    Args:
        write: writes a batch to Redis.
        spool: where the events go that Redis does not take.
        write_seconds: how long Redis is given.
        adopt_seconds: how often to look for what dead processes have left over.
    """

    def __init__(
        self,
        write: Write,
        spool: Spool,
        *,
        write_seconds: float = COMMAND_TIMEOUT_SECONDS,
        adopt_seconds: float = ADOPT_SECONDS,
    ) -> None:
        self._write_to_broker = write
        self._spool = spool
        self._appends = _SharedAppends(spool)
        self._write_seconds = write_seconds
        self._adopt_seconds = adopt_seconds
        self._state: State = "direct"
        self._failures = 0
        self._spool_fault: SpoolError | None = None
        self._unreadable = False
        self._drained = 0
        self._wake_event = asyncio.Event()
        self._stopping = asyncio.Event()
        self._drainer: asyncio.Task[None] | None = None

    async def __aenter__(self) -> Self:
        self._drainer = asyncio.create_task(self._drain_until_stopped())
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """End the draining behind the batch that is under way. What is still spooled stays on disk."""
        self._stopping.set()
        self._wake_event.set()
        if self._drainer is not None:
            await self._drainer

    @property
    def state(self) -> State:
        """Where events go at the moment."""
        return self._state

    @property
    def ready(self) -> bool:
        """Whether an event that comes now would be kept: by Redis, or by the spool."""
        return self._state != "spooling" or self._spool_fault is None

    @property
    def spooled_events(self) -> int:
        """How many events wait in the spool."""
        return self._spool.count

    @property
    def spooled_bytes(self) -> int:
        """How much room they take."""
        return self._spool.used_bytes

    async def look(self) -> None:
        """Find out whether Redis takes events, before the next one comes."""
        try:
            await self._write([])
        except BrokerUnavailableError as outage:
            self._enter_spooling(outage)

    async def write(self, jobs: Sequence[Job]) -> list[bool]:
        """Keep a batch: True for each event that is new, False for a duplicate. Returns once it is durable.

        Raises:
            BrokerUnavailableError: neither Redis nor the spool has taken it; either may have, all the same.
        """
        if self._state == "spooling":
            return await self.spool(jobs)
        try:
            return await self._write(jobs)
        except BrokerUnavailableError as outage:
            self._enter_spooling(outage)
            return await self.spool(jobs)

    async def spool(self, jobs: Sequence[Job]) -> list[bool]:
        """The same without asking Redis: for what is more than Redis could take in time."""
        try:
            verdicts = await self._appends.append(jobs)
        except SpoolError as fault:
            self._note_spool(fault)
            raise BrokerUnavailableError(str(fault)) from fault
        finally:
            self._wake_event.set()
        self._note_spool(None)
        return verdicts

    async def _write(self, jobs: Sequence[Job]) -> list[bool]:
        try:
            async with asyncio.timeout(self._write_seconds):
                return await self._write_to_broker(jobs)
        except TimeoutError:
            raise BrokerUnavailableError(f"no answer within {self._write_seconds:g} s") from None

    async def _drain_until_stopped(self) -> None:
        while not self._stopping.is_set():
            self._wake_event.clear()
            try:
                await self._adopt()
                await self._drain()
            except Exception:
                # A fault of ours. Live events must not depend on it, and the next look tries again.
                logger.exception("failover.failed")
                await self._pause(_LONGEST_WAIT_SECONDS)
                continue
            with suppress(TimeoutError):
                async with asyncio.timeout(self._adopt_seconds):
                    await self._wake_event.wait()

    async def _adopt(self) -> None:
        try:
            await self._spool.adopt()
        except SpoolError as error:
            logger.warning("spool.not_searched", reason=error.reason)

    async def _drain(self) -> None:
        """Move what is spooled to Redis, until nothing is left or the writer is closed."""
        while not self._stopping.is_set() and (self._state == "spooling" or self._spool.count):
            batch = await self._oldest()
            started = time.monotonic()
            try:
                # Without events it finds out whether Redis answers.
                await self._write(batch.jobs if batch else [])
            except BrokerUnavailableError as outage:
                self._enter_spooling(outage)
                await self._recheck_spool()
                await self._pause(self._backoff_seconds())
                continue
            took_seconds = time.monotonic() - started
            self._enter_draining()
            if batch is not None:
                await self._remove(batch)
            if self._spool.count == 0:
                self._enter_direct()
            else:
                await self._pause(_LONGEST_WAIT_SECONDS if self._unreadable else took_seconds)

    async def _oldest(self) -> SpoolBatch | None:
        # Where Redis failed, fewer at a time: it may be slow, or nearly full.
        most_events = DRAIN_EVENTS >> self._failures
        try:
            batch = await self._spool.oldest(most_events)
        except SpoolError as error:
            if not self._unreadable:
                logger.warning("spool.not_read", reason=error.reason)
            self._unreadable = True
            return None
        self._unreadable = False
        return batch

    async def _remove(self, batch: SpoolBatch) -> None:
        self._drained += len(batch.jobs)
        try:
            await self._spool.remove(batch)
        except SpoolError as error:
            # It may be drained once more, and Redis knows what it has seen.
            logger.warning("drain.not_recorded", reason=error.reason)
            await self._pause(_LONGEST_WAIT_SECONDS)

    def _enter_spooling(self, outage: BrokerUnavailableError) -> None:
        self._failures = min(self._failures + 1, _MOST_FAILURES)
        if self._state != "spooling":
            logger.warning("spooling.started", reason=outage.reason, spooled=self._spool.count)
            self._state = "spooling"
        self._wake_event.set()

    def _enter_draining(self) -> None:
        self._failures = max(self._failures - 1, 0)
        if self._state != "draining":
            logger.info("drain.started", spooled=self._spool.count)
            self._state = "draining"

    def _enter_direct(self) -> None:
        logger.info("drain.finished", events=self._drained)
        self._state, self._failures, self._drained = "direct", 0, 0

    async def _recheck_spool(self) -> None:
        """Where the spool took nothing, see whether it would now: nobody may send us events meanwhile."""
        if self._spool_fault is None:
            return
        with suppress(SpoolError):
            await self._spool.append([])
            self._note_spool(None)

    def _note_spool(self, fault: SpoolError | None) -> None:
        if (fault is None) != (self._spool_fault is None):
            if fault is not None:
                logger.error("storage.lost", reason=fault.reason)
            else:
                logger.info("storage.restored")
        self._spool_fault = fault

    def _backoff_seconds(self) -> float:
        return equal_jitter_seconds(ceiling_seconds(_FIRST_WAIT_SECONDS, _LONGEST_WAIT_SECONDS, self._failures))

    async def _pause(self, seconds: float) -> None:
        """Wait, unless the writer is closed meanwhile."""
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._stopping.wait()


class _SharedAppends:
    """Appends to the spool. Batches that come while the disk is at work are appended together, and share one fsync."""

    def __init__(self, spool: Spool) -> None:
        self._spool = spool
        self._turn = asyncio.Lock()
        self._gathered: list[Job] = []
        self._verdicts: asyncio.Future[list[bool]] | None = None

    async def append(self, jobs: Sequence[Job]) -> list[bool]:
        """See `Spool.append`."""
        if self._verdicts is None:
            self._gathered, self._verdicts = [], asyncio.get_running_loop().create_future()
        gathered, verdicts, first = self._gathered, self._verdicts, len(self._gathered)
        gathered += jobs
        async with self._turn:
            if verdicts is self._verdicts:  # the first of them to get its turn appends for all
                self._verdicts = None
                await self._append(gathered, verdicts)
        return (await verdicts)[first : first + len(jobs)]

    async def _append(self, jobs: Sequence[Job], verdicts: asyncio.Future[list[bool]]) -> None:
        try:
            verdicts.set_result(await self._spool.append(jobs))
        except SpoolError as fault:
            _fail(verdicts, fault)
            if self._verdicts is not None and not isinstance(fault, SpoolFullError):
                # Those that wait are told as well: their senders have no time for a disk that fails once more.
                _fail(self._verdicts, fault)
                self._verdicts = None


def _fail(verdicts: asyncio.Future[list[bool]], fault: SpoolError) -> None:
    verdicts.set_exception(fault)
    verdicts.exception()  # asyncio need not complain if all who wait have been cancelled
