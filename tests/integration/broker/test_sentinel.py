"""A Sentinel set-up: the present master is found, and found again after a failover."""

from __future__ import annotations

import asyncio
import gc
import os
import signal
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
import redis

from broker.admission import AdmissionPolicy, admit
from broker.redis.client import OUTAGES, close
from broker.redis.durability import Confirmation
from broker.redis.sentinel import check_sentinels
from broker.redis.sentinel_url import parse_sentinel_url
from tests.support.events import job_of
from tests.support.sentinel import MASTER, SentinelSet
from tests.support.store import KEYS, BlockingRedisClient, RedisClient, connect, connect_blocking
from tests.support.workers import until
from worker.leasing.notifications import end, listen


@pytest.fixture
def redis_set(tmp_path: Path) -> Iterator[SentinelSet]:
    """A master, a replica and three sentinels with a password."""
    with SentinelSet(tmp_path) as redis_set:
        yield redis_set


@pytest.fixture
async def client(redis_set: SentinelSet) -> AsyncIterator[RedisClient]:
    """A client that was given the sentinels."""
    server = connect(redis_set.url())
    yield server
    await close(server)


@pytest.fixture
def blocking_client(redis_set: SentinelSet) -> Iterator[BlockingRedisClient]:
    """The same for a thread."""
    with connect_blocking(redis_set.url()) as server:
        yield server


async def test_a_master_that_has_become_a_replica_is_left(
    redis_set: SentinelSet, client: RedisClient, blocking_client: BlockingRedisClient
) -> None:
    """All kinds of connections leave a master that has become a replica, although it keeps them open."""
    woken, subscribed = asyncio.Event(), asyncio.Event()
    listener = asyncio.create_task(listen(client, {KEYS.wake_channel: lambda _: woken.set()}, lost=subscribed.set))
    await subscribed.wait()
    old = redis_set.master_port()
    await client.set("asked", "once")
    blocking_client.set("asked", "once")
    await asyncio.to_thread(redis_set.swap)

    at_once = AdmissionPolicy(confirmation=Confirmation(("WAIT", 0, 100), needed=(0,)))
    assert await admit(client, [job_of(0)], at_once) == [True]  # two commands in one round trip
    with pytest.raises(redis.ConnectionError, match="now a slave"):  # no repetition here: the next renewal is near
        blocking_client.set("asked", "again")
    blocking_client.set("asked", "again")

    (new,) = set(redis_set.servers) - {old}
    assert [(await client.info("server"))["tcp_port"], blocking_client.info("server")["tcp_port"]] == [new, new]

    async def is_woken() -> bool:
        await client.publish(KEYS.wake_channel, "")
        return woken.is_set()

    subscribed.clear()
    await asyncio.to_thread(redis_set.drop_clients, old)
    await subscribed.wait()
    woken.clear()  # the old master is the new one's replica, and has passed on what was published there
    await until(is_woken)
    await end(listener)


async def test_a_question_leaves_no_connection_open(redis_set: SentinelSet) -> None:
    """A question to the sentinels that is cancelled at any moment, even twice, leaves no connection open."""
    address = parse_sentinel_url(redis_set.url())
    for turns in range(40):
        asking = asyncio.create_task(check_sentinels(address))
        for _ in range(turns):
            await asyncio.sleep(0)
        for _ in range(3):
            asking.cancel()
            await asyncio.sleep(0)
        await asyncio.wait([asking])
    gc.collect()  # an open connection says so, and pytest listens


async def test_what_is_missing_is_bridged_or_reported(
    redis_set: SentinelSet, client: RedisClient, blocking_client: BlockingRedisClient
) -> None:
    """A hung sentinel costs less than a command has, a master without replicas is left, and faults are named."""
    hung = redis_set.sentinels[0].pid
    os.kill(hung, signal.SIGSTOP)
    try:
        async with asyncio.timeout(1.5):
            await client.ping()
        assert blocking_client.ping()
    finally:
        os.kill(hung, signal.SIGCONT)

    before = await client.client_id()
    await client.config_set("min-replicas-to-write", 2)
    for outage in (client.set("key", "value"), asyncio.to_thread(blocking_client.set, "key", "value")):
        with pytest.raises(OUTAGES, match="NOREPLICAS"):
            await outage
    await client.config_set("min-replicas-to-write", 0)
    assert await client.client_id() != before

    for url, said in (
        (redis_set.url(master="others"), "no sentinel names a master others .* knows none of this name"),
        (
            redis_set.url().replace("only", "wrong"),
            f"no sentinel names a master {MASTER} .* refuses sentinel_username or sentinel_password",
        ),
    ):
        server = connect(url)
        with pytest.raises(OUTAGES, match=said):
            await server.ping()
        await close(server)
