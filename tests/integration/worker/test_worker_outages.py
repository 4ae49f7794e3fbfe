"""Redis goes away, hangs, forgets its scripts or is full: the worker waits, and comes back by itself."""

from __future__ import annotations

import asyncio
import signal
from collections import Counter
from collections.abc import AsyncIterator
from typing import Any

import pytest

from broker.admission import AdmissionPolicy, admit
from broker.audit import audit
from broker.redis.client import close
from konvox.events import Event
from tests.support.events import admitted, claimed, job_of
from tests.support.logwatch import watching
from tests.support.refusals import Refusal, cannot_save, lacks_its_master, lacks_replicas
from tests.support.store import KEYS, RedisClient, connect
from tests.support.valkey import ValkeyServer
from tests.support.workers import handler, run_burst, running, until
from worker.leasing import renewal

BACK_SECONDS = 5.0
"""In what time the worker must have noticed that Redis is back."""


@pytest.fixture
async def own(own_valkey: ValkeyServer) -> AsyncIterator[RedisClient]:
    """A connection to the Valkey that is to be broken."""
    server = connect(own_valkey.url())
    yield server
    await close(server)


async def _delivered(server: RedisClient, count: int) -> bool:
    return (await audit(server)).delivered == count


async def _unready(worker: Any) -> bool:
    return not worker.ready


async def _ready(worker: Any) -> bool:
    return bool(worker.ready)


async def test_the_worker_survives_a_restart_of_redis(own: RedisClient, own_valkey: ValkeyServer) -> None:
    """After Redis was killed and started again, the events are still there, and are run."""
    async with running(own_valkey.url(), handler(_nothing)) as worker:
        await admitted(own, 1)
        await until(lambda: _delivered(own, 1))
        own_valkey.kill()
        await until(lambda: _unready(worker))
        own_valkey.start()
        await until(lambda: _ready(worker))
        assert await admit(own, [job_of(0), job_of(1)], AdmissionPolicy()) == [False, True]
        await until(lambda: _delivered(own, 2))
    assert (await audit(own)).balanced


async def _nothing(event: Event, ctx: Any) -> None:
    pass


async def test_what_ended_during_an_outage_is_written_afterwards(own: RedisClient, own_valkey: ValkeyServer) -> None:
    """A handler that ended during an outage is settled when Redis is back, and not run again."""
    await admitted(own, 5)
    runs: Counter[str] = Counter()
    entered, let_go = asyncio.Barrier(6), asyncio.Event()

    async def slow(event: Event, ctx: Any) -> None:
        runs[event.id] += 1
        await entered.wait()
        await let_go.wait()

    async with running(own_valkey.url(), handler(slow)) as worker:
        await entered.wait()
        own_valkey.kill()
        let_go.set()
        await until(lambda: _unready(worker))
        own_valkey.start()
        await until(lambda: _delivered(own, 5))
    assert set(runs.values()) == {1}
    assert not await own.exists(KEYS.crashes, KEYS.leases)


async def test_an_outage_longer_than_the_lease_runs_nothing_twice(
    own: RedisClient, own_valkey: ValkeyServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The leases of what still runs have lapsed: its own worker claims those jobs again first, without a crash."""
    monkeypatch.setattr(renewal, "RENEWALS_PER_LEASE", 0.01)  # the renewal does not happen to come first
    await admitted(own, 5)
    runs: Counter[str] = Counter()
    entered, let_go = asyncio.Barrier(6), asyncio.Event()

    async def slow(event: Event, ctx: Any) -> None:
        runs[event.id] += 1
        await entered.wait()
        await let_go.wait()

    async with running(own_valkey.url(), handler(slow), lease_seconds=1.0) as worker:
        await entered.wait()
        own_valkey.kill()
        await asyncio.sleep(1.1)  # the end of the lease is what this is about
        own_valkey.start()
        await until(lambda: _ready(worker))
        assert not await own.exists(KEYS.crashes)
        let_go.set()
        await until(lambda: _delivered(own, 5))
    assert set(runs.values()) == {1}


async def test_claims_whose_answer_never_came_are_released(own: RedisClient, own_valkey: ValkeyServer) -> None:
    """Claims whose answer never came, but which a hung server made, are released without a crash."""
    assert own_valkey.process is not None
    jobs = await admitted(own, 50)
    seconds, microseconds = await own.time()
    due_ms = seconds * 1000 + microseconds // 1000 + 300
    await own.zadd(KEYS.queue, {job.id: due_ms for job in jobs})
    runs: Counter[str] = Counter()

    async def count(event: Event, ctx: Any) -> None:
        runs[event.id] += 1

    async with running(own_valkey.url(), handler(count), lease_seconds=600.0, timeout_seconds=0.5) as worker:
        await until(lambda: _has_looked(own))
        own_valkey.process.send_signal(signal.SIGSTOP)
        await until(lambda: _unready(worker))  # the claim of what fell due meanwhile was not answered
        own_valkey.process.send_signal(signal.SIGCONT)
        async with asyncio.timeout(20):
            await until(lambda: _delivered(own, 50))
    assert runs == Counter({job.record.id: 1 for job in jobs})


async def _has_looked(server: RedisClient) -> bool:
    return bool(await server.exists(f"{KEYS.queue}:health-check"))


async def test_scripts_that_were_flushed_are_loaded_again(server: RedisClient, redis_url: str) -> None:
    """The worker keeps going if the server forgets its scripts at any step."""
    await admitted(server, 20)

    async def flush(event: Event, ctx: Any) -> None:
        await server.script_flush()
        if ctx.attempt == 1:
            raise RuntimeError

    await server.script_flush()
    await run_burst(redis_url, handler(flush), concurrency=3)
    assert (await audit(server)).delivered == 20


async def test_a_full_redis_is_drained(own: RedisClient, own_valkey: ValkeyServer) -> None:
    """The worker settles events while Redis is full, because only that makes room."""
    await admitted(own, 100)
    used = (await own.info("memory"))["used_memory"]
    await own.config_set("maxmemory", str(used - 1))
    await run_burst(own_valkey.url(), handler(_nothing), concurrency=10)
    ledger = await audit(own)
    assert (ledger.delivered, ledger.balanced) == (100, True)


async def test_a_read_only_redis_is_waited_for(own: RedisClient, own_valkey: ValkeyServer) -> None:
    """The worker waits for a server that is read-only, as during a failover."""
    await admitted(own, 1)
    await own.execute_command("REPLICAOF", "127.0.0.1", "1")
    async with running(own_valkey.url(), handler(_nothing)) as worker:
        await until(lambda: _unready(worker))
        await own.execute_command("REPLICAOF", "NO", "ONE")
        await until(lambda: _delivered(own, 1))
    assert (await claimed(own, token="rest")).jobs == []


@pytest.mark.parametrize(
    ("refusal", "code"),
    [(cannot_save, "MISCONF"), (lacks_replicas, "NOREPLICAS"), (lacks_its_master, "READONLY")],
)
async def test_a_redis_that_takes_no_writes_is_waited_for(
    own: RedisClient, own_valkey: ValkeyServer, refusal: Refusal, code: str
) -> None:
    """A Redis that refuses writes is waited for, with one line of log at the beginning and one at the end."""
    with watching() as log:
        async with running(own_valkey.url(), handler(_nothing)) as worker:
            await until(lambda: _has_looked(own))
            with refusal(own_valkey):
                away = await log.until("redis.lost")
                assert not worker.ready
            async with asyncio.timeout(BACK_SECONDS):
                await until(lambda: _ready(worker))
            await admitted(own, 1)
            await until(lambda: _delivered(own, 1))
    assert code in away["error"]
    assert away["error"].endswith(")")  # the hint
    assert log.names("redis.") == ["redis.lost", "redis.restored"]
