"""What is counted as what, what survives a restart, and whose clock decides."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from contextlib import suppress
from functools import partial
from typing import Any

import pytest

from broker import queue
from broker.audit import audit
from broker.dead_letters import list_dead_letters
from broker.redis.client import close
from handlers import Retry
from konvox.events import ContactReplied, Event
from tests.support.events import LEASE_MS, admitted, claimed, job_of, make_due, queued_ids
from tests.support.logwatch import watching
from tests.support.store import KEYS, RedisClient, connect
from tests.support.valkey import ValkeyServer
from tests.support.workers import handler, run_burst, running, until, worker_of
from worker import worker as worker_module
from worker.leasing import inflight
from worker.running.verdicts import CRASH_LIMIT

HOUR_SECONDS = 3600


async def _holds(server: RedisClient, job_id: str) -> bool:
    return bool(await server.exists(KEYS.job_key(job_id)))


async def _crash(server: RedisClient, job_id: str) -> None:
    """A worker takes the job and dies, and its lease lapses."""
    await make_due(server, [job_id])
    assert await queue.lease(server, job_id, token="of a worker that dies", lease_ms=LEASE_MS)
    await make_due(server, [job_id])


async def test_crashes_shutdowns_and_failures_are_counted_apart(server: RedisClient, redis_url: str) -> None:
    """Crashes and deploys use up no attempt: the third of three is left after two failures, and succeeds."""
    (job,) = await admitted(server, 1)
    attempts: list[int] = []
    entered = asyncio.Event()

    async def fail(event: Event, ctx: Any) -> None:
        attempts.append(ctx.attempt)
        if ctx.attempt < 3:
            raise Retry(after=HOUR_SECONDS)

    async def hang(event: Event, ctx: Any) -> None:
        attempts.append(ctx.attempt)
        entered.set()
        await asyncio.Event().wait()

    for attempt in (1, 2, 3):
        job_id = job.id if attempt == 1 else f"{job.id}/h#{attempt}"
        await make_due(server, [job_id])
        for _ in range(CRASH_LIMIT - 1):
            await _crash(server, job_id)
        for _ in range(2):
            entered.clear()
            async with running(redis_url, handler(hang, name="h", attempts=3), stop_seconds=0.01):
                await entered.wait()
        if attempt < 3:
            async with running(redis_url, handler(fail, name="h", attempts=3)):
                await until(partial(_holds, server, f"{job.id}/h#{attempt + 1}"))
        else:
            await run_burst(redis_url, handler(fail, name="h", attempts=3))
    assert attempts == [1, 1, 1, 2, 2, 2, 3, 3, 3]
    ledger = await audit(server)
    assert (ledger.delivered, ledger.dead_letters, ledger.balanced) == (1, 0, True)


async def test_retry_state_survives_a_restart_of_everything(own_valkey: ValkeyServer) -> None:
    """Attempts, delays and outcomes survive a restart of worker and Redis."""
    server = connect(own_valkey.url())
    (job,) = await admitted(server, 1)
    attempts: list[int] = []

    async def later(event: Event, ctx: Any) -> None:
        attempts.append(ctx.attempt)
        if ctx.attempt < 3:
            raise Retry(after=HOUR_SECONDS)

    for attempt in (2, 3):
        following = f"{job.id}/later#{attempt}"
        async with running(own_valkey.url(), handler(later, attempts=3)):
            await until(partial(_holds, server, following))
        before = await server.zscore(KEYS.queue, following)
        await close(server)
        own_valkey.kill()
        own_valkey.start()
        server = connect(own_valkey.url())
        assert await server.zscore(KEYS.queue, following) == before
        assert (await claimed(server, token="too early")).jobs == []
        await make_due(server, [following])
    await run_burst(own_valkey.url(), handler(later, attempts=3))
    assert attempts == [1, 2, 3]
    ledger = await audit(server)
    assert (ledger.delivered, ledger.balanced) == (1, True)
    await close(server)


async def test_an_event_that_does_not_fit_still_reaches_plain_handlers(server: RedisClient, redis_url: str) -> None:
    """An event that does not fit is a dead letter for typed handlers after one attempt, and plain ones are done."""
    misfit = job_of(1, contactId=["pigeon"])
    await server.set(KEYS.job_key(misfit.id), misfit.to_bytes())
    await server.zadd(KEYS.queue, {misfit.id: 1})
    await server.hincrby(KEYS.ledger, "accepted", 1)
    seen: list[Any] = []

    async def typed(event: ContactReplied, ctx: Any) -> None:
        seen.append(event)

    async def plain(event: Event, ctx: Any) -> None:
        seen.append(event.data["contactId"])

    await run_burst(redis_url, handler(typed, takes_plain_event=False), handler(plain))
    assert seen == [["pigeon"]]
    (letter,) = [letter async for letter in list_dead_letters(server)]
    assert (letter.handler, letter.reason, letter.attempts) == ("typed", "unfit", 1)
    assert "data.contactId" in letter.error
    ledger = await audit(server)
    assert (ledger.dead, ledger.balanced) == (1, True)


@pytest.mark.parametrize("shift_seconds", [-HOUR_SECONDS, HOUR_SECONDS])
async def test_a_wall_clock_that_is_wrong_makes_nothing_early_or_stuck(
    server: RedisClient, redis_url: str, shift_seconds: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With a worker's clock an hour off, leases hold and delays are kept, because Redis' clock decides."""
    true_time, true_time_ns = time.time, time.time_ns
    monkeypatch.setattr(time, "time", lambda: true_time() + shift_seconds)
    monkeypatch.setattr(time, "time_ns", lambda: true_time_ns() + shift_seconds * 10**9)
    jobs = await admitted(server, 5)
    runs: dict[str, list[float]] = {job.record.id: [] for job in jobs}
    entered = asyncio.Event()

    async def again(event: Event, ctx: Any) -> None:
        runs[event.id].append(time.monotonic())
        entered.set()
        if ctx.attempt == 1:
            raise Retry(after=0.5)

    worker = worker_of(redis_url, handler(again), burst=True, lease_seconds=60)
    run = asyncio.create_task(worker.async_run())
    await entered.wait()
    assert (await claimed(server, token="other")).jobs == []
    await run
    await worker.close()
    assert {len(times) for times in runs.values()} == {2}
    assert all(0.4 < second - first < 10 for first, second in runs.values())
    ledger = await audit(server)
    assert (ledger.delivered, ledger.pending, ledger.balanced) == (5, 0, True)


async def test_two_workers_race_for_every_event(server: RedisClient, redis_url: str) -> None:
    """Two workers that claim, run and settle at the same time run each event once between them."""
    total = 4_000
    jobs = await admitted(server, total)
    runs: Counter[str] = Counter()

    async def note(event: Event, ctx: Any) -> None:
        runs[event.id] += 1

    async with asyncio.TaskGroup() as group:
        for concurrency in (7, 100):
            group.create_task(run_burst(redis_url, handler(note), concurrency=concurrency))
    assert runs == Counter({job.record.id: 1 for job in jobs})
    ledger = await audit(server)
    assert (ledger.delivered, ledger.balanced) == (total, True)
    assert await queued_ids(server) == set()


async def test_a_handler_that_swallows_its_cancellation_holds_nothing_for_ever(
    server: RedisClient, redis_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A handler that swallows its cancellation is abandoned at its time limit: it has failed, and its place is free."""
    monkeypatch.setattr(inflight, "OVERDUE_SECONDS", 0.05)
    monkeypatch.setattr(inflight, "LOOK_SECONDS", 0.05)
    monkeypatch.setattr(worker_module, "POLL_SECONDS", 0.05)
    alone, among = await admitted(server, 1, "test.alone"), await admitted(server, 1, "test.among")
    let_go = asyncio.Event()
    runs: Counter[str] = Counter()

    async def swallow(event: Event, ctx: Any) -> None:
        runs[f"{event.type} {ctx.attempt}"] += 1
        while not let_go.is_set():
            with suppress(asyncio.CancelledError):
                await let_go.wait()

    async def note(event: Event, ctx: Any) -> None:
        runs["note"] += 1

    swallowing = handler(swallow, attempts=2, timeout_seconds=0.05)
    with watching() as log:
        worker = await run_burst(redis_url, swallowing, handler(note, "test.among", timeout_seconds=1), concurrency=1)
        let_go.set()
        await log.until("handler.ended_late", times=4)
    assert runs == {"test.alone 1": 1, "test.alone 2": 1, "test.among 1": 1, "test.among 2": 1, "note": 1}
    assert (worker.handlers_abandoned, len(log.of("handler.abandoned"))) == (4, 4)
    letters = [letter async for letter in list_dead_letters(server)]
    assert {letter.event_id for letter in letters} == {job.record.id for job in alone + among}
    assert all("swallows its cancellation" in letter.error for letter in letters)
    assert not log.of("job.failed")
    ledger = await audit(server)
    assert (ledger.dead, ledger.pending, ledger.balanced) == (2, 0, True)
