"""The worker: claims due jobs in bulk, runs their handlers, settles them. Started by the console.

It is an `arq.Worker` (functions, signals, health check key, burst), whose path from queue to handler and back is ours:
stock arq claims job by job, polls, and forgets a job for five minutes when its worker is killed.
"""

from __future__ import annotations

import asyncio
import contextvars
import signal
import time
from collections.abc import Collection, Container, Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass

import arq
import structlog
from redis.exceptions import RedisError

from broker import keys, queue
from broker.errors import MalformedRecordError
from broker.queue import Claimed, Settlement
from broker.records import Job
from broker.redis.client import OUTAGES, as_arq
from broker.redis.commands import Server
from broker.redis.outage import Outage
from broker.redis.pipelined import PipelinedConnection
from worker.claiming import CLAIM_JOBS, Claimer
from worker.dispatch import Dispatcher
from worker.in_hand import Held, JobsInHand
from worker.once import OnceBlocks
from worker.policy import CRASH_LIMIT, HandlerRun, poison_settlement, settlement_of, unreadable_settlement
from worker.renewal import RENEWALS_PER_LEASE, LeaseRenewal
from worker.settling import Settler
from worker.stock import arq_function
from worker.wakeup import end, listen
from worker.watchdog import Patience, Watchdog

POLL_SECONDS = 1.0
"""How often to look without having been woken: the net below pub/sub, and the grain of delayed retries."""

OUTAGE_LOOK_SECONDS = 0.1
"""How often to look whether an outage is over that keeps settlements waiting."""

FAREWELL_SECONDS = 5.0
"""How long the last writes may take when the worker stops and Redis is slow or away."""

CANCELLED_SECONDS = 2.0
"""How long a handler that is cancelled may take to end, before it is left behind."""

logger = structlog.get_logger("worker")


@dataclass(frozen=True, slots=True)
class WorkerConfig:
    """What the operator chose.

    Attributes:
        redis_url: Redis; the lease renewal makes a connection of its own.
        concurrency: events in flight.
        lease_seconds: for how long the events of a worker that died stay with it.
        stop_seconds: how long running handlers are given when the worker is asked to stop.
        retention_seconds: for how long the outcomes of delivered events can be looked up.
        burst: stop once nothing is left in the queue, retries included.
    """

    redis_url: str
    concurrency: int = 100
    lease_seconds: float = 15.0
    stop_seconds: float = 20.0
    retention_seconds: int = 604_800
    burst: bool = False

    @property
    def lease_ms(self) -> int:
        """The lease in ms."""
        return round(self.lease_seconds * 1000)


class HookWorker(arq.Worker):
    """Runs handlers until it is told to stop. Make it inside a running event loop; `await worker.async_run()`.

    Args:
        server: Redis; closed by the worker when it ends.
        dispatcher: runs the handlers of a job.
        config: see `WorkerConfig`.
        once: the blocks of `ctx.once` that are running; they are kept like leases.
        handle_signals: whether SIGTERM and SIGINT stop it: the first gracefully, the second at once.

    Attributes:
        watchdog: tells how often handlers have blocked the event loop.
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
            functions=[arq_function(dispatcher)],
            queue_name=keys.QUEUE,
            redis_pool=as_arq(server),
            burst=config.burst,
            max_jobs=config.concurrency,
            poll_delay=POLL_SECONDS,
            handle_signals=handle_signals,
        )
        self.config = config
        self._server = server
        self._dispatcher = dispatcher
        self._in_hand = JobsInHand(config.concurrency)
        self._handing_back: set[asyncio.Task[None]] = set()
        self._context = contextvars.copy_context()
        self._stirred = asyncio.Event()
        self._stopping = False
        self._stop_by = 0.0
        self._stop_now = asyncio.Event()
        self._outage = Outage()
        pipe = PipelinedConnection(server)
        self._claimer = Claimer(
            server,
            pipe,
            lease_ms=config.lease_ms,
            too_late_seconds=config.lease_seconds / RENEWALS_PER_LEASE,
            held=self._in_hand.claims,
            places=0 if config.burst else self.max_jobs,
            free=self._in_hand.free,
            suspect_wanted=self._in_hand.suspect_wanted,
            take=self._take,
        )
        self._settler = Settler(
            pipe,
            retention_ms=config.retention_seconds * 1000,
            outage=self._outage,
            claimer=self._claimer,
            settled=self._let_go,
            # Half of what may be in flight: while one half is written, the other runs.
            batch_jobs=config.concurrency // 2,
        )
        self._once = once or OnceBlocks(config.lease_ms)
        self._renewal = LeaseRenewal(
            config.redis_url, lease_ms=config.lease_ms, held=self._in_hand.claims, once=self._once
        )
        patience = Patience(config.lease_seconds, dispatcher.longest_run_seconds, config.stop_seconds)
        self.watchdog = Watchdog(config.redis_url, held=self._in_hand.claims, once=self._once, patience=patience)
        if handle_signals:
            self.watchdog.heed((signal.SIGTERM, signal.SIGINT))

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
        """How many events are in hand."""
        return len(self._in_hand)

    @property
    def tasks_left_behind(self) -> int:
        """How many events had a handler that would not end at its time limit."""
        return self._in_hand.left_behind

    async def main(self) -> None:
        """Claim and run until stopped; in burst mode until the queue is empty. Called by arq's `async_run`."""
        heard = {keys.WAKE_CHANNEL: self._wake, keys.hand_over_channel(self._claimer.name): self._handed_over}
        listener = asyncio.create_task(listen(self._server, heard, lost=self._lost))
        self._renewal.start()
        self.watchdog.start()
        logger.info("worker.started", concurrency=self.max_jobs, lease_seconds=self.config.lease_seconds)
        try:
            while not self._stopping:
                self._give_up_overdue()
                wait_seconds = await self._claim_and_start()
                if self.burst and wait_seconds is None and not self._in_hand:
                    break
                await self._until_stirred(POLL_SECONDS if wait_seconds is None else min(wait_seconds, POLL_SECONDS))
            await self._wind_down()
        finally:
            await end(listener)  # it gives its connection back
            self._renewal.stop()
            self.watchdog.stop()
            logger.info("worker.stopped", handled=self.jobs_complete, retried=self.jobs_retried, dead=self.jobs_failed)

    def stop(self) -> None:
        """Ask the worker to stop: it finishes what runs. Asked a second time, it hands back what runs and stops now."""
        if self._stopping:
            self._stop_now.set()
        else:
            self._stop_by = time.monotonic() + self.config.stop_seconds
        self._stopping = True
        self._claimer.close()
        self._stirred.set()

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

    async def _claim_and_start(self) -> float | None:
        """Fill the free places. Returns how long to wait before the next look in seconds, None if nothing is queued."""
        self._stirred.clear()
        if self._outage.under_way and self._settler.busy:
            # What has ended is written first: a claim would take those jobs again, for their leases have lapsed.
            return OUTAGE_LOOK_SECONDS
        try:
            await self.heart_beat()
            rest_seconds = self._claimer.rest_seconds(POLL_SECONDS)
            if rest_seconds > 0:
                return rest_seconds
            free = self._in_hand.free()
            if free <= 0 or self._claimer.under_way:
                return POLL_SECONDS
            next_due_ms = await self._claimer.claim(min(free, CLAIM_JOBS))
        except OUTAGES as error:
            await self._outage.wait(error)
            return 0.0
        self._outage.over()
        return None if next_due_ms is None else next_due_ms / 1000

    def _wake(self, _: bytes) -> None:
        self._claimer.woken()
        self._stirred.set()

    def _handed_over(self, message: bytes) -> None:
        self._claimer.handed_over(message)
        self._stirred.set()

    def _lost(self) -> None:
        self._claimer.doubt_offer()
        self._stirred.set()

    def _take(self, claims: Sequence[Claimed]) -> None:
        loop, now = asyncio.get_running_loop(), time.monotonic()
        unwanted = []
        for claim in claims:
            held = self._in_hand.take(claim, now=now)
            if held is None:
                continue
            # More than there are places for may come from a claim that was asked for when an offer had just been taken.
            if self._stopping or self._in_hand.free() < 0:
                unwanted.append(claim)
                continue
            # A task for each, although most end in their first step: a handler's libraries expect one of their own.
            # And not the context variables of whichever handler's end has made place for it.
            held.task = loop.create_task(self._run_held(held), context=self._context.copy())
        if unwanted:
            handing_back = loop.create_task(self._hand_back(unwanted))
            self._handing_back.add(handing_back)
            handing_back.add_done_callback(self._handing_back.discard)

    async def _hand_back(self, claims: Sequence[Claimed]) -> None:
        """Hand back at once what came when there was no place for it, or the worker had been asked to stop."""
        with suppress(*OUTAGES):  # if not now, then with what is left in the end
            await queue.release(self._server, claims)
            self._forget(claims)

    async def _run_held(self, held: Held) -> None:
        try:
            job = self._job_of(held.claim)
            if job is None:
                return
            runs = await self._dispatcher.dispatch(job)
            if held.task is None:
                logger.warning("handler.ended_late", delivery=job.delivery)
                return
            # Not the claim from before: the lease may have lapsed and been taken again meanwhile, by us.
            self._settler.add(settlement_of(held.claim, job, runs, now_ms=_now_ms()))
            for run in runs:
                if run.ended in {"failed", "unfit"}:
                    _log_failure(job, run)
        except Exception:
            # A fault of ours, not of a handler: the lease lapses, somebody tries again, and in the end it is poison.
            logger.exception("job.failed", job_id=held.claim.job_id)
            self._forget([held.claim])

    def _job_of(self, claim: Claimed) -> Job | None:
        """The job to run; None if there is none that could be, which is settled with that."""
        try:
            job = Job.from_bytes(claim.payload or b"null")
        except MalformedRecordError as fault:
            error = str(fault) if claim.payload else "the job was removed from Redis while it was queued"
            self._settler.add(unreadable_settlement(claim, error=error, now_ms=_now_ms()))
            return None
        if claim.crashes >= CRASH_LIMIT:
            self._settler.add(poison_settlement(claim, job, now_ms=_now_ms()))
            return None
        return job

    def _give_up_overdue(self) -> None:
        """Leave behind what does not end although it was cancelled."""
        for held, job in self._in_hand.overdue(self._dispatcher.time_limit_seconds, now=time.monotonic()):
            runs = self._dispatcher.given_up(job)
            failed = [run.handler for run in runs if run.ended == "failed"]
            logger.error("handler.abandoned", delivery=job.delivery, handlers=failed)
            self._in_hand.leave_behind(held)
            self._settler.add(settlement_of(held.claim, job, runs, now_ms=_now_ms()))

    def _let_go(self, settlements: Sequence[Settlement], fenced: Container[str]) -> None:
        for settlement in settlements:
            if settlement.claim.job_id in fenced:
                logger.warning("job.fenced", job_id=settlement.claim.job_id)
            elif settlement.follow_ups or settlement.dead_letters:
                self.jobs_retried += len(settlement.follow_ups)
                self.jobs_failed += len(settlement.dead_letters)
                _log_trouble(settlement)
            else:
                self.jobs_complete += 1
        self._forget([settlement.claim for settlement in settlements])

    def _forget(self, claims: Iterable[Claimed]) -> None:
        self._in_hand.forget(claims)
        self._stirred.set()

    async def _until_stirred(self, seconds: float) -> None:
        if seconds <= 0 and self._in_hand.free() > 0 and not self._claimer.under_way:
            return
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._stirred.wait()

    async def _wind_down(self) -> None:
        """Let what runs finish, hand back what does not, and write down what there is to write."""
        running = self._in_hand.tasks()
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
        try:
            async with asyncio.timeout(FAREWELL_SECONDS):
                await self._settler.drain()
                await self._claimer.withdraw()
                await asyncio.gather(*self._handing_back)
                unfinished = self._in_hand.claims()
                if unfinished:
                    await self._once.release(self._server)
                    released = await queue.release(self._server, unfinished)
                    logger.info("jobs.released", events=released)
        except (TimeoutError, *OUTAGES) as error:
            # Nothing is lost: what could not be written is run again when its lease lapses.
            logger.warning("worker.stopped_during_outage", events=self.in_flight, error=type(error).__name__)
        self._settler.abandon()  # a handler that would not stop may still come to an end


async def _all_done(tasks: Collection[asyncio.Task[None]]) -> None:
    if tasks:
        await asyncio.wait(tasks)


def _now_ms() -> int:
    return time.time_ns() // 1_000_000


def _log_failure(job: Job, run: HandlerRun) -> None:
    logger.warning("handler.failed", delivery=job.delivery, handler=run.handler, attempt=job.attempt, error=run.error)


def _log_trouble(settlement: Settlement) -> None:
    delivery = settlement.delivery
    for job, delay_ms in settlement.follow_ups:
        logger.warning("retry.scheduled", delivery=delivery, handler=job.handler, attempt=job.attempt, in_ms=delay_ms)
    for letter_id in settlement.dead_letters:
        logger.error("handler.dead_lettered", dead_letter=letter_id)
