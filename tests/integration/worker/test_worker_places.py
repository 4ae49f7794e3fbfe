"""Claiming along with settling: places are taken again in the same round trip, and never more than there are."""

from __future__ import annotations

import asyncio
import contextvars
import time
from collections import Counter
from typing import Any

import pytest
import redis

from broker import keys, queue
from broker.audit import audit
from broker.queue import Claims
from konvox.events import Event
from tests.support.events import admitted, claimed, make_due, queued_ids
from tests.support.logwatch import watching
from tests.support.store import RedisClient
from tests.support.workers import handler, run_burst, worker_of
from worker import settling
from worker.worker import HookWorker

_mine: contextvars.ContextVar[str] = contextvars.ContextVar("_mine")


@pytest.mark.parametrize("concurrency", [1, 2, 5])
async def test_no_more_is_in_hand_than_may_be(server: RedisClient, redis_url: str, concurrency: int) -> None:
    """What has ended and is not written down counts, too: it would run again, were the worker to die."""
    await admitted(server, 60)
    in_hand: list[int] = []

    async def note(event: Event, ctx: Any) -> None:
        in_hand.append(worker.in_flight)
        if len(in_hand) % 3 == 0:
            await asyncio.sleep(0)

    worker = worker_of(redis_url, handler(note), concurrency=concurrency, burst=True)
    await worker.async_run()
    await worker.close()
    ledger = await audit(server)
    assert (ledger.delivered, ledger.balanced) == (60, True)
    assert max(in_hand) == concurrency


@pytest.mark.parametrize(("disk", "batches"), [("fast", 10), ("slow", 5)])
async def test_a_full_queue_takes_one_round_trip_a_batch(
    server: RedisClient, redis_url: str, monkeypatch: pytest.MonkeyPatch, disk: str, batches: int
) -> None:
    """The claims come along with the settlements; by halves where writing is quick, else with all there is."""
    monkeypatch.setattr(settling, "SLOW_WRITE_SECONDS", 60.0 if disk == "fast" else -1.0)
    await admitted(server, 100)
    await server.config_resetstat()

    async def nothing(event: Event, ctx: Any) -> None:
        pass

    await run_burst(redis_url, handler(nothing), concurrency=20)
    stats: Any = await server.info("commandstats")
    assert (await audit(server)).delivered == 100
    assert stats["cmdstat_zrem"]["calls"] == batches
    assert stats["cmdstat_zrangebyscore"]["calls"] <= batches + 2  # one by itself begins, and one finds nothing


async def test_a_worker_that_stops_hands_back_what_it_has_not_begun(server: RedisClient, redis_url: str) -> None:
    """Without blame, and without running it."""
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
    assert not await server.exists(keys.LEASES, keys.CRASHES)
    assert [claim.crashes for claim in (await claimed(server, token="next")).jobs] == [0] * (40 - runs)


async def test_suspects_are_run_one_at_a_time_also_beside_others(server: RedisClient, redis_url: str) -> None:
    """Whichever way they are claimed; the others go on meanwhile."""
    await admitted(server, 60)
    await claimed(server, token="of a worker that dies", count=5)
    suspects = {claim_id for claim_id, _ in (await server.hgetall(keys.LEASES)).items()}
    await make_due(server, await queued_ids(server))
    at_once = most = 0

    async def note(event: Event, ctx: Any) -> None:
        nonlocal at_once, most
        suspect = event.id.encode() in suspects
        at_once += suspect
        most = max(most, at_once)
        await asyncio.sleep(0)
        at_once -= suspect

    await run_burst(redis_url, handler(note), concurrency=6)
    assert (len(suspects), most) == (5, 1)
    ledger = await audit(server)
    assert (ledger.delivered, ledger.balanced) == (60, True)
    assert not await server.exists(keys.LEASES, keys.CRASHES)


async def test_each_run_has_a_task_and_context_variables_of_its_own(server: RedisClient, redis_url: str) -> None:
    """Also those that end in their first step: libraries keep time limits and sessions by the task that they run in."""
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
    """Nobody renewed them while the loop was blocked: they are handed back, and claimed anew without a crash."""
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
        tokens[event.id] = next(claim.token for claim in worker._in_hand.claims() if claim.job_id == event.id)

    tokens: dict[str, str] = {}
    monkeypatch.setattr(queue, "settle_and_claim", settle_and_claim)
    worker = worker_of(redis_url, handler(note), concurrency=2, lease_seconds=1.0, burst=True)
    with watching() as log:
        await worker.async_run()
        await worker.close()
    assert [line["events"] for line in log.of("claim.expired")] == [len(late[0].jobs)]
    assert not {(claim.job_id, claim.token) for claim in late[0].jobs} & set(tokens.items())
    assert set(runs.values()) == {1}
    assert ((await audit(server)).delivered, await server.exists(keys.LEASES, keys.CRASHES)) == (8, 0)


async def test_claims_whose_answer_was_lost_with_that_of_a_settlement_are_handed_back(
    server: RedisClient, redis_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nobody waits for those leases; what was settled is settled once, and nobody is blamed."""
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
    assert not await server.exists(keys.LEASES, keys.CRASHES)
