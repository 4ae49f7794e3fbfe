"""Leases: what runs is nobody else's, what a dead worker held is run elsewhere, and poison harms nobody but itself."""

from __future__ import annotations

import asyncio
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

import pytest
import structlog

from broker import queue
from broker.audit import audit
from broker.dead_letters import list_dead_letters, retry
from broker.queue import ClaimRequest
from broker.redis.pipelined import PipelinedConnection
from konvox.events import Event
from tests.support.events import (
    RETENTION_MS,
    admitted,
    claimed,
    crash_with,
    delivered,
    make_due,
    queued_ids,
)
from tests.support.store import KEYS, RedisClient, connect_blocking
from tests.support.workers import handler, run_burst, running, until, worker_of
from worker.leasing import renewal
from worker.running.once import OnceBlocks
from worker.running.verdicts import CRASH_LIMIT

LEASE_SECONDS = 1.0
LONGER_SECONDS = 1.6
"""Longer than the lease."""


async def _delivered(server: RedisClient, count: int) -> bool:
    return (await audit(server)).delivered == count


@contextmanager
def worker_in_a_thread(redis_url: str, *handlers: Any, **config: Any) -> Iterator[None]:
    """A worker in an event loop of its own, which another loop that blocks does not hold up."""
    stop: list[Any] = []
    ready = threading.Event()

    async def run() -> None:
        worker = worker_of(redis_url, *handlers, **config)
        loop = asyncio.get_running_loop()
        stop.append(lambda: loop.call_soon_threadsafe(worker.stop))
        loop.call_soon(ready.set)
        await worker.async_run()
        await worker.close()

    thread = threading.Thread(target=lambda: asyncio.run(run()))
    thread.start()
    ready.wait(10)
    try:
        yield
    finally:
        stop[0]()
        thread.join()


@pytest.mark.parametrize("blocks", [False, True], ids=["awaits", "blocks the loop"])
async def test_a_handler_slower_than_the_lease_runs_once(server: RedisClient, redis_url: str, blocks: bool) -> None:
    """A thread renews its lease, and another worker that looks for work all the time gets none."""
    await admitted(server, 1)
    runs: list[str] = []
    entered = threading.Event()

    async def slow(event: Event, ctx: Any) -> None:
        runs.append(event.id)
        entered.set()
        if blocks:
            time.sleep(LONGER_SECONDS)  # noqa: ASYNC251 - what users do by mistake is what this is about
        else:
            await asyncio.sleep(LONGER_SECONDS)

    async with running(redis_url, handler(slow), lease_seconds=LEASE_SECONDS):
        await asyncio.to_thread(entered.wait, 10)
        with worker_in_a_thread(redis_url, handler(slow), lease_seconds=LEASE_SECONDS):
            await until(lambda: _delivered(server, 1))
    assert len(runs) == 1
    assert not await server.exists(KEYS.crashes)


async def test_the_loop_blocked_from_the_start_is_no_second_run(server: RedisClient, redis_url: str) -> None:
    """The lease is renewed by a thread, so another worker that looks after it would have ended gets nothing."""
    runs: list[str] = []

    async def slow(event: Event, ctx: Any) -> None:
        runs.append(event.id)
        time.sleep(LONGER_SECONDS)  # noqa: ASYNC251 - see above

    with worker_in_a_thread(redis_url, handler(slow), lease_seconds=LEASE_SECONDS):
        await admitted(server, 1)
        async with running(redis_url, handler(slow), lease_seconds=LEASE_SECONDS):
            await until(lambda: _delivered(server, 1))
    assert len(runs) == 1


async def test_what_a_dead_worker_held_is_run_when_its_lease_lapses(server: RedisClient, redis_url: str) -> None:
    """The event runs again without a wake-up, and counts a crash but no attempt."""
    await admitted(server, 1)
    await queue.claim(PipelinedConnection(server), ClaimRequest(1, 300, "of a worker that dies", suspect_wanted=True))
    attempts: list[int] = []

    async def note(event: Event, ctx: Any) -> None:
        attempts.append(ctx.attempt)

    started = time.monotonic()
    await run_burst(redis_url, handler(note, attempts=1))
    assert attempts == [1]
    assert 0.2 < time.monotonic() - started < 10
    ledger = await audit(server)
    assert (ledger.delivered, ledger.balanced) == (1, True)


async def test_a_run_whose_lease_was_lost_does_not_count(server: RedisClient, redis_url: str) -> None:
    """A run whose lease was lost does not count: another worker settles the job, and the log says that both ran."""
    (job,) = await admitted(server, 1)
    entered, let_go = asyncio.Event(), asyncio.Event()

    async def slow(event: Event, ctx: Any) -> None:
        entered.set()
        await let_go.wait()

    with structlog.testing.capture_logs() as lines:
        async with running(redis_url, handler(slow)):
            await entered.wait()
            await make_due(server, [job.id])
            (thief,) = (await claimed(server, token="thief")).jobs
            let_go.set()
            await until(lambda: _has_logged(lines, "job.fenced"))
    assert await queued_ids(server) == {job.id}
    assert await queue.settle(server, [delivered(thief)], retention_ms=RETENTION_MS) == set()
    ledger = await audit(server)
    assert (ledger.delivered, ledger.balanced) == (1, True)


async def _has_logged(lines: list[Any], event: str) -> bool:
    return any(line["event"] == event for line in lines)


async def test_a_lost_lease_is_logged(server: RedisClient, redis_url: str) -> None:
    """The thread that renews logs a lost lease while the handler still runs."""
    (job,) = await admitted(server, 1)
    entered, let_go = asyncio.Event(), asyncio.Event()

    async def slow(event: Event, ctx: Any) -> None:
        entered.set()
        await let_go.wait()

    with structlog.testing.capture_logs() as lines:
        async with running(redis_url, handler(slow), lease_seconds=0.3):
            await entered.wait()
            await server.hset(KEYS.leases, job.id, "thief")
            await until(lambda: _has_logged(lines, "lease.lost"))
            let_go.set()


def test_the_renewal_survives_a_fault_of_its_own(redis_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The thread keeps renewing after an error, or every event that takes long would run twice."""
    faults, renewals = [RuntimeError("a bug of ours"), ConnectionResetError()], threading.Semaphore(0)

    def renew(*_: Any, **__: Any) -> set[str]:
        if faults:
            raise faults.pop()
        renewals.release()
        return set()

    monkeypatch.setattr(queue, "renew", renew)
    claim = queue.Claimed("evt_1", "t", 0, None)
    thread = renewal.LeaseRenewal(
        partial(connect_blocking, redis_url), lease_ms=30, claims=lambda: [claim], once=OnceBlocks(30)
    )
    thread.start()
    try:
        assert renewals.acquire(timeout=10)
    finally:
        thread.stop()


def test_the_renewal_asks_nothing_while_nothing_is_in_flight(redis_url: str) -> None:
    """An idle worker costs Redis no commands for leases."""
    looks = threading.Semaphore(0)

    def claims() -> list[Any]:
        looks.release()
        return []

    with connect_blocking(redis_url) as blocking:
        blocking.config_resetstat()
        thread = renewal.LeaseRenewal(
            partial(connect_blocking, redis_url), lease_ms=9, claims=claims, once=OnceBlocks(9)
        )
        thread.start()
        for _ in range(10):
            assert looks.acquire(timeout=10)
        thread.stop()
        assert "cmdstat_evalsha" not in blocking.info("commandstats")


async def test_poison_is_put_aside_and_innocents_are_delivered(server: RedisClient, redis_url: str) -> None:
    """What ran beside it in both workers that died is suspected and run apart, but not convicted."""
    jobs = await admitted(server, 10)
    poison = jobs[3].id
    await crash_with(server, {job.id for job in jobs}, times=2)
    await crash_with(server, {poison}, times=CRASH_LIMIT - 2)
    runs: Counter[str] = Counter()
    suspects_at_once, most = 0, 0

    async def note(event: Event, ctx: Any) -> None:
        nonlocal suspects_at_once, most
        runs[event.id] += 1
        suspects_at_once += 1
        most = max(most, suspects_at_once)
        await asyncio.sleep(0)
        suspects_at_once -= 1

    worker = await run_burst(redis_url, handler(note))
    assert runs == Counter({job.record.id: 1 for job in jobs if job.id != poison})
    assert most == 1
    assert worker.jobs_failed == 1
    (letter,) = [letter async for letter in list_dead_letters(server)]
    assert (letter.id, letter.reason, letter.handler) == (poison, "poison", None)
    ledger = await audit(server)
    assert (ledger.delivered, ledger.dead, ledger.balanced) == (9, 1, True)

    await retry(server, [letter])
    await run_burst(redis_url, handler(note))
    assert runs[jobs[3].record.id] == 1
    assert (await audit(server)).delivered == 10


@pytest.mark.parametrize("burst", [True, False])
async def test_suspects_follow_one_another_at_once(server: RedisClient, redis_url: str, burst: bool) -> None:
    """A hundred events that two killed workers had in flight run one by one, and all within a moment."""
    await crash_with(server, [job.id for job in await admitted(server, 100)], times=2)

    async def nothing(event: Event, ctx: Any) -> None:
        pass

    async with asyncio.timeout(5):  # half of what it takes where each waits for the worker's next look
        if burst:
            await run_burst(redis_url, handler(nothing))
        else:  # such a worker offers to take what comes, and rests as long as that stands
            async with running(redis_url, handler(nothing)):
                await until(lambda: _delivered(server, 100))
    ledger = await audit(server)
    assert (ledger.delivered, ledger.balanced) == (100, True)


async def test_fresh_events_do_not_wait_for_a_suspect(server: RedisClient, redis_url: str) -> None:
    """A suspect takes one place, however long it runs."""
    jobs = await admitted(server, 20)
    suspects = {job.id for job in jobs[:3]}
    await crash_with(server, suspects, times=2)
    let_go = asyncio.Event()
    runs: Counter[bool] = Counter()

    async def note(event: Event, ctx: Any) -> None:
        runs[event.id in suspects] += 1
        if event.id in suspects:
            await let_go.wait()

    async with running(redis_url, handler(note), concurrency=2):
        await until(lambda: _delivered(server, 17))
        assert runs == {True: 1, False: 17}
        let_go.set()
        await until(lambda: _delivered(server, 20))


async def test_two_workers_share_the_work(server: RedisClient, redis_url: str) -> None:
    """Each event is run by one of two workers."""
    jobs = await admitted(server, 300)
    runs: Counter[str] = Counter()
    by: Counter[str] = Counter()

    def named(name: str) -> Any:
        async def note(event: Event, ctx: Any) -> None:
            runs[event.id] += 1
            by[name] += 1
            await asyncio.sleep(0)

        return handler(note, name="note")

    async with asyncio.TaskGroup() as group:
        for name in ("left", "right"):
            group.create_task(run_burst(redis_url, named(name), concurrency=5))
    assert runs == Counter({job.record.id: 1 for job in jobs})
    assert set(by) == {"left", "right"}
    assert (await audit(server)).delivered == 300
