"""What the receiver admits through: Redis, and while Redis cannot take events, the spool.

It goes between the group commit and the broker: `GroupCommit(intake.write)`. A batch that Redis did not take in time is
spooled, and those after it go to the spool at once, until what is spooled can be drained. Live batches come first: they
go to Redis directly again as soon as it takes anything, and the draining pauses as long as its own batches last.

What was written twice, because the answer to the first time was lost, is recognised by the broker.
"""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from types import TracebackType
from typing import Final, Literal, Self, TypeVar

import structlog

from broker.errors import BrokerUnavailableError
from broker.records import Job
from broker.redis.client import COMMAND_TIMEOUT_SECONDS
from receiver.errors import SpoolError
from receiver.spool import SpoolBatch, SpoolFolder

State = Literal["direct", "spooling", "draining"]
"""`direct`: Redis takes events, and the spool is empty; `spooling`: Redis does not take them; `draining`: it does
again, and the spool is not empty yet."""

Write = Callable[[Sequence[Job]], Awaitable[list[bool]]]
"""Writes a batch to Redis; raises BrokerUnavailableError if Redis did not confirm it."""

SPOOL_SECONDS: Final = 4.0
"""How long the disk is given; with the time that Redis is given, a sender is answered in less than its 10 s."""

LOOK_SECONDS: Final = 10.0
"""How often to look for what other processes have left over."""

DRAIN_EVENTS: Final = 256
"""The most events of one batch to drain: a live batch may have to wait for it (about 6 ms)."""

_FIRST_WAIT_SECONDS: Final = 0.1
_LONGEST_WAIT_SECONDS: Final = 2.0
_MOST_FAILURES: Final = DRAIN_EVENTS.bit_length() - 1
"""How many failures count: after so many, a batch to drain holds a single event."""

logger = structlog.get_logger("receiver")

T = TypeVar("T")


class Intake:
    """Keeps events in Redis, or else in the spool. An async context manager: it drains the spool as long as it is open.

    Args:
        write: writes a batch to Redis.
        spool: where the events go that Redis does not take.
        write_seconds: how long Redis is given.
        look_seconds: how often to look for what other processes have left over.
    """

    def __init__(
        self,
        write: Write,
        spool: SpoolFolder,
        *,
        write_seconds: float = COMMAND_TIMEOUT_SECONDS,
        look_seconds: float = LOOK_SECONDS,
    ) -> None:
        self._write_to_broker = write
        self._spool = spool
        self._write_seconds = write_seconds
        self._look_seconds = look_seconds
        self._state: State = "direct"
        self._failures = 0
        self._spool_fault: SpoolError | None = None
        self._unreadable = False
        self._drained = 0
        self._stirred = asyncio.Event()
        self._stopping = asyncio.Event()
        self._drainer: asyncio.Task[None] | None = None

    async def __aenter__(self) -> Self:
        self._drainer = asyncio.create_task(self._drain_until_stopped())
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """End the draining behind the batch that is under way. Whatever is still spooled stays on disk."""
        self._stopping.set()
        self._stirred.set()
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
            verdicts = await _in_time(self._spool.append(jobs))
        except SpoolError as fault:
            self._note_spool(fault)
            raise BrokerUnavailableError(str(fault)) from fault
        finally:
            self._stirred.set()
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
            self._stirred.clear()
            try:
                await self._take_up()
                await self._drain()
            except Exception:
                # A fault of ours. Live events must not depend on it, and the next look tries again.
                logger.exception("failover.failed")
                await self._pause(_LONGEST_WAIT_SECONDS)
                continue
            with suppress(TimeoutError):
                async with asyncio.timeout(self._look_seconds):
                    await self._stirred.wait()

    async def _take_up(self) -> None:
        try:
            await self._spool.take_up()
        except SpoolError as error:
            logger.warning("spool.not_searched", reason=error.reason)

    async def _drain(self) -> None:
        """Move what is spooled to Redis, until nothing is left or the intake is closed."""
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
                await self._spool.remove(batch)
                self._drained += len(batch.jobs)
            if self._spool.count == 0:
                self._enter_direct()
            else:
                await self._pause(_LONGEST_WAIT_SECONDS if self._unreadable else took_seconds)

    async def _oldest(self) -> SpoolBatch | None:
        # Where Redis failed, fewer at a time: it may be slow, or nearly full.
        most_events = DRAIN_EVENTS >> self._failures
        try:
            batch = await _in_time(self._spool.oldest(most_events))
        except SpoolError as error:
            if not self._unreadable:
                logger.warning("spool.not_read", reason=error.reason)
            self._unreadable = True
            return None
        self._unreadable = False
        return batch

    def _enter_spooling(self, outage: BrokerUnavailableError) -> None:
        self._failures = min(self._failures + 1, _MOST_FAILURES)
        if self._state != "spooling":
            logger.warning("spooling.started", reason=outage.reason, spooled=self._spool.count)
            self._state = "spooling"
        self._stirred.set()

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
            await _in_time(self._spool.check_writable())
            self._note_spool(None)

    def _note_spool(self, fault: SpoolError | None) -> None:
        if (fault is None) != (self._spool_fault is None):
            if fault is not None:
                logger.error("storage.lost", reason=fault.reason)
            else:
                logger.info("storage.restored")
        self._spool_fault = fault

    def _backoff_seconds(self) -> float:
        ceiling = min(_LONGEST_WAIT_SECONDS, _FIRST_WAIT_SECONDS * 2.0**self._failures)
        return random.uniform(ceiling / 2, ceiling)  # noqa: S311 - jitter, not a secret

    async def _pause(self, seconds: float) -> None:
        """Wait, unless the intake is closed meanwhile."""
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._stopping.wait()


async def _in_time(disk_work: Awaitable[T]) -> T:
    try:
        async with asyncio.timeout(SPOOL_SECONDS):
            return await disk_work
    except TimeoutError:
        raise SpoolError(f"the disk did not answer within {SPOOL_SECONDS:g} s") from None
