"""Events are pushed to a worker that has nothing to do; whatever goes wrong with that costs no event and no crash."""

from __future__ import annotations

import asyncio
from functools import partial
from typing import Any

import pytest

from broker import queue
from broker.admission import AdmissionPolicy, admit
from broker.audit import audit
from konvox.events import Event
from tests.support.events import admitted, claimed, job_of
from tests.support.store import KEYS, RedisClient
from tests.support.workers import handler, running, until
from worker import worker as worker_module
from worker.leasing import notifications


async def _stands(server: RedisClient) -> bool:
    """Whether the claim of a worker stands."""
    return bool(await server.exists(KEYS.idle))


async def _delivered(server: RedisClient, count: int) -> bool:
    return (await audit(server)).delivered == count


async def test_an_idle_worker_runs_what_is_pushed(
    server: RedisClient, redis_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An idle worker runs what is pushed without a claim of its own, and has a standing claim again afterwards."""
    monkeypatch.setattr(worker_module, "POLL_SECONDS", 3600.0)
    holders: list[bytes] = []

    async def note(event: Event, ctx: Any) -> None:
        holders.extend(await server.hvals(KEYS.leases))

    async with running(redis_url, handler(note)):
        for number in range(3):
            await until(lambda: _stands(server))
            assert await admit(server, [job_of(number)], AdmissionPolicy()) == [True]
            await until(partial(_delivered, server, number + 1))
    assert len(holders) == 3
    assert all(b":standing-" in holder for holder in holders)
    ledger = await audit(server)
    assert (ledger.delivered, ledger.balanced) == (3, True)


async def test_a_busy_worker_has_no_standing_claim(server: RedisClient, redis_url: str) -> None:
    """A busy worker has no standing claim, because a blocking handler would keep a push waiting."""
    entered, let_go = asyncio.Event(), asyncio.Event()
    stood: list[bool] = []

    async def wait(event: Event, ctx: Any) -> None:
        stood.append(await _stands(server))
        if len(stood) == 2:
            entered.set()
        await let_go.wait()

    async with running(redis_url, handler(wait)):
        await until(lambda: _stands(server))
        for number in range(2):
            assert await admit(server, [job_of(number)], AdmissionPolicy()) == [True]
            await until(partial(_has, stood, number + 1))
        await entered.wait()
        let_go.set()
    assert stood == [False, False]


async def _has(found: list[bool], count: int) -> bool:
    return len(found) == count


async def test_a_worker_that_stops_withdraws_its_claim(server: RedisClient, redis_url: str) -> None:
    """A worker that stops withdraws its claim, so later events go to others at once and without a crash."""

    async def note(event: Event, ctx: Any) -> None:
        """Do nothing."""

    async with running(redis_url, handler(note)):
        await until(lambda: _stands(server))
    assert not await _stands(server)
    await admitted(server, 1)
    assert not await server.exists(KEYS.leases)


async def lose_a_push(server: RedisClient) -> str:
    """Do as an admission does for the worker whose claim stands, but for the message. Returns the worker's name."""
    ((worker, standing),) = (await server.hgetall(KEYS.idle)).items()
    job = job_of(0)
    pipeline = server.pipeline(transaction=True)
    pipeline.hdel(KEYS.idle, worker)
    pipeline.hset(KEYS.leases, job.id, standing.split()[-1])
    pipeline.zadd(KEYS.queue, {job.id: 4_102_444_800_000})
    pipeline.set(KEYS.job_key(job.id), job.to_bytes())
    await pipeline.execute()
    return str(worker.decode())


async def test_a_message_that_is_lost_with_the_connection_costs_a_moment(
    server: RedisClient, redis_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An event whose push is lost runs at once without a crash, and does not wait for its lease to lapse."""
    monkeypatch.setattr(notifications, "_RECONNECT_SECONDS", 0.01)
    ran = asyncio.Event()
    crashes: list[int] = []

    async def note(event: Event, ctx: Any) -> None:
        crashes.append(await server.exists(KEYS.crashes))
        ran.set()

    async with running(redis_url, handler(note)):
        await until(lambda: _stands(server))
        worker = await lose_a_push(server)
        for client in await server.client_list(_type="pubsub"):
            if worker in await _channels_of(server):
                await server.client_kill_filter(_id=client["id"])
        async with asyncio.timeout(10):
            await ran.wait()
    assert crashes == [0]


async def _channels_of(server: RedisClient) -> str:
    return " ".join(channel.decode() for channel in await server.pubsub_channels(KEYS.push_prefix + "*"))


async def test_more_than_there_are_places_for_is_released(server: RedisClient, redis_url: str) -> None:
    """An event that is pushed beyond the places is released, and runs when there is a place."""
    most, running_now = 0, 0

    async def count(event: Event, ctx: Any) -> None:
        nonlocal most, running_now
        running_now += 1
        most = max(most, running_now)
        await asyncio.sleep(0)
        running_now -= 1

    async with running(redis_url, handler(count), concurrency=2):
        await until(lambda: _stands(server))
        ((worker, standing),) = (await server.hgetall(KEYS.idle)).items()
        token = standing.split()[-1]
        await server.hset(KEYS.idle, worker, b"5 60000 " + token)  # more than it said
        await admitted(server, 5)
        await until(lambda: _delivered(server, 5))
    assert most <= 2
    ledger = await audit(server)
    assert (ledger.delivered, ledger.balanced) == (5, True)
    assert not await server.exists(KEYS.crashes)


async def test_a_claim_that_stood_while_the_worker_slept_is_given_up(
    server: RedisClient, redis_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A worker that slept while its claim stood releases what may have been pushed, which runs without a crash."""
    monkeypatch.setattr(worker_module, "POLL_SECONDS", 3600.0)
    ran = asyncio.Event()
    crashes: list[int] = []

    async def note(event: Event, ctx: Any) -> None:
        crashes.append(await server.exists(KEYS.crashes))
        ran.set()

    async with running(redis_url, handler(note), lease_seconds=600.0) as worker:
        await until(lambda: _stands(server))
        await lose_a_push(server)
        worker._claimer._asked_at -= 600.0  # as after a suspension
        await server.publish(KEYS.wake_channel, "")
        async with asyncio.timeout(10):
            await ran.wait()
    assert crashes == [0]


async def test_a_job_that_is_released_wakes_an_idle_worker(
    server: RedisClient, redis_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A released job wakes an idle worker, and does not wait for its next look."""
    monkeypatch.setattr(worker_module, "POLL_SECONDS", 3600.0)
    await admitted(server, 1)
    claims = (await claimed(server, token="of a worker that stops")).jobs

    async def note(event: Event, ctx: Any) -> None:
        """Do nothing."""

    async with running(redis_url, handler(note), lease_seconds=600.0):
        await until(lambda: _stands(server))
        assert await queue.release(server, claims) == 1
        async with asyncio.timeout(10):
            await until(lambda: _delivered(server, 1))
