"""Claiming together with settling: places are taken again in the same round trip, and never more than there are."""

from __future__ import annotations

import asyncio
import contextvars
import time
from collections import Counter
from functools import partial
from typing import Any

import pytest
import redis

from broker import queue
from broker.audit import audit
from broker.queue import Claims
from konvox.events import Event
from tests.support.events import admitted, claimed, crash_with, make_due
from tests.support.logwatch import watching
from tests.support.store import KEYS, RedisClient
from tests.support.workers import handler, run_burst, running, until, worker_of
from worker.leasing import settler
from worker.worker import HookWorker

_mine: contextvars.ContextVar[str] = contextvars.ContextVar("_mine")


@pytest.mark.parametrize("concurrency", [1, 2, 5])
async def test_no_more_is_in_flight_than_may_be(server: RedisClient, redis_url: str, concurrency: int) -> None:
    """A job that has ended and is not settled keeps its place: it would run again if the worker died."""
    await admitted(server, 60)
    in_flight: list[int] = []

    async def note(event: Event, ctx: Any) -> None:
        in_flight.append(worker.in_flight)
        if len(in_flight) % 3 == 0:
            await asyncio.sleep(0)

    worker = worker_of(redis_url, handler(note), concurrency=concurrency, burst=True)
    await worker.async_run()
    await worker.close()
    ledger = await audit(server)
    assert (ledger.delivered, ledger.balanced) == (60, True)
    assert max(in_flight) == concurrency


@pytest.mark.parametrize(("disk", "batches"), [("fast", 10), ("slow", 5)])
async def test_a_full_queue_takes_one_round_trip_a_batch(
    server: RedisClient, redis_url: str, monkeypatch: pytest.MonkeyPatch, disk: str, batches: int
) -> None:
    """Claims travel with settlements: half of the places at a time if writing is fast, otherwise all of them."""
    monkeypatch.setattr(settler, "SLOW_WRITE_SECONDS", 60.0 if disk == "fast" else -1.0)
    await admitted(server, 100)
    await server.config_resetstat()

    async def nothing(event: Event, ctx: Any) -> None:
        pass

    await run_burst(redis_url, handler(nothing), concurrency=20)
    stats: Any = await server.info("commandstats")
    assert (await audit(server)).delivered == 100
    assert stats["cmdstat_zrem"]["calls"] == batches
    assert stats["cmdstat_zrangebyscore"]["calls"] <= batches + 2  # one by itself begins, and one finds nothing


async def test_a_worker_that_stops_releases_what_it_has_not_begun(server: RedisClient, redis_url: str) -> None:
    """What was claimed and not begun is due again, without a crash and without having run."""
    await admitted(server, 40)
    runs = 0
    workers: list[HookWorker] = []

    async def stop_soon(event: Event, ctx: Any) -> None:
        nonlocal runs
        runs += 1
        if runs == 6:
            workers[0].stop()

    workers.append(worker_of(redis_url, handler(stop_soon), concurrency=4))
    await workers[0].async_run()
    await workers[0].close()
    ledger = await audit(server)
    assert (ledger.delivered, ledger.pending, ledger.balanced) == (runs, 40 - runs, True)
    assert runs <= 8
    assert not await server.exists(KEYS.leases, KEYS.crashes)
    assert [claim.crashes for claim in (await claimed(server, token="next")).jobs] == [0] * (40 - runs)


async def test_suspects_are_run_one_at_a_time_also_beside_others(server: RedisClient, redis_url: str) -> None:
    """Two suspects never run at once, whichever way they are claimed, and other events run meanwhile."""
    suspects = {job.id for job in (await admitted(server, 60))[:5]}
    await crash_with(server, suspects, times=2)
    at_once = most = 0

    async def note(event: Event, ctx: Any) -> None:
        nonlocal at_once, most
        suspect = event.id in suspects
        at_once += suspect
        most = max(most, at_once)
        await asyncio.sleep(0)
        at_once -= suspect

    await run_burst(redis_url, handler(note), concurrency=6)
    assert (len(suspects), most) == (5, 1)
    ledger = await audit(server)
    assert (ledger.delivered, ledger.balanced) == (60, True)
    assert not await server.exists(KEYS.leases, KEYS.crashes)


async def test_each_run_has_a_task_and_context_variables_of_its_own(server: RedisClient, redis_url: str) -> None:
    """Libraries keep time limits and sessions by task, so each run has one, even if it ends in its first step."""
    await admitted(server, 12)
    tasks: list[asyncio.Task[Any] | None] = []
    inherited: list[str] = []

    async def note(event: Event, ctx: Any) -> None:
        inherited.append(_mine.get("nobody's"))
        _mine.set(event.id)
        tasks.append(asyncio.current_task())

    await run_burst(redis_url, handler(note), concurrency=4)
    assert inherited == ["nobody's"] * 12
    assert len({*tasks}) == 12
    assert None not in tasks


async def test_claims_that_come_too_late_with_a_settlement_are_not_run(
    server: RedisClient, redis_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Claims that were not renewed while the loop was blocked are released, and claimed again without a crash."""
    await admitted(server, 8)
    original = queue.settle_and_claim
    late: list[Claims] = []
    runs: Counter[str] = Counter()

    async def settle_and_claim(*arguments: Any, **options: Any) -> tuple[set[str], Claims]:
        fenced, claims = await original(*arguments, **options)
        if claims.jobs and not late:
            late.append(claims)
            time.sleep(0.4)  # noqa: ASYNC251 - a handler blocks the loop while the answer is on its way
        return fenced, claims

    async def note(event: Event, ctx: Any) -> None:
        runs[event.id] += 1
        tokens[event.id] = next(claim.token for claim in worker._inflight.claims() if claim.job_id == event.id)

    tokens: dict[str, str] = {}
    monkeypatch.setattr(queue, "settle_and_claim", settle_and_claim)
    worker = worker_of(redis_url, handler(note), concurrency=2, lease_seconds=1.0, burst=True)
    with watching() as log:
        await worker.async_run()
        await worker.close()
    assert [line["events"] for line in log.of("claim.expired")] == [len(late[0].jobs)]
    assert not {(claim.job_id, claim.token) for claim in late[0].jobs} & set(tokens.items())
    assert set(runs.values()) == {1}
    assert ((await audit(server)).delivered, await server.exists(KEYS.leases, KEYS.crashes)) == (8, 0)


async def test_a_fault_while_settling_frees_the_places_of_the_batch(
    server: RedisClient, redis_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A fault while settling frees the places of the batch: other events run, and then that of the fault."""
    await admitted(server, 3)
    runs: Counter[str] = Counter()
    faults = [RuntimeError("a bug of ours")]
    for name in ("settle", "settle_and_claim"):
        monkeypatch.setattr(queue, name, partial(_faulty, getattr(queue, name), faults))

    async def note(event: Event, ctx: Any) -> None:
        runs[event.id] += 1

    with watching() as log:
        async with asyncio.timeout(20), running(redis_url, handler(note), concurrency=1, lease_seconds=600.0):
            await until(lambda: _delivered(server, 3))
    assert [line["jobs"] for line in log.of("settlement.failed")] == [1]
    assert sorted(runs.values()) == [1, 1, 2]
    assert (await audit(server)).balanced


async def _faulty(original: Any, faults: list[RuntimeError], *arguments: Any, **options: Any) -> Any:
    if faults:
        raise faults.pop()
    return await original(*arguments, **options)


async def _delivered(server: RedisClient, count: int) -> bool:
    return (await audit(server)).delivered == count


async def test_a_job_whose_lease_was_lost_runs_again_when_it_is_claimed_with_its_own_settlement(
    server: RedisClient, redis_url: str
) -> None:
    """A job whose lease was lost runs again if it is claimed with its own settlement, as its place is free by then."""
    (job,) = await admitted(server, 1)
    runs = 0

    async def lose_the_lease_once(event: Event, ctx: Any) -> None:
        nonlocal runs
        runs += 1
        if runs == 1:  # another worker took it, and released it
            await server.hdel(KEYS.leases, job.id)
            await make_due(server, [job.id])

    with watching() as log:
        async with (
            asyncio.timeout(20),
            running(redis_url, handler(lose_the_lease_once), concurrency=1, lease_seconds=600.0),
        ):
            await until(lambda: _delivered(server, 1))
    assert [line["job_id"] for line in log.of("job.fenced")] == [job.id]
    assert runs == 2
    assert (await audit(server)).balanced


async def test_claims_whose_answer_was_lost_with_that_of_a_settlement_are_released(
    server: RedisClient, redis_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """If the answer to a settlement is lost, its claims are released, and nothing is settled twice or crashed."""
    await admitted(server, 8)
    original = queue.settle_and_claim
    lost: list[Claims] = []
    runs: Counter[str] = Counter()

    async def settle_and_claim(*arguments: Any, **options: Any) -> tuple[set[str], Claims]:
        fenced, claims = await original(*arguments, **options)
        if claims.jobs and not lost:
            lost.append(claims)
            raise redis.ConnectionError("the answer never came")
        return fenced, claims

    async def note(event: Event, ctx: Any) -> None:
        runs[event.id] += 1

    monkeypatch.setattr(queue, "settle_and_claim", settle_and_claim)
    async with asyncio.timeout(15):
        await run_burst(redis_url, handler(note), concurrency=2, lease_seconds=600.0)
    ledger = await audit(server)
    assert lost
    assert (set(runs.values()), ledger.delivered, ledger.balanced) == ({1}, 8, True)
    assert not await server.exists(KEYS.leases, KEYS.crashes)
