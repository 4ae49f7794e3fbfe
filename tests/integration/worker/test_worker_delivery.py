"""The worker end to end: events are run, tried again, given up and accounted for."""

from __future__ import annotations

import asyncio
import threading
from collections import Counter
from typing import Any

import pytest

from broker.admission import AdmissionPolicy, admit
from broker.audit import audit
from broker.dead_letters import DeadLetter, list_dead_letters, retry
from broker.event_log import events
from broker.records import Job
from handlers import Drop, Retry
from konvox.events import Event
from tests.support.events import admitted, job_of, make_due, queued_ids
from tests.support.logwatch import watching
from tests.support.store import KEYS, RedisClient, connect
from tests.support.workers import dispatcher_of, handler, run_burst, running, until
from worker import runner
from worker import worker as worker_module
from worker.config import WorkerConfig
from worker.running.verdicts import settlement_of
from worker.worker import HookWorker


async def letters(server: RedisClient) -> list[DeadLetter]:
    """All dead letters."""
    return [letter async for letter in list_dead_letters(server)]


async def test_everything_that_is_queued_is_run_once(server: RedisClient, redis_url: str) -> None:
    """Many more events than places each run once, and then a worker in burst mode ends."""
    jobs = await admitted(server, 700)
    runs: Counter[str] = Counter()

    async def count(event: Event, ctx: Any) -> None:
        runs[event.id] += 1

    worker = await run_burst(redis_url, handler(count), concurrency=50)
    assert runs == Counter({job.record.id: 1 for job in jobs})
    assert (worker.jobs_complete, worker.jobs_retried, worker.jobs_failed, worker.in_flight) == (700, 0, 0, 0)
    ledger = await audit(server)
    assert (ledger.delivered, ledger.pending, ledger.balanced) == (700, 0, True)
    assert not await server.exists(KEYS.leases, KEYS.crashes, KEYS.queue)
    assert [name async for name in server.scan_iter(f"{KEYS.job_prefix}*")] == []


async def test_as_many_run_at_once_as_are_allowed(server: RedisClient, redis_url: str) -> None:
    """Exactly `concurrency` events run at the same time."""
    await admitted(server, 40)
    running_now, most = 0, 0
    together = asyncio.Barrier(8)

    async def meet(event: Event, ctx: Any) -> None:
        nonlocal running_now, most
        running_now += 1
        most = max(most, running_now)
        async with asyncio.timeout(20):
            await together.wait()
        running_now -= 1

    await run_burst(redis_url, handler(meet), concurrency=8)
    assert most == 8


async def test_a_handler_that_fails_twice_is_run_three_times(server: RedisClient, redis_url: str) -> None:
    """A handler that fails is run again, and knows which attempt it is."""
    await admitted(server, 1)
    attempts: list[int] = []

    async def fail_twice(event: Event, ctx: Any) -> None:
        attempts.append(ctx.attempt)
        if ctx.attempt < 3:
            raise RuntimeError("not yet")

    worker = await run_burst(redis_url, handler(fail_twice))
    assert attempts == [1, 2, 3]
    assert (worker.jobs_complete, worker.jobs_retried, worker.jobs_failed) == (1, 2, 0)
    assert (await audit(server)).delivered == 1
    (event,) = [event async for event in events(server)]
    assert (event.state, event.outcomes["fail_twice"]["attempts"]) == ("delivered", 3)


async def test_out_of_attempts_it_is_a_dead_letter(server: RedisClient, redis_url: str) -> None:
    """The dead letter holds the last error; once it is retried, the handler has all its attempts again."""
    (job,) = await admitted(server, 1)
    attempts: list[int] = []

    async def fail(event: Event, ctx: Any) -> None:
        attempts.append(ctx.attempt)
        raise RuntimeError(f"attempt {len(attempts)}")

    worker = await run_burst(redis_url, handler(fail, attempts=3))
    assert attempts == [1, 2, 3]
    assert worker.jobs_failed == 1
    (letter,) = await letters(server)
    assert (letter.id, letter.reason, letter.attempts) == (f"{job.id}/fail", "attempts", 3)
    assert letter.error == "RuntimeError: attempt 3"
    assert 'raise RuntimeError(f"attempt' in letter.traceback
    ledger = await audit(server)
    assert (ledger.dead, ledger.pending, ledger.balanced) == (1, 0, True)

    await retry(server, [letter])
    await run_burst(redis_url, handler(fail, attempts=2))
    assert attempts == [1, 2, 3, 1, 2]
    assert [letter.error for letter in await letters(server)] == ["RuntimeError: attempt 5"]
    assert (await audit(server)).balanced


async def test_only_the_handler_that_failed_is_run_again(server: RedisClient, redis_url: str) -> None:
    """A retry runs only the handler that failed, and each handler's outcome can be looked up."""
    await admitted(server, 3)
    runs: Counter[str] = Counter()

    async def steady(event: Event, ctx: Any) -> None:
        runs["steady"] += 1

    async def flaky(event: Event, ctx: Any) -> None:
        runs["flaky"] += 1
        if ctx.attempt == 1:
            raise RuntimeError

    async def dropping(event: Event, ctx: Any) -> None:
        runs["dropping"] += 1
        raise Drop("not for us")

    def hopeless(event: Event, ctx: Any) -> None:
        runs["hopeless"] += 1
        raise RuntimeError

    handlers = [handler(steady), handler(flaky), handler(dropping), handler(hopeless, attempts=2)]
    await run_burst(redis_url, *handlers)
    assert runs == {"steady": 3, "flaky": 6, "dropping": 3, "hopeless": 6}
    ledger = await audit(server)
    assert (ledger.dead, ledger.dead_letters, ledger.balanced) == (3, 3, True)
    async for event in events(server):
        assert event.state == "dead"
        states = {name: outcome["state"] for name, outcome in event.outcomes.items()}
        assert states == {"steady": "done", "flaky": "done", "dropping": "dropped", "hopeless": "dead"}


async def test_an_event_that_nobody_wants_is_delivered(server: RedisClient, redis_url: str) -> None:
    """An event that no handler matches is settled, and not kept."""
    await admitted(server, 2)
    await run_burst(redis_url)
    assert (await audit(server)).delivered == 2


async def test_a_replay_runs_again_and_says_so(server: RedisClient, redis_url: str) -> None:
    """A replay has the id of the event, which systems downstream use as idempotency key."""
    (job,) = await admitted(server, 1)
    seen: list[tuple[str, bool]] = []

    async def note(event: Event, ctx: Any) -> None:
        seen.append((event.id, event.replayed))

    await run_burst(redis_url, handler(note))
    await admit(server, [Job.replay(job.record)], AdmissionPolicy())
    await run_burst(redis_url, handler(note))
    assert seen == [(job.record.id, False), (job.record.id, True)]
    ledger = await audit(server)
    assert (ledger.accepted, ledger.delivered) == (2, 2)


async def test_what_cannot_be_read_is_put_aside(server: RedisClient, redis_url: str) -> None:
    """A job that was removed, and one that is none of ours, become dead letters, and the others are run."""
    jobs = await admitted(server, 3)
    await server.delete(KEYS.job_key(jobs[0].id))
    await server.set(KEYS.job_key(jobs[1].id), b"\x80\x04 a pickle")
    ran: list[str] = []

    async def note(event: Event, ctx: Any) -> None:
        ran.append(event.id)

    await run_burst(redis_url, handler(note))
    assert ran == [jobs[2].record.id]
    assert {letter.id: letter.reason for letter in await letters(server)} == {
        jobs[0].id: "missing",
        jobs[1].id: "missing",
    }
    ledger = await audit(server)
    assert (ledger.delivered, ledger.dead, ledger.balanced) == (1, 2, True)


async def test_a_handler_that_was_renamed_is_waited_for(server: RedisClient, redis_url: str) -> None:
    """The retries of a handler that is not loaded fail until it is back."""
    await admitted(server, 1)
    ran: list[int] = []

    async def tell(event: Event, ctx: Any) -> None:
        ran.append(ctx.attempt)
        if ctx.attempt == 1:
            raise Retry(after=3600)

    async with running(redis_url, handler(tell)):
        await until(lambda: server.exists(KEYS.delivery_key(job_of(0).id)))
    await make_due(server, await queued_ids(server))
    async with running(redis_url):
        await until(lambda: _has_job(server, f"{job_of(0).id}/tell#3"))
    await make_due(server, await queued_ids(server))
    await run_burst(redis_url, handler(tell))
    assert ran == [1, 3]
    assert (await audit(server)).delivered == 1


async def _has_job(server: RedisClient, job_id: str) -> bool:
    return bool(await server.exists(KEYS.job_key(job_id)))


async def test_retry_waits_as_long_as_it_asks_for(server: RedisClient, redis_url: str) -> None:
    """The wait of `Retry` is kept by the server's clock."""
    await admitted(server, 1)

    async def later(event: Event, ctx: Any) -> None:
        raise Retry(after=3600)

    async with running(redis_url, handler(later)):
        await until(lambda: _has_job(server, f"{job_of(0).id}/later#2"))
    seconds, _ = await server.time()
    due_ms = await server.zscore(KEYS.queue, f"{job_of(0).id}/later#2")
    assert due_ms == pytest.approx((seconds + 3600) * 1000, abs=20_000)


async def test_an_admission_wakes_an_idle_worker(
    server: RedisClient, redis_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An admission wakes an idle worker at once, before its next look at the queue."""
    monkeypatch.setattr(worker_module, "POLL_SECONDS", 3600.0)
    ran = asyncio.Event()

    async def note(event: Event, ctx: Any) -> None:
        ran.set()

    async with running(redis_url, handler(note)):
        await until(lambda: _is_idle(server))
        await admitted(server, 1)
        async with asyncio.timeout(10):
            await ran.wait()


async def _is_idle(server: RedisClient) -> bool:
    """Whether a worker listens, and has looked at the empty queue."""
    listeners = dict(await server.pubsub_numsub(KEYS.wake_channel))[KEYS.wake_channel.encode()]
    return bool(listeners == 1 and await server.exists(f"{KEYS.queue}:health-check"))


async def test_without_a_wake_up_the_worker_looks_by_itself(server: RedisClient, redis_url: str) -> None:
    """A worker without a wake-up looks by itself, so a lost message costs time, not the event."""
    ran = asyncio.Event()

    async def note(event: Event, ctx: Any) -> None:
        ran.set()

    async with running(redis_url, handler(note)):
        await until(lambda: _is_idle(server))
        job = job_of(1)
        await server.set(KEYS.job_key(job.id), job.to_bytes())
        await server.zadd(KEYS.queue, {job.id: 1})
        async with asyncio.timeout(10):
            await ran.wait()


async def test_a_delayed_job_is_run_when_it_falls_due(server: RedisClient, redis_url: str) -> None:
    """A worker looks when a delay ends, because nobody publishes that moment."""
    await admitted(server, 1)
    attempts: list[int] = []

    async def again(event: Event, ctx: Any) -> None:
        attempts.append(ctx.attempt)
        if ctx.attempt == 1:
            raise Retry(after=0.2)

    await run_burst(redis_url, handler(again))
    assert attempts == [1, 2]


async def test_a_fault_of_ours_holds_up_nobody(
    server: RedisClient, redis_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A fault of ours leaves its event to the lease and frees its place, and the others are delivered."""
    jobs = await admitted(server, 3)
    original = settlement_of

    def faulty(claim: Any, job: Job, *rest: Any, **named: Any) -> Any:
        if job.id == jobs[1].id:
            raise AssertionError("a bug of ours")
        return original(claim, job, *rest, **named)

    monkeypatch.setattr(runner, "settlement_of", faulty)
    async with asyncio.timeout(20), running(redis_url, concurrency=1):
        await until(lambda: _delivered(server, 2))
    assert await queued_ids(server) == {jobs[1].id}
    assert (await audit(server)).balanced


async def _delivered(server: RedisClient, count: int) -> bool:
    return (await audit(server)).delivered == count


async def test_threads_that_hang_take_no_place(server: RedisClient, redis_url: str) -> None:
    """Handlers that hang in threads are abandoned and counted, and others run in threads as before."""
    hanging, fine = await admitted(server, 6, "test.hangs"), await admitted(server, 6, "test.fine")
    let_go = threading.Event()
    runs: Counter[str] = Counter()

    def hang(event: Event, ctx: Any) -> None:
        let_go.wait(30)

    def note(event: Event, ctx: Any) -> None:
        runs[event.id] += 1

    handlers = (handler(hang, "test.hangs", attempts=1, timeout_seconds=0.05), handler(note, "test.fine"))
    dispatcher = dispatcher_of(*handlers)
    worker = HookWorker(
        connect(redis_url), dispatcher, WorkerConfig(redis_url, concurrency=2, burst=True), handle_signals=False
    )
    with watching() as log:
        await worker.async_run()
        await worker.close()
        assert (dispatcher.threads.abandoned, dispatcher.threads.still_running) == (6, 6)
        assert [line["handler"] for line in log.of("thread.abandoned")] == ["hang"] * 6
        let_go.set()
        await log.until("thread.ended_late", times=6)
    assert dispatcher.threads.still_running == 0
    assert runs == Counter({job.record.id: 1 for job in fine})
    assert {letter.event_id for letter in await letters(server)} == {job.record.id for job in hanging}
    assert all("cannot be stopped" in letter.error for letter in await letters(server))
