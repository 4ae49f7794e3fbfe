"""The failover writer before a real Valkey that is killed, hangs, is full or read-only: every event is kept, once."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import AsyncIterator, Sequence
from pathlib import Path

import pytest

from broker.admission import AdmissionPolicy, admit
from broker.audit import audit
from broker.errors import BrokerUnavailableError
from broker.records import Job
from broker.redis.client import close
from broker.redis.durability import BY_WAITAOF
from receiver.failover import FailoverWriter
from receiver.spool import Spool, spooled_events
from tests.support.events import job_of
from tests.support.logwatch import LogWatch, watching
from tests.support.refusals import (
    Refusal,
    cannot_save,
    disk_is_full,
    is_a_replica,
    is_full,
    lacks_its_master,
    lacks_replicas,
)
from tests.support.spooling import ROOM, files_in
from tests.support.store import KEYS, RedisClient, connect
from tests.support.valkey import ValkeyServer

POLICY = AdmissionPolicy()

ANSWER_SECONDS = 3.0
"""In what time every batch must be answered, whatever the state of Redis."""

BACK_SECONDS = 5.0
"""In what time the writer must have noticed that Redis is back."""


@pytest.fixture
async def log() -> AsyncIterator[LogWatch]:
    """The log."""
    with watching() as watch:
        yield watch


@pytest.fixture
async def own_server(own_valkey: ValkeyServer) -> AsyncIterator[RedisClient]:
    """A connection to it."""
    connection = connect(own_valkey.url())
    yield connection
    await close(connection)


@pytest.fixture
async def failover(own_server: RedisClient, tmp_path: Path, log: LogWatch) -> AsyncIterator[FailoverWriter]:
    """A failover before it."""

    async def write(jobs: Sequence[Job]) -> list[bool]:
        return await admit(own_server, jobs, POLICY)

    async with Spool(tmp_path / "spool", max_bytes=ROOM) as spool, FailoverWriter(write, spool) as opened:
        yield opened


async def kept(failover: FailoverWriter, *numbers: int) -> list[str]:
    """Give events to the writer one by one; each must be accepted in time. Returns their ids."""
    jobs = [job_of(number) for number in numbers]
    for job in jobs:
        async with asyncio.timeout(ANSWER_SECONDS):
            assert await failover.write([job]) == [True]
    return [job.id for job in jobs]


async def assert_all_in_redis(server: RedisClient, ids: Sequence[str]) -> None:
    """Each of them waits there, once, in the order in which they came, and the ledger says the same."""
    assert sorted(job_id.decode() for job_id in await server.zrange(KEYS.queue, 0, -1)) == sorted(ids)
    logged = [Job.from_bytes(fields[b"job"]).id for _, fields in await server.xrange(KEYS.log)]
    assert logged == list(ids)
    ledger = await audit(server)
    assert (ledger.accepted, ledger.pending, ledger.balanced) == (len(ids), len(ids), True)


async def assert_one_outage(failover: FailoverWriter, log: LogWatch, tmp_path: Path) -> None:
    """It is over in time; each change was said once; nothing is left on disk."""
    async with asyncio.timeout(BACK_SECONDS):
        await log.until("drain.finished")
    assert log.names("spooling.", "drain.") == ["spooling.started", "drain.started", "drain.finished"]
    assert (failover.state, failover.ready, failover.spooled_events) == ("direct", True, 0)
    assert files_in(tmp_path / "spool") == []


async def test_redis_killed_and_started_again(
    own_valkey: ValkeyServer, own_server: RedisClient, failover: FailoverWriter, log: LogWatch, tmp_path: Path
) -> None:
    """After Redis was killed and started again, events that came meanwhile are in it behind the earlier ones."""
    ids = await kept(failover, 1, 2)
    own_valkey.kill()
    ids += await kept(failover, *range(3, 20))
    assert (failover.state, failover.ready, failover.spooled_events) == ("spooling", True, 17)
    assert spooled_events(tmp_path / "spool").ids == tuple(ids[2:])
    own_valkey.start()
    await assert_one_outage(failover, log, tmp_path)
    ids += await kept(failover, 20)
    await assert_all_in_redis(own_server, ids)


async def test_redis_hung(
    own_valkey: ValkeyServer, own_server: RedisClient, failover: FailoverWriter, log: LogWatch, tmp_path: Path
) -> None:
    """While Redis hangs only the first batch waits for its time-out, and what it wrote is not written twice."""
    assert own_valkey.process is not None
    ids = await kept(failover, 1)
    own_valkey.process.send_signal(signal.SIGSTOP)
    try:
        ids += await kept(failover, 2)
        async with asyncio.timeout(0.5):
            ids += await kept(failover, 3, 4)
        assert failover.spooled_events == 3
    finally:
        own_valkey.process.send_signal(signal.SIGCONT)
    await assert_one_outage(failover, log, tmp_path)
    ids += await kept(failover, 5)
    await assert_all_in_redis(own_server, ids)


@pytest.mark.parametrize(
    ("refusal", "reason", "found_by"),
    [
        (is_full, "OutOfMemoryError", "an event"),
        (is_full, "OutOfMemoryError", "a look"),
        (is_a_replica, "READONLY", "an event"),
        (cannot_save, "MISCONF", "an event"),
        (lacks_replicas, "NOREPLICAS", "an event"),
        (lacks_replicas, "NOREPLICAS", "a look"),
        (lacks_its_master, "MASTERDOWN", "an event"),
    ],
)
async def test_redis_takes_no_writes(
    refusal: Refusal,
    reason: str,
    found_by: str,
    own_valkey: ValkeyServer,
    own_server: RedisClient,
    failover: FailoverWriter,
    log: LogWatch,
    tmp_path: Path,
) -> None:
    """A Redis that answers and refuses writes is found out by writing, not by asking how it is."""
    ids = await kept(failover, 1, 2)
    with refusal(own_valkey):
        if found_by == "a look":
            await failover.look()
            assert failover.state == "spooling"
        ids += await kept(failover, 3, 4, 5)
        assert failover.state == "spooling"
        said = (await log.until("spooling.started"))["reason"]
        assert reason in said
        assert said.endswith(")")  # the hint
    await assert_one_outage(failover, log, tmp_path)
    ids += await kept(failover, 6)
    await assert_all_in_redis(own_server, ids)


async def test_a_disk_that_is_full_under_redis(log: LogWatch, tmp_path: Path) -> None:
    """A batch that Redis takes into memory and cannot confirm is spooled, and in the end it is there once."""
    (tmp_path / "redis").mkdir()
    with ValkeyServer(tmp_path / "redis", appendfsync="everysec") as valkey:
        server = connect(valkey.url())

        async def write(jobs: Sequence[Job]) -> list[bool]:
            return await admit(server, jobs, AdmissionPolicy(confirmation=BY_WAITAOF))

        async with Spool(tmp_path / "spool", max_bytes=ROOM) as spool, FailoverWriter(write, spool) as failover:
            ids = await kept(failover, 1)
            with disk_is_full(valkey):
                ids += await kept(failover, 2, 3)
                assert (failover.state, failover.spooled_events) == ("spooling", 2)
            await assert_one_outage(failover, log, tmp_path)
            await assert_all_in_redis(server, ids)
        await close(server)


async def test_a_receiver_that_stops_in_an_outage_loses_nothing(
    own_valkey: ValkeyServer, own_server: RedisClient, log: LogWatch, tmp_path: Path
) -> None:
    """A receiver that follows one stopped in an outage drains what that left, in the order in which it came."""

    async def write(jobs: Sequence[Job]) -> list[bool]:
        return await admit(own_server, jobs, POLICY)

    own_valkey.kill()
    ids: list[str] = []
    for number in range(3):
        async with Spool(tmp_path / "spool", max_bytes=ROOM) as spool, FailoverWriter(write, spool) as failover:
            ids += await kept(failover, 2 * number, 2 * number + 1)
            assert failover.state == "spooling"
    own_valkey.start()
    async with Spool(tmp_path / "spool", max_bytes=ROOM) as spool, FailoverWriter(write, spool):
        while await own_server.zcard(KEYS.queue) < len(ids):
            await log.until("drain.finished", times=len(log.of("drain.finished")) + 1)
    await assert_all_in_redis(own_server, ids)


async def test_neither_redis_nor_the_spool(own_valkey: ValkeyServer, own_server: RedisClient, tmp_path: Path) -> None:
    """If neither Redis nor the spool takes events, none is accepted and readiness is red until Redis is back."""

    async def write(jobs: Sequence[Job]) -> list[bool]:
        return await admit(own_server, jobs, POLICY)

    with watching() as log:
        async with Spool(tmp_path / "spool", max_bytes=20_000) as spool, FailoverWriter(write, spool) as failover:
            own_valkey.kill()
            for _ in range(2):
                with pytest.raises(BrokerUnavailableError, match="the spool cannot be used"):
                    await failover.write([job_of(1, subject="x" * 20_000)])
            assert (failover.state, failover.ready) == ("spooling", False)
            own_valkey.start()
            await log.until("drain.finished")
            assert (failover.state, failover.ready) == ("direct", True)
            assert await failover.write([job_of(1)]) == [True]


async def test_events_of_all_callers_are_kept_through_an_outage(
    own_valkey: ValkeyServer, own_server: RedisClient, failover: FailoverWriter, log: LogWatch, tmp_path: Path
) -> None:
    """More than a thousand events are kept while Redis goes and comes, live ones among those that are drained."""
    ids: list[str] = []
    stop, delivered = asyncio.Event(), asyncio.Event()

    async def deliver() -> None:
        number = 0
        while not stop.is_set():
            jobs = [job_of(number + index) for index in range(10)]
            async with asyncio.timeout(ANSWER_SECONDS):
                assert await failover.write(jobs) == [True] * 10
            ids.extend(job.id for job in jobs)
            number += 10
            delivered.set()

    delivering = asyncio.create_task(deliver())
    for outage in range(3):
        own_valkey.kill()
        await log.until("spooling.started", times=outage + 1)
        spooled = failover.spooled_events
        while failover.spooled_events < spooled + 300:
            delivered.clear()
            await delivered.wait()
        await asyncio.to_thread(own_valkey.start)
        await log.until("drain.finished", times=outage + 1)
    stop.set()
    await delivering
    await log.until("drain.finished", times=3)
    assert failover.spooled_events == 0
    server = own_server
    assert {job_id.decode() for job_id in await server.zrange(KEYS.queue, 0, -1)} == set(ids)
    ledger = await audit(server)
    assert (ledger.accepted, ledger.balanced) == (len(ids), True)
