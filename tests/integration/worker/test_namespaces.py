"""Two installations on one database, each in its own namespace: neither sees anything of the other."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import arq
import orjson
import pytest
from arq.connections import ArqRedis
from redis.asyncio import ConnectionPool

from broker import dead_letters, event_log
from broker.admission import AdmissionPolicy, admit
from broker.audit import audit
from broker.records import Job
from broker.redis.client import close
from konvox.events import Event
from tests.support.events import job_of
from tests.support.store import KEYS, RedisClient, connect
from tests.support.workers import dispatcher_of, handler, run_burst, running, until
from worker.arq_function import arq_function

STAGING = "staging"


@pytest.fixture
async def staging(redis_url: str) -> AsyncIterator[RedisClient]:
    """A connection to the same database, in a namespace of its own."""
    connection = connect(redis_url, namespace=STAGING)
    yield connection
    await close(connection)


async def test_the_same_event_is_another_in_each_namespace(
    server: RedisClient, staging: RedisClient, redis_url: str
) -> None:
    """Both namespaces accept the same event, run it once each with their own handlers, and balance."""
    assert await admit(server, [job_of(1)], AdmissionPolicy()) == [True]
    assert await admit(staging, [job_of(1)], AdmissionPolicy()) == [True]
    assert await admit(staging, [job_of(1)], AdmissionPolicy()) == [False]
    ran: list[str] = []

    async def here(_: Event, __: object) -> None:
        ran.append("here")

    async def there(_: Event, __: object) -> None:
        ran.append("there")

    await run_burst(redis_url, handler(there), namespace=STAGING)
    assert ran == ["there"]
    await run_burst(redis_url, handler(here))
    assert ran == ["there", "here"]
    for store in (server, staging):
        ledger = await audit(store)
        assert (ledger.balanced, ledger.accepted, ledger.delivered) == (True, 1, 1)


async def test_no_name_of_a_namespace_is_anothers(server: RedisClient, staging: RedisClient, redis_url: str) -> None:
    """Every key begins with its namespace; jobs, at arq's keys, have it in their id. The default has today's names."""

    async def fail(_: Event, __: object) -> None:
        raise ValueError("no")

    await admit(staging, [job_of(1), Job.replay(job_of(1).record), job_of(2)], AdmissionPolicy())
    await run_burst(redis_url, handler(fail, attempts=1), namespace=STAGING)
    await admit(staging, [job_of(3)], AdmissionPolicy())
    names = [name.decode() async for name in server.scan_iter()]
    assert [name for name in names if not name.startswith((f"{STAGING}:", f"arq:job:{STAGING}:"))] == []
    await admit(server, [job_of(3)], AdmissionPolicy())
    assert await server.exists(KEYS.queue, KEYS.log, KEYS.ledger, f"arq:job:{job_of(3).id}") == 4
    assert KEYS.queue == "konvox:queue"


async def test_events_are_pushed_to_workers_of_their_namespace(staging: RedisClient, redis_url: str) -> None:
    """A worker that waits in another namespace hears nothing, and one of its own is pushed the event."""
    ran: list[str] = []
    done = asyncio.Event()

    async def here(_: Event, __: object) -> None:
        ran.append("here")

    async def there(_: Event, __: object) -> None:
        ran.append("there")
        done.set()

    async with running(redis_url, handler(here)), running(redis_url, handler(there), namespace=STAGING):
        await until(lambda: staging.hlen(staging.our_keys.idle))
        await until(lambda: staging.hlen(KEYS.idle))
        await admit(staging, [job_of(1)], AdmissionPolicy())
        await done.wait()
    assert ran == ["there"]


async def test_what_operators_do_stays_in_the_namespace(staging: RedisClient, redis_url: str) -> None:
    """Events and dead letters are found by the event's plain id, and a retry runs in the same namespace."""
    attempts: list[int] = []

    async def fail_once(_: Event, __: object) -> None:
        attempts.append(1)
        if len(attempts) == 1:
            raise ValueError("no")

    await admit(staging, [job_of(1)], AdmissionPolicy())
    await run_burst(redis_url, handler(fail_once, attempts=1), namespace=STAGING)
    [logged] = await event_log.find_events(staging, job_of(1).record.id)
    letters = await dead_letters.find_dead_letters(staging, job_of(1).record.id)
    assert (logged.state, [letter.handler for letter in letters]) == ("dead", ["fail_once"])
    assert await dead_letters.retry(staging, letters) == 1
    await run_burst(redis_url, handler(fail_once, attempts=1), namespace=STAGING)
    ledger = await audit(staging, spooled=[job_of(1).delivery])
    assert (len(attempts), ledger.balanced, ledger.delivered, ledger.spooled) == (2, True, 1, 0)


async def test_a_stock_arq_worker_drains_a_namespace(staging: RedisClient, redis_url: str) -> None:
    """A stock arq worker reads the jobs of a namespace, as it reads those of the default one."""
    ran: list[str] = []

    async def see(event: Event, _: object) -> None:
        ran.append(event.id)

    await admit(staging, [job_of(1)], AdmissionPolicy())
    pool = ArqRedis(ConnectionPool.from_url(redis_url), job_deserializer=orjson.loads)
    worker = arq.Worker(
        functions=[arq_function(dispatcher_of(handler(see)), namespace=STAGING)],
        queue_name=staging.our_keys.queue,
        redis_pool=pool,
        job_serializer=orjson.dumps,
        job_deserializer=orjson.loads,
        burst=True,
        poll_delay=0.01,
        handle_signals=False,
    )
    await worker.main()
    await pool.aclose(close_connection_pool=True)
    assert ran == [job_of(1).record.id]
    ledger = await audit(staging)
    assert (ledger.balanced, ledger.delivered) == (True, 1)
