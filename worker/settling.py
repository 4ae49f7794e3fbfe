"""Write down how jobs ended, in batches: what ends while a batch is under way forms the next one.

Used by the worker. While Redis is away the settlements are held on to; their leases are renewed once it is back, or
have lapsed, and then somebody else's run counts.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence

import structlog

from broker import queue
from broker.queue import Claims, Settlement
from broker.redis.client import OUTAGES
from broker.redis.outage import Outage
from broker.redis.pipelined import PipelinedConnection
from worker.claiming import Claimer

logger = structlog.get_logger("worker")

BATCH_JOBS = 256
"""The most jobs of one batch: bounds how long the script keeps the server busy."""

SLOW_WRITE_SECONDS = 0.0001
"""For each job. A write that takes longer mostly waits for the disk. Fewer and larger ones are faster then, although
nothing runs beside them; otherwise the smaller ones are, beside which others run."""


class Settler:
    """Gathers settlements and writes them, one batch under way at a time.

    Args:
        pipe: Redis.
        retention_ms: for how long the outcomes of delivered events can be looked up.
        outage: where an outage is noted.
        claimer: claims what may take the places of a batch, in the same round trip.
        settled: called for each batch once it is written, with the ids of the jobs whose leases had passed to others.
        batch_jobs: the most jobs of one batch while the disk is fast, at least 1 and no more than `BATCH_JOBS`.
    """

    def __init__(
        self,
        pipe: PipelinedConnection,
        *,
        retention_ms: int,
        outage: Outage,
        claimer: Claimer,
        settled: Callable[[Sequence[Settlement], set[str]], None],
        batch_jobs: int = BATCH_JOBS,
    ) -> None:
        self._pipe = pipe
        self._retention_ms = retention_ms
        self._outage = outage
        self._claimer = claimer
        self._settled = settled
        self._batch_jobs = max(1, min(batch_jobs, BATCH_JOBS))
        self._waiting: list[Settlement] = []
        self._writer: asyncio.Task[None] | None = None
        self._abandoned = False
        self._seconds_for_each = 0.0

    @property
    def busy(self) -> bool:
        """Whether there is something to write."""
        return self._writer is not None

    def add(self, settlement: Settlement) -> None:
        """Hand in how a job ended; it is written as soon as may be, or never after `abandon`."""
        if self._abandoned:
            return
        self._waiting.append(settlement)
        if self._writer is None:
            self._writer = asyncio.create_task(self._write())

    async def drain(self) -> None:
        """Wait until everything handed in is written."""
        while self._writer is not None:
            await asyncio.wait([self._writer])

    def abandon(self) -> None:
        """Write nothing more: the leases lapse, or were handed back, and the jobs are run again."""
        self._abandoned = True
        if self._writer is not None:
            self._writer.cancel()

    async def _write(self) -> None:
        try:
            while self._waiting:
                most = self._batch_jobs
                if self._seconds_for_each > SLOW_WRITE_SECONDS:
                    await asyncio.sleep(0)  # what was claimed with the last batch may end at once, and come along
                    most = BATCH_JOBS
                batch, self._waiting = self._waiting[:most], self._waiting[most:]
                try:
                    await self._write_batch(batch)
                except Exception:
                    # A fault of ours. Whoever is let go of unwritten is run again when its lease lapses.
                    logger.exception("settlement.failed", jobs=len(batch))
                    self._settled(batch, {settlement.claim.job_id for settlement in batch})
        finally:
            self._writer = None

    async def _write_batch(self, batch: Sequence[Settlement]) -> None:
        while True:
            started = time.perf_counter()
            try:
                fenced, claims = await self._settle_and_claim(batch)
            except OUTAGES as error:
                # Writing a batch twice is safe: the second time its jobs are no longer ours, and nothing happens.
                await self._outage.wait(error)
            else:
                self._outage.over()
                self._seconds_for_each = (time.perf_counter() - started) / len(batch)
                self._settled(batch, fenced)  # first: a job whose lease was lost may be among the claimed ones
                if claims is not None:
                    self._claimer.answered(claims)
                return

    async def _settle_and_claim(self, batch: Sequence[Settlement]) -> tuple[set[str], Claims | None]:
        request = self._claimer.along(len(batch))
        if request is None:
            return await queue.settle(self._pipe, batch, retention_ms=self._retention_ms), None
        try:
            return await queue.settle_and_claim(self._pipe, batch, request, retention_ms=self._retention_ms)
        except BaseException:
            self._claimer.lost()
            raise
