"""The life of a worker: start, claim and run, stop. Started by the console; `runner.py` has the run of one job.

It is an `arq.Worker` (functions, signals, health check key, burst), but its way from the queue to the handler and back
is ours: stock arq claims job by job, polls, and forgets a job for five minutes when its worker is killed.
"""

from __future__ import annotations

import asyncio
import signal
import time
from collections.abc import Collection, Container, Sequence
from contextlib import suppress

import arq
import structlog
from redis.exceptions import RedisError

from broker import ids, queue
from broker.queue import Claimed, Settlement
from broker.redis.client import OUTAGES, as_arq
from broker.redis.commands import Server
from broker.redis.outage import Outage
from broker.redis.pipelined import PipelinedConnection
from broker.set_aside import set_aside_after
from worker.arq_function import arq_function
from worker.config import WorkerConfig
from worker.leasing.claimer import CLAIM_JOBS, Claimer
from worker.leasing.inflight import InflightJobs
from worker.leasing.notifications import end, listen
from worker.leasing.renewal import LeaseRenewal
from worker.leasing.settler import Settler
from worker.runner import JobRunner
from worker.running.dispatcher import Dispatcher
from worker.running.once import OnceBlocks
from worker.running.watchdog import BlockLimits, Watchdog

POLL_SECONDS = 1.0
"""How often to look for jobs without being woken: for delayed retries, and in case a message was lost."""

OUTAGE_LOOK_SECONDS = 0.1
"""How often to look whether an outage is over that keeps settlements waiting."""

FAREWELL_SECONDS = 5.0
"""How long the last writes may take when the worker stops and Redis is slow or away."""

CANCELLED_SECONDS = 2.0
"""How long a handler may take to end that is cancelled because the worker stops; then nobody waits for it."""

logger = structlog.get_logger("worker")


class HookWorker(arq.Worker):
    """Runs handlers until it is asked to stop. Make it inside a running event loop; `await worker.async_run()`.

    Args:
        server: Redis; closed by the worker when it ends.
        dispatcher: runs the handlers of a job.
        config: see `WorkerConfig`.
        once: the blocks of `ctx.once` that are running; their keys are kept like leases.
        handle_signals: whether SIGTERM and SIGINT stop it: the first gracefully, the second at once.

    Attributes:
        watchdog: counts how often handlers have blocked the event loop.
    """

    def __init__(
        self,
        server: Server,
        dispatcher: Dispatcher,
        config: WorkerConfig,
        *,
        once: OnceBlocks | None = None,
        handle_signals: bool = True,
    ) -> None:
        super().__init__(
            functions=[arq_function(dispatcher, namespace=config.namespace)],
            queue_name=server.our_keys.queue,
            redis_pool=as_arq(server),
            burst=config.burst,
            max_jobs=config.concurrency,
            poll_delay=POLL_SECONDS,
            handle_signals=handle_signals,
        )
        self.config = config
        self._server = server
        self._dispatcher = dispatcher
        self._once = once or OnceBlocks(config.lease_ms)
        self._outage = Outage()
        self._inflight = InflightJobs(config.concurrency)
        self._wake_event = asyncio.Event()
        self._stopping = False
        self._stop_by = 0.0
        self._stop_now = asyncio.Event()
        self._connect_parts(PipelinedConnection(server))
        if handle_signals:
            self.watchdog.watch_signals((signal.SIGTERM, signal.SIGINT))

    def _connect_parts(self, pipe: PipelinedConnection) -> None:
        """Make what claims, settles, runs, renews and watches, each with what it needs of the others."""
        config, claims = self.config, self._inflight.claims
        self._claimer = Claimer(
            self._server,
            pipe,
            self._inflight,
            lease_ms=config.lease_ms,
            may_stand=not config.burst,
            start_jobs=self._start_jobs,
        )
        self._settler = Settler(
            self._server,
            pipe,
            retention_ms=config.retention_seconds * 1000,
            outage=self._outage,
            claimer=self._claimer,
            on_settled=self._on_settled,
            # Half of what may be in flight: while one half is written, the other runs.
            batch_jobs=config.concurrency // 2,
        )
        self._runner = JobRunner(
            self._server,
            self._dispatcher,
            self._inflight,
            self._settler,
            on_freed=self._wake_event.set,
            full_tracebacks=config.full_tracebacks,
        )
        self._renewal = LeaseRenewal(config.connect_blocking, lease_ms=config.lease_ms, claims=claims, once=self._once)
        limits = BlockLimits(config.lease_seconds, self._dispatcher.longest_run_seconds, config.stop_seconds)
        self.watchdog = Watchdog(
            config.connect_blocking, claims=claims, run_in=self._dispatcher.run_in, once=self._once, limits=limits
        )

    @property
    def ready(self) -> bool:
        """Whether the worker is taking on events: Redis answers, and nobody asked it to stop."""
        return not self._stopping and not self._outage.under_way

    @property
    def stopping(self) -> bool:
        """Whether somebody has asked the worker to stop."""
        return self._stopping

    @property
    def stop_seconds_left(self) -> float:
        """How much of the time to stop is left; all of it as long as nobody has asked the worker to stop."""
        if self._stop_now.is_set():
            return 0.0
        return max(0.0, self._stop_by - time.monotonic()) if self._stopping else self.config.stop_seconds

    @property
    def in_flight(self) -> int:
        """How many events are in flight."""
        return len(self._inflight)

    @property
    def handlers_abandoned(self) -> int:
        """How many events were abandoned, because a handler did not end at its time limit."""
        return self._inflight.abandoned

    async def main(self) -> None:
        """Claim and run until stopped; in burst mode until the queue is empty. Called by arq's `async_run`."""
        keys = self._server.our_keys
        listeners = {keys.wake_channel: self._on_wake, keys.push_channel(self._claimer.name): self._on_push}
        listener = asyncio.create_task(listen(self._server, listeners, lost=self._on_messages_lost))
        self._renewal.start()
        self.watchdog.start()
        logger.info("worker.started", concurrency=self.max_jobs, lease_seconds=self.config.lease_seconds)
        try:
            while not self._stopping:
                self._runner.abandon_overdue()
                wait_seconds = await self._claim_free_places()
                if self.burst and wait_seconds is None and not self._inflight:
                    break
                await self._wait_for_wake(POLL_SECONDS if wait_seconds is None else min(wait_seconds, POLL_SECONDS))
            await self._wind_down()
        finally:
            await end(listener)  # it gives its connection back
            self._renewal.stop()
            self.watchdog.stop()
            logger.info("worker.stopped", handled=self.jobs_complete, retried=self.jobs_retried, dead=self.jobs_failed)

    def stop(self) -> None:
        """Ask the worker to stop: it finishes what runs. Asked a second time, it releases what runs and stops now."""
        if self._stopping:
            self._stop_now.set()
        else:
            self._stop_by = time.monotonic() + self.config.stop_seconds
        self._stopping = True
        self._claimer.close()
        self._runner.close()
        self._wake_event.set()

    def handle_sig(self, signum: signal.Signals) -> None:
        """Stop on a signal; arq has this called for SIGTERM and SIGINT."""
        logger.info("worker.stopping", signal=signal.Signals(signum).name, in_flight=self.in_flight)
        self.stop()

    async def close(self) -> None:
        """Close the connections. An outage does not keep the worker from ending."""
        with suppress(*OUTAGES):
            await self._server.delete(self.health_check_key)
        with suppress(RedisError, OSError):
            await self._server.aclose(close_connection_pool=True)

    async def _claim_free_places(self) -> float | None:
        """Claim for the free places. Returns the seconds until the next look, None if nothing is queued."""
        self._wake_event.clear()
        if self._outage.under_way and self._settler.busy:
            # What has ended is written first: a claim would take those jobs again if their leases have lapsed.
            return OUTAGE_LOOK_SECONDS
        try:
            await self.heart_beat()
            rest_seconds = self._claimer.rest_seconds(POLL_SECONDS)
            if rest_seconds > 0:
                return rest_seconds
            free = self._inflight.free()
            if free <= 0 or self._claimer.is_asking:
                return POLL_SECONDS
            if (apart_seconds := self._claimer.apart_seconds) > 0:
                return apart_seconds
            next_due_ms = await self._claimer.claim(min(free, CLAIM_JOBS))
        except OUTAGES as error:
            if not await set_aside_after(self._server, error):
                await self._outage.wait(error)
            return 0.0
        self._outage.over()
        return None if next_due_ms is None else next_due_ms / 1000

    async def _wait_for_wake(self, seconds: float) -> None:
        if seconds <= 0 and self._inflight.free() > 0 and not self._claimer.is_asking:
            return
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._wake_event.wait()

    def _on_wake(self, _: bytes) -> None:
        self._claimer.on_wake()
        self._wake_event.set()

    def _on_push(self, message: bytes) -> None:
        self._claimer.on_push(message)
        self._wake_event.set()

    def _on_messages_lost(self) -> None:
        self._claimer.on_messages_lost()
        self._wake_event.set()

    def _start_jobs(self, claims: Sequence[Claimed]) -> None:
        self._runner.start(claims)

    def _on_settled(self, settlements: Sequence[Settlement], fenced: Container[str]) -> None:
        for settlement in settlements:
            if settlement.claim.job_id in fenced:
                logger.warning("job.fenced", job_id=ids.readable(settlement.claim.job_id))
            elif settlement.follow_ups or settlement.dead_letters:
                self.jobs_retried += len(settlement.follow_ups)
                self.jobs_failed += len(settlement.dead_letters)
                _log_trouble(settlement)
            else:
                self.jobs_complete += 1
        self._inflight.remove([settlement.claim for settlement in settlements])
        self._wake_event.set()

    async def _wind_down(self) -> None:
        """Let what runs finish; then write how it ended, and release the rest."""
        await self._end_runs()
        try:
            async with asyncio.timeout(FAREWELL_SECONDS):
                await self._settler.drain()
                await self._claimer.withdraw()
                await self._runner.released()
                unfinished = self._inflight.claims()
                if unfinished:
                    await self._once.release(self._server)
                    released = await queue.release(self._server, unfinished)
                    logger.info("jobs.released", events=released)
        except (TimeoutError, *OUTAGES) as error:
            # Nothing is lost: what could not be written runs again when its lease lapses.
            logger.warning("worker.stopped_during_outage", events=self.in_flight, error=type(error).__name__)
        self._settler.close()  # a handler that did not stop may still come to an end

    async def _end_runs(self) -> None:
        """Give what runs its time to end, and then cancel it."""
        running = self._inflight.tasks()
        stop_now = asyncio.create_task(self._stop_now.wait())
        finished = asyncio.create_task(_all_done(running))
        await asyncio.wait([finished, stop_now], timeout=self.config.stop_seconds, return_when=asyncio.FIRST_COMPLETED)
        stop_now.cancel()
        for task in running:
            task.cancel()
        await asyncio.wait([finished], timeout=CANCELLED_SECONDS)
        if not finished.done():
            finished.cancel()
            logger.warning("handler.not_stopped", events=sum(not task.done() for task in running))


async def _all_done(tasks: Collection[asyncio.Task[None]]) -> None:
    if tasks:
        await asyncio.wait(tasks)


def _log_trouble(settlement: Settlement) -> None:
    delivery = settlement.delivery
    for job, delay_ms in settlement.follow_ups:
        logger.warning("retry.scheduled", delivery=delivery, handler=job.handler, attempt=job.attempt, in_ms=delay_ms)
    for letter_id in settlement.dead_letters:
        logger.error("handler.dead_lettered", dead_letter=letter_id)
