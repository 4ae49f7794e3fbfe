"""The run of one job: read it, run its handlers, give the settler how they ended. Used by the worker.

Jobs come from the claimer, in batches. Those that there is no place for are released at once. A job whose handlers do
not end although they were cancelled is abandoned.
"""

from __future__ import annotations

import asyncio
import contextvars
import time
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress

import structlog

from broker import ids, queue
from broker.errors import MalformedRecordError
from broker.queue import Claimed
from broker.records import Job
from broker.redis.client import OUTAGES
from broker.redis.commands import Server
from worker.leasing.inflight import Inflight, InflightJobs
from worker.leasing.settler import Settler
from worker.running.dispatcher import Dispatcher
from worker.running.tracebacks import users_traceback
from worker.running.verdicts import (
    CRASH_LIMIT,
    HandlerRun,
    poison_settlement,
    settlement_of,
    unreadable_settlement,
)

logger = structlog.get_logger("worker")


class JobRunner:
    """Starts a task for each job.

    Args:
        server: Redis, to release what there is no place for.
        dispatcher: runs the handlers of a job.
        inflight: the jobs in flight.
        settler: is given how the jobs ended.
        on_freed: called when a place is free that no settlement has freed.
        full_tracebacks: whether the log shows the frames of the worker too.
    """

    def __init__(
        self,
        server: Server,
        dispatcher: Dispatcher,
        inflight: InflightJobs,
        settler: Settler,
        *,
        on_freed: Callable[[], None],
        full_tracebacks: bool = False,
    ) -> None:
        self._server = server
        self._dispatcher = dispatcher
        self._inflight = inflight
        self._settler = settler
        self._on_freed = on_freed
        self._full_tracebacks = full_tracebacks
        self._context = contextvars.copy_context()
        self._releases: set[asyncio.Task[None]] = set()
        self._closed = False

    def start(self, claims: Sequence[Claimed]) -> None:
        """Start what was claimed or pushed; release at once what there is no place for."""
        loop, now = asyncio.get_running_loop(), time.monotonic()
        unwanted = []
        for claim in claims:
            inflight = self._inflight.add(claim, now=now)
            if inflight is None:
                continue
            # More than there are places for may come if a claim was sent while a push was on its way.
            if self._closed or self._inflight.free() < 0:
                unwanted.append(claim)
                continue
            # A task for each, although most end in their first step: a handler's libraries expect one of their own.
            # Each in a fresh context, without the variables of the handler that has just ended and made a place.
            inflight.task = loop.create_task(self._run(inflight), context=self._context.copy())
        if unwanted:
            release = loop.create_task(self._release(unwanted))
            self._releases.add(release)
            release.add_done_callback(self._releases.discard)

    def abandon_overdue(self) -> None:
        """Wait no longer for handlers that do not end although they were cancelled: their attempt has failed."""
        for inflight, job in self._inflight.overdue(self._dispatcher.time_limit_seconds, now=time.monotonic()):
            runs = self._dispatcher.abandoned_runs(job)
            failed = [run.handler for run in runs if run.ended == "failed"]
            logger.error("handler.abandoned", delivery=job.delivery, handlers=failed)
            self._inflight.abandon(inflight)
            self._settler.add(settlement_of(inflight.claim, job, runs, now_ms=_now_ms()))

    def close(self) -> None:
        """Start nothing more: what still comes is released."""
        self._closed = True

    async def released(self) -> None:
        """Wait until all is released that there was no place for."""
        await asyncio.gather(*self._releases)

    async def _run(self, inflight: Inflight) -> None:
        try:
            job = self._read(inflight.claim)
            if job is None:
                return
            runs = await self._dispatcher.dispatch(job)
            if inflight.task is None:
                logger.warning("handler.ended_late", delivery=job.delivery)
                return
            # Not the claim from before: the lease may have lapsed meanwhile, and we claimed the job again.
            self._settler.add(settlement_of(inflight.claim, job, runs, now_ms=_now_ms()))
            for run in runs:
                if run.ended in {"failed", "unfit"}:
                    self._log_failure(job, run)
        except Exception:
            # A fault of ours, not of a handler. The job runs again when its lease lapses, and in the end it is poison.
            logger.exception("job.failed", job_id=ids.readable(inflight.claim.job_id))
            self._free([inflight.claim])

    def _log_failure(self, job: Job, run: HandlerRun) -> None:
        """Log a failed attempt; the first one of a handler with its traceback, which begins in the user's code."""
        trace = {}
        if run.traceback and job.attempt == 1:
            trace["exception"] = run.traceback if self._full_tracebacks else users_traceback(run.traceback)
        logger.warning(
            "handler.failed",
            event_id=job.record.id,
            delivery=job.delivery,
            handler=run.handler,
            attempt=job.attempt,
            error=run.error,
            **{key: text for key, text in trace.items() if text},
        )

    def _read(self, claim: Claimed) -> Job | None:
        """The job to run. None if it cannot be read, or is not to run again; then it is settled."""
        try:
            job = Job.from_bytes(claim.payload or b"").queued_as(claim.job_id)
        except MalformedRecordError as fault:
            gone = "the job was removed from Redis while it was queued"
            error = gone if claim.payload is None else str(fault)
            # The same line for each: no traceback of ours helps with what somebody else has written.
            logger.warning("job.unreadable", job_id=ids.readable(claim.job_id), error=error)
            self._settler.add(unreadable_settlement(claim, error=error, now_ms=_now_ms()))
            return None
        if claim.crashes >= CRASH_LIMIT:
            self._settler.add(poison_settlement(claim, job, now_ms=_now_ms()))
            return None
        return job

    async def _release(self, claims: Sequence[Claimed]) -> None:
        with suppress(*OUTAGES):  # if not now, then when the worker stops
            await queue.release(self._server, claims)
            self._free(claims)

    def _free(self, claims: Iterable[Claimed]) -> None:
        self._inflight.remove(claims)
        self._on_freed()


def _now_ms() -> int:
    return time.time_ns() // 1_000_000
