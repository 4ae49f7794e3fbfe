"""A worker that has nothing to do is handed events over; whatever goes wrong with that costs no event and no crash."""

from __future__ import annotations

import asyncio
from functools import partial
from typing import Any

import pytest

from broker import keys
from broker.admission import AdmissionPolicy, admit
from broker.audit import audit
from konvox.events import Event
from tests.support.events import admitted, job_of
from tests.support.store import RedisClient
from tests.support.workers import handler, running, until
from worker import wakeup
from worker import worker as worker_module


async def _offers(server: RedisClient) -> bool:
    """Whether a worker has offered to take events."""
    return bool(await server.exists(keys.IDLE))


async def _delivered(server: RedisClient, count: int) -> bool:
    return (await audit(server)).delivered == count


async def test_an_idle_worker_runs_what_it_is_handed(
    server: RedisClient, redis_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without a claim of its own; and offers to take more when that is settled."""
    monkeypatch.setattr(worker_module, "POLL_SECONDS", 3600.0)
    holders: list[bytes] = []

    async def note(event: Event, ctx: Any) -> None:
        holders.extend(await server.hvals(keys.LEASES))

    async with running(redis_url, handler(note)):
        for number in range(3):
            await until(lambda: _offers(server))
            assert await admit(server, [job_of(number)], AdmissionPolicy()) == [True]
            await until(partial(_delivered, server, number + 1))
    assert len(holders) == 3
    assert all(b":offer-" in holder for holder in holders)
    ledger = await audit(server)
    assert (ledger.delivered, ledger.balanced) == (3, True)


async def test_a_busy_worker_makes_no_offer(server: RedisClient, redis_url: str) -> None:
    """A handler that blocks the loop would keep it from hearing; what comes meanwhile it claims."""
    entered, let_go = asyncio.Event(), asyncio.Event()
    offers: list[bool] = []

    async def wait(event: Event, ctx: Any) -> None:
        offers.append(await _offers(server))
        if len(offers) == 2:
            entered.set()
        await let_go.wait()

    async with running(redis_url, handler(wait)):
        await until(lambda: _offers(server))
        for number in range(2):
            assert await admit(server, [job_of(number)], AdmissionPolicy()) == [True]
            await until(partial(_has, offers, number + 1))
        await entered.wait()
        let_go.set()
    assert offers == [False, False]


async def _has(found: list[bool], count: int) -> bool:
    return len(found) == count


async def test_a_worker_that_stops_withdraws_its_offer(server: RedisClient, redis_url: str) -> None:
    """What comes afterwards is for others, at once and without a crash."""

    async def note(event: Event, ctx: Any) -> None:
        """Do nothing."""

    async with running(redis_url, handler(note)):
        await until(lambda: _offers(server))
    assert not await _offers(server)
    await admitted(server, 1)
    assert not await server.exists(keys.LEASES)


async def test_a_message_that_is_lost_with_the_connection_costs_a_moment(
    server: RedisClient, redis_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And not the lease, after which the event would be taken for one that has killed a worker."""
    monkeypatch.setattr(wakeup, "_AGAIN_SECONDS", 0.01)
    ran = asyncio.Event()
    crashes: list[int] = []

    async def note(event: Event, ctx: Any) -> None:
        crashes.append(await server.exists(keys.CRASHES))
        ran.set()

    async with running(redis_url, handler(note)):
        await until(lambda: _offers(server))
        ((worker, offer),) = (await server.hgetall(keys.IDLE)).items()
        job = job_of(0)
        # As an admission would, whose message is lost.
        pipeline = server.pipeline(transaction=True)
        pipeline.hdel(keys.IDLE, worker)
        pipeline.hset(keys.LEASES, job.id, offer.split()[-1])
        pipeline.zadd(keys.QUEUE, {job.id: 4_102_444_800_000})
        pipeline.set(keys.job_key(job.id), job.to_bytes())
        await pipeline.execute()
        for client in await server.client_list(_type="pubsub"):
            if worker.decode() in await _channels_of(server):
                await server.client_kill_filter(_id=client["id"])
        async with asyncio.timeout(10):
            await ran.wait()
    assert crashes == [0]


async def _channels_of(server: RedisClient) -> str:
    return " ".join(channel.decode() for channel in await server.pubsub_channels(keys.HAND_OVER_PREFIX + "*"))


async def test_more_than_there_are_places_for_is_handed_back(server: RedisClient, redis_url: str) -> None:
    """Neither lost nor run at once; it is run when there is a place."""
    most, running_now = 0, 0

    async def count(event: Event, ctx: Any) -> None:
        nonlocal most, running_now
        running_now += 1
        most = max(most, running_now)
        await asyncio.sleep(0)
        running_now -= 1

    async with running(redis_url, handler(count), concurrency=2):
        await until(lambda: _offers(server))
        ((worker, offer),) = (await server.hgetall(keys.IDLE)).items()
        token = offer.split()[-1]
        await server.hset(keys.IDLE, worker, b"5 60000 " + token)  # more than it said
        await admitted(server, 5)
        await until(lambda: _delivered(server, 5))
    assert most <= 2
    ledger = await audit(server)
    assert (ledger.delivered, ledger.balanced) == (5, True)
    assert not await server.exists(keys.CRASHES)
