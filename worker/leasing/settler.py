"""Write down how jobs ended, in batches: what ends while a batch is being written forms the next one.

Used by the worker. While Redis is away the settlements are kept; their leases are renewed once it is back. If they have
lapsed by then and another worker has claimed the jobs, its runs count.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence

import structlog

from broker import queue
from broker.queue import Claims, Settlement
from broker.redis.client import OUTAGES
from broker.redis.commands import Server
from broker.redis.outage import Outage
from broker.redis.pipelined import PipelinedConnection
from broker.set_aside import set_aside_after
from broker.untrusted import is_content_fault
from worker.leasing.claimer import Claimer

logger = structlog.get_logger("worker")

BATCH_JOBS = 256
"""The most jobs of one batch: bounds how long the script keeps the server busy."""

SLOW_WRITE_SECONDS = 0.0001
"""For each job. A write that takes longer mostly waits for the disk. Then few large batches are faster, although no
handler runs meanwhile; otherwise small ones are, because handlers run while one is written."""


class Settler:
    """Gathers settlements and writes them, one batch at a time.

    Args:
        server: Redis, to set aside what is not ours.
        pipe: Redis.
        retention_ms: for how long the outcomes of delivered events can be looked up.
        outage: where an outage is noted.
        claimer: claims jobs for the places that a batch frees, in the same round trip.
        on_settled: called with each batch that is written, and the ids of its jobs whose leases had passed to others.
        batch_jobs: the most jobs of one batch while the disk is fast, at least 1 and no more than `BATCH_JOBS`.
    """

    def __init__(
        self,
        server: Server,
        pipe: PipelinedConnection,
        *,
        retention_ms: int,
        outage: Outage,
        claimer: Claimer,
        on_settled: Callable[[Sequence[Settlement], set[str]], None],
        batch_jobs: int = BATCH_JOBS,
    ) -> None:
        self._server = server
        self._pipe = pipe
        self._retention_ms = retention_ms
        self._outage = outage
        self._claimer = claimer
        self._on_settled = on_settled
        self._batch_jobs = max(1, min(batch_jobs, BATCH_JOBS))
        self._waiting: list[Settlement] = []
        self._writer: asyncio.Task[None] | None = None
        self._closed = False
        self._seconds_per_job = 0.0

    @property
    def busy(self) -> bool:
        """Whether there is something to write."""
        return self._writer is not None

    def add(self, settlement: Settlement) -> None:
        """Take how a job ended. It is written as soon as possible, or never after `close`."""
        if self._closed:
            return
        self._waiting.append(settlement)
        if self._writer is None:
            self._writer = asyncio.create_task(self._write())

    async def drain(self) -> None:
        """Wait until everything is written."""
        while self._writer is not None:
            await asyncio.wait([self._writer])

    def close(self) -> None:
        """Write nothing more. The leases lapse, or were released, and the jobs run again."""
        self._closed = True
        if self._writer is not None:
            self._writer.cancel()

    async def _write(self) -> None:
        try:
            while self._waiting:
                most = self._batch_jobs
                if self._seconds_per_job > SLOW_WRITE_SECONDS:
                    await asyncio.sleep(0)  # what was claimed with the last batch may end at once: it joins this one
                    most = BATCH_JOBS
                batch, self._waiting = self._waiting[:most], self._waiting[most:]
                await self._write_or_give_up(batch)
        finally:
            self._writer = None

    async def _write_or_give_up(self, batch: Sequence[Settlement]) -> None:
        try:
            await self._write_batch(batch)
        except Exception:
            # A fault of ours. The jobs run again when their leases lapse. Their places are freed all the same: a worker
            # with no place left would stand still and look healthy.
            logger.exception("settlement.failed", jobs=len(batch))
            self._on_settled(batch, {settlement.claim.job_id for settlement in batch})

    async def _write_batch(self, batch: Sequence[Settlement]) -> None:
        while True:
            started = time.perf_counter()
            try:
                fenced, claims = await self._settle_and_claim(batch)
            except OUTAGES as error:
                if is_content_fault(error):
                    await self._write_despite(error, batch)
                    return
                # Writing a batch twice is safe: the second time its jobs are no longer ours, and nothing happens.
                await self._outage.wait(error)
            else:
                self._outage.over()
                self._seconds_per_job = (time.perf_counter() - started) / len(batch)
                # Before the claimed jobs are started: one may be a job of this batch whose lease was lost. It is to run
                # again, and would be taken for still running if it had not given up its place.
                self._on_settled(batch, fenced)
                if claims is not None:
                    self._claimer.on_answer(claims)
                return

    async def _write_despite(self, fault: Exception, batch: Sequence[Settlement]) -> None:
        """Write a batch that was refused because of what somebody else has written: no outage, and waiting is no use.

        What has caused it is set aside where that is possible. Otherwise the others of the batch do not wait for it.

        Raises:
            Exception: the refusal, where it is about a single job.
        """
        if await set_aside_after(self._server, fault):
            await self._write_batch(batch)
        elif len(batch) > 1:
            for settlement in batch:
                await self._write_or_give_up([settlement])
        else:
            raise fault

    async def _settle_and_claim(self, batch: Sequence[Settlement]) -> tuple[set[str], Claims | None]:
        request = self._claimer.piggyback_request(len(batch))
        if request is None:
            return await queue.settle(self._pipe, batch, retention_ms=self._retention_ms), None
        try:
            return await queue.settle_and_claim(self._pipe, batch, request, retention_ms=self._retention_ms)
        except BaseException:
            self._claimer.on_no_answer()
            raise
