"""A stock arq worker on our queue: it drains it with our retries and dead letters, and loses nothing."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator
from typing import Any

import arq
import orjson
import pytest
from arq.connections import ArqRedis
from arq.jobs import Job as ArqJob
from arq.jobs import JobStatus
from redis.asyncio import ConnectionPool
from redis.exceptions import ConnectionError as RedisConnectionError

from broker import queue
from broker.audit import audit
from broker.dead_letters import list_dead_letters
from broker.redis.client import as_arq
from handlers.registry import Handler
from konvox.events import Event
from tests.support.events import RECEIVED_AT_MS, admitted, claimed, delivered, make_due, queued_ids, settled
from tests.support.store import KEYS, RedisClient
from tests.support.workers import dispatcher_of, handler, run_burst, until
from worker.arq_function import LEASE_SECONDS, arq_function


@pytest.fixture
async def pool(redis_url: str) -> AsyncIterator[ArqRedis]:
    """A plain connection, as users of arq make it."""
    connection = ArqRedis(
        ConnectionPool.from_url(redis_url), job_serializer=orjson.dumps, job_deserializer=orjson.loads
    )
    yield connection
    await connection.aclose(close_connection_pool=True)


class StockWorker(arq.Worker):
    """Stock arq, which can be ended between two polls."""

    polling: asyncio.Lock
    polling_task: asyncio.Task[None]

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self.polling = asyncio.Lock()

    def start(self) -> None:
        """In the background."""
        self.polling_task = asyncio.create_task(self.main())

    async def _poll_iteration(self) -> None:
        """As arq's, and never cut short: cancelled during its UNWATCH, redis-py would leave a connection open."""
        async with self.polling:
            await super()._poll_iteration()

    async def end(self) -> None:
        """Stop polling, and interrupt what runs."""
        async with self.polling:
            self.polling_task.cancel()
        await asyncio.wait([self.polling_task])
        for task in self.tasks.values():
            task.cancel()
        await asyncio.gather(*self.tasks.values(), return_exceptions=True)


def stock_worker(pool: ArqRedis, *handlers: Handler, **options: Any) -> StockWorker:
    """A worker as users of arq make it."""
    return StockWorker(
        functions=[arq_function(dispatcher_of(*handlers))],
        queue_name=KEYS.queue,
        job_serializer=orjson.dumps,
        job_deserializer=orjson.loads,
        redis_pool=pool,
        poll_delay=0.01,
        handle_signals=False,
        **{"burst": True, **options},
    )


async def test_it_drains_our_queue(server: RedisClient, pool: ArqRedis) -> None:
    """A stock worker retries the handler that failed, buries the one that gave up, and the ledger balances."""
    await admitted(server, 5)
    runs: Counter[str] = Counter()

    async def steady(event: Event, ctx: Any) -> None:
        runs["steady"] += 1

    async def flaky(event: Event, ctx: Any) -> None:
        runs["flaky"] += 1
        if ctx.attempt == 1:
            raise RuntimeError

    def hopeless(event: Event, ctx: Any) -> None:
        runs["hopeless"] += 1
        raise RuntimeError

    await stock_worker(pool, handler(steady), handler(flaky), handler(hopeless, attempts=2)).main()
    assert runs == {"steady": 5, "flaky": 10, "hopeless": 10}
    assert len([letter async for letter in list_dead_letters(server)]) == 5
    ledger = await audit(server)
    assert (ledger.accepted, ledger.dead, ledger.pending, ledger.balanced) == (5, 5, 0, True)
    assert not await server.exists(KEYS.leases, KEYS.crashes)


async def test_it_shares_the_queue_with_ours(server: RedisClient, pool: ArqRedis, redis_url: str) -> None:
    """A job that a stock worker or ours has taken is left alone by the other."""
    jobs = await admitted(server, 200)
    runs: Counter[str] = Counter()

    async def note(event: Event, ctx: Any) -> None:
        runs[event.id] += 1
        await asyncio.sleep(0)

    async with asyncio.TaskGroup() as group:
        group.create_task(stock_worker(pool, handler(note)).main())
        group.create_task(run_burst(redis_url, handler(note), concurrency=3))
    assert runs == Counter({job.record.id: 1 for job in jobs})
    ledger = await audit(server)
    assert (ledger.delivered, ledger.balanced) == (200, True)


async def test_our_jobs_can_be_looked_at_with_arq(server: RedisClient) -> None:
    """Stock arq shows status and details of our jobs while they are queued or leased, and when they are gone."""
    (job,) = await admitted(server, 1)
    arq_job = ArqJob(job.id, as_arq(server), _queue_name=KEYS.queue, _deserializer=orjson.loads)
    assert await arq_job.status() == JobStatus.queued
    info = await arq_job.info()
    assert info is not None
    assert info.function == "deliver"
    assert info.kwargs["event_id"] == job.record.id
    assert info.enqueue_time.timestamp() * 1000 == RECEIVED_AT_MS
    (claim,) = (await claimed(server, token="a")).jobs
    assert await arq_job.status() == JobStatus.deferred
    await settled(server, delivered(claim))
    assert await arq_job.status() == JobStatus.not_found


class Interrupted:
    """A stock worker with one event in a handler that waits."""

    def __init__(self, pool: ArqRedis, **options: Any) -> None:
        self.entered, self.let_go = asyncio.Event(), asyncio.Event()

        async def wait(event: Event, ctx: Any) -> None:
            self.entered.set()
            await self.let_go.wait()

        self.worker = stock_worker(pool, handler(wait), burst=False, **options)
        self.worker.start()


async def test_when_it_stops_the_job_is_released(server: RedisClient, pool: ArqRedis) -> None:
    """When a stock worker stops, its job is due at once, without a crash or an attempt."""
    (job,) = await admitted(server, 1)
    interrupted = Interrupted(pool)
    await interrupted.entered.wait()
    assert (await claimed(server, token="other")).jobs == []
    await interrupted.worker.end()
    (claim,) = (await claimed(server, token="other")).jobs
    assert (claim.job_id, claim.crashes, claim.payload) == (job.id, 0, job.to_bytes())


@pytest.mark.parametrize("fault", ["away", "fenced"])
async def test_what_was_not_written_is_not_deleted(
    server: RedisClient, pool: ArqRedis, fault: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An event whose end could not be written, or is not ours to write, stays, though stock arq deletes what fails."""
    (job,) = await admitted(server, 1)
    interrupted = Interrupted(pool)
    await interrupted.entered.wait()
    tried = asyncio.Event()
    original = queue.settle

    async def settle(*arguments: Any, **options: Any) -> set[str]:
        tried.set()
        if fault == "away":
            raise RedisConnectionError("gone")
        return await original(*arguments, **options)

    if fault == "fenced":
        await make_due(server, [job.id])
        assert len((await claimed(server, token="other")).jobs) == 1
    monkeypatch.setattr(queue, "settle", settle)
    interrupted.let_go.set()
    await tried.wait()
    await until(lambda: _is_idle(interrupted.worker))
    await interrupted.worker.end()
    monkeypatch.undo()
    assert await queued_ids(server) == {job.id}
    assert await server.get(KEYS.job_key(job.id)) == job.to_bytes()
    await make_due(server, [job.id])
    await stock_worker(pool).main()
    ledger = await audit(server)
    assert (ledger.delivered, ledger.balanced) == (1, True)


async def _is_idle(worker: arq.Worker) -> bool:
    return worker.jobs_retried == 1


async def test_a_time_out_of_arqs_own_deletes_nothing(server: RedisClient, pool: ArqRedis) -> None:
    """The time-out of arq comes only if a handler does not stop at ours, and the job is kept."""
    (job,) = await admitted(server, 1)

    async def never(event: Event, ctx: Any) -> None:
        await asyncio.Event().wait()

    function = arq_function(dispatcher_of(handler(never)))
    function.timeout_s = 0.05
    worker = stock_worker(pool, burst=False)
    worker.functions = {function.name: function}
    worker.start()
    await until(lambda: _is_idle(worker))
    await worker.end()
    assert await queued_ids(server) == {job.id}
    assert await server.exists(KEYS.job_key(job.id))


def test_its_time_limit_is_longer_than_any_handlers() -> None:
    """The time limit of arq never comes before that of a handler, which we apply."""

    async def patient(event: Event, ctx: Any) -> None:
        pass

    assert arq_function(dispatcher_of()).timeout_s == LEASE_SECONDS - 10
    assert arq_function(dispatcher_of(handler(patient, timeout_seconds=3600))).timeout_s == 3610
