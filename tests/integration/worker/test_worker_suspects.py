"""Suspects, which crashed twice: each has a worker to itself at first, and nobody waits for them for long."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from typing import Any

import pytest

from broker.audit import audit
from konvox.events import Event
from tests.support.events import admitted, crash_with
from tests.support.store import KEYS, RedisClient
from tests.support.workers import handler, run_burst, running, until
from worker.leasing import inflight
from worker.running.verdicts import CRASH_LIMIT


async def _delivered(server: RedisClient, count: int) -> bool:
    return (await audit(server)).delivered == count


async def test_what_crashed_once_runs_at_full_concurrency(server: RedisClient, redis_url: str) -> None:
    """A hundred events that one worker died with run all at once, beside others."""
    jobs = await admitted(server, 110)
    await crash_with(server, [job.id for job in jobs[:90]])
    all_run, runs = asyncio.Event(), 0

    async def note(event: Event, ctx: Any) -> None:
        nonlocal runs
        runs += 1
        if runs == 100:
            all_run.set()
        await all_run.wait()

    async with asyncio.timeout(20):
        await run_burst(redis_url, handler(note), concurrency=100)
    assert (runs, (await audit(server)).delivered) == (110, 110)


@pytest.mark.parametrize("busy", [False, True])
async def test_a_suspect_begins_alone(server: RedisClient, redis_url: str, busy: bool) -> None:
    """Fresh events are due as well, and may be in flight already: those end before it begins, and no more begin."""
    jobs = await admitted(server, 40)
    suspects = {job.record.id for job in jobs[:5]}
    if not busy:
        await crash_with(server, suspects, times=2)
    begun, in_flight, beside = asyncio.Event(), 0, Counter[bool]()

    async def note(event: Event, ctx: Any) -> None:
        nonlocal in_flight
        in_flight += 1
        begun.set()
        for _ in range(5):
            await asyncio.sleep(0.002)
            beside[event.id in suspects] = max(beside[event.id in suspects], in_flight)
        in_flight -= 1

    if busy:
        await crash_with(server, suspects, times=2)
        await server.zadd(KEYS.queue, dict.fromkeys(suspects, 4_102_444_800_000))
        async with running(redis_url, handler(note), concurrency=4):
            await begun.wait()
            await server.zadd(KEYS.queue, dict.fromkeys(suspects, 1))
            await until(lambda: _delivered(server, 40))
    else:
        await run_burst(redis_url, handler(note), concurrency=4)
    assert (beside[True], beside[False]) == (1, 4)
    assert not await server.exists(KEYS.crashes, KEYS.suspects, KEYS.leases)


async def test_a_suspect_does_not_wait_for_what_takes_long(
    server: RedisClient, redis_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A worker that does not become empty runs it beside what it has."""
    monkeypatch.setattr(inflight, "APART_SECONDS", 0.1)
    jobs = await admitted(server, 3)
    long, suspect = jobs[0].record.id, jobs[1].record.id
    let_go, begun, order = asyncio.Event(), asyncio.Event(), []

    async def note(event: Event, ctx: Any) -> None:
        order.append(event.id)
        if event.id == long:
            begun.set()
            await let_go.wait()

    await crash_with(server, [suspect], times=2)
    await server.zadd(KEYS.queue, {suspect: 4_102_444_800_000})
    async with running(redis_url, handler(note), concurrency=4):
        await begun.wait()
        await server.zadd(KEYS.queue, {suspect: 1})
        await until(lambda: _delivered(server, 2))
        assert suspect in order
        let_go.set()
    assert (await audit(server)).delivered == 3


async def test_fresh_events_wait_for_a_suspect_only_a_moment(server: RedisClient, redis_url: str) -> None:
    """Those behind it begin while it runs on, and all of them do: it holds one place."""
    jobs = await admitted(server, 30)
    await crash_with(server, [jobs[0].id], times=2)
    let_go, began_at = asyncio.Event(), []

    async def note(event: Event, ctx: Any) -> None:
        began_at.append(time.monotonic())
        if event.id == jobs[0].record.id:
            await let_go.wait()

    async with running(redis_url, handler(note), concurrency=2):
        await until(lambda: _delivered(server, 29))
        let_go.set()
    waited_seconds = began_at[1] - began_at[0]
    assert inflight.APART_SECONDS - 0.1 <= waited_seconds < inflight.APART_SECONDS + 2
    assert (await audit(server)).delivered == 30


async def test_innocents_beside_several_poisons_are_delivered(server: RedisClient, redis_url: str) -> None:
    """Whatever died with fresh poison again and again is not convicted with it: its last run is its own."""
    jobs = await admitted(server, 30)
    await crash_with(server, [job.id for job in jobs[:20]], times=2)
    await crash_with(server, [job.id for job in jobs[20:22]], times=CRASH_LIMIT)
    runs: Counter[str] = Counter()

    async def note(event: Event, ctx: Any) -> None:
        runs[event.id] += 1

    worker = await run_burst(redis_url, handler(note), concurrency=10)
    ledger = await audit(server)
    assert (ledger.delivered, ledger.dead, worker.jobs_failed) == (28, 2, 2)
    assert set(runs) == {job.record.id for job in (*jobs[:20], *jobs[22:])}
