"""Stopping: what runs may finish, and what does not is released without loss or blame."""

from __future__ import annotations

import asyncio
import signal
import threading
from typing import Any

import pytest

from broker.admission import AdmissionPolicy, admit
from broker.audit import audit
from broker.records import Job
from broker.redis.client import close
from konvox.events import Event
from tests.support.events import admitted, claimed, job_of, queued_ids
from tests.support.store import KEYS, RedisClient, connect
from tests.support.valkey import ValkeyServer
from tests.support.workers import handler, run_burst, running, worker_of
from worker import worker as worker_module
from worker.running.once import OnceBlocks


class Gate:
    """A handler that waits until it is let through, and tells what happened to it."""

    def __init__(self) -> None:
        self.entered = asyncio.Event()
        self.open = asyncio.Event()
        self.ends: list[str] = []

    async def wait(self, _event: Event, _ctx: Any) -> None:
        """The handler."""
        self.entered.set()
        try:
            await self.open.wait()
        except asyncio.CancelledError:
            self.ends.append("cancelled")
            raise
        self.ends.append("done")


async def test_a_running_handler_may_finish(server: RedisClient, redis_url: str) -> None:
    """A worker that was asked to stop finishes what runs, and begins nothing new."""
    await admitted(server, 1)
    gate = Gate()
    worker = worker_of(redis_url, handler(gate.wait, name="wait"), concurrency=1)
    run = asyncio.create_task(worker.async_run())
    await gate.entered.wait()
    states = [worker.ready]
    worker.stop()
    states.append(worker.ready)
    assert states == [True, False]
    await admit(server, [job_of(1), job_of(2)], AdmissionPolicy())
    gate.open.set()
    await run
    await worker.close()
    assert gate.ends == ["done"]
    ledger = await audit(server)
    assert (ledger.delivered, ledger.pending, ledger.balanced) == (1, 2, True)


async def test_asked_twice_it_stops_at_once(server: RedisClient, redis_url: str) -> None:
    """After a second request to stop, what ran is due at once with its attempt and without a crash."""
    await admitted(server, 3)
    gate = Gate()
    worker = worker_of(redis_url, handler(gate.wait, name="wait"))
    run = asyncio.create_task(worker.async_run())
    await gate.entered.wait()
    worker.handle_sig(signal.SIGTERM)
    worker.handle_sig(signal.SIGTERM)
    async with asyncio.timeout(10):
        await run
    await worker.close()
    assert set(gate.ends) == {"cancelled"}
    assert not await server.exists(KEYS.leases, KEYS.crashes)
    claims = (await claimed(server, token="next")).jobs
    assert [claim.crashes for claim in claims] == [0, 0, 0]
    assert {Job.from_bytes(claim.payload or b"").attempt for claim in claims} == {1}


async def test_ten_deploys_use_up_no_attempt(server: RedisClient, redis_url: str) -> None:
    """A handler with a single attempt survives ten deploys, because they use up no attempt."""
    await admitted(server, 1)
    for _ in range(10):
        gate = Gate()
        worker = worker_of(redis_url, handler(gate.wait, name="wait", attempts=1))
        run = asyncio.create_task(worker.async_run())
        await gate.entered.wait()
        worker.stop()
        worker.stop()
        await run
        await worker.close()
    attempts: list[int] = []

    async def note(event: Event, ctx: Any) -> None:
        attempts.append(ctx.attempt)

    await run_burst(redis_url, handler(note, name="wait", attempts=1))
    assert attempts == [1]
    ledger = await audit(server)
    assert (ledger.delivered, ledger.dead_letters, ledger.balanced) == (1, 0, True)


async def test_a_handler_that_takes_too_long_is_released(server: RedisClient, redis_url: str) -> None:
    """A handler's event is due again after `stop_seconds`, although a plain handler keeps running."""
    await admitted(server, 1)
    entered, let_go = asyncio.Event(), threading.Event()
    loop = asyncio.get_running_loop()

    def block(event: Event, ctx: Any) -> None:
        loop.call_soon_threadsafe(entered.set)
        let_go.wait(20)

    async with running(redis_url, handler(block), stop_seconds=0.05):
        await entered.wait()
    let_go.set()
    (claim,) = (await claimed(server, token="next")).jobs
    assert claim.crashes == 0


async def test_a_handler_that_will_not_be_cancelled_does_not_hold_up_the_end(
    server: RedisClient, redis_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The event and the key of a handler that cannot be cancelled are released, although it still runs."""
    monkeypatch.setattr(worker_module, "CANCELLED_SECONDS", 0.05)
    jobs = await admitted(server, 1)
    entered, let_go = asyncio.Event(), asyncio.Event()
    once, once_key = OnceBlocks(600_000), KEYS.once_key(jobs[0].record.id, "stubborn", "crm")

    async def stubborn(event: Event, ctx: Any) -> None:
        assert await once.enter(server, once_key) is not None
        entered.set()
        while not let_go.is_set():
            try:
                await let_go.wait()
            except asyncio.CancelledError:
                continue

    async with running(redis_url, handler(stubborn), stop_seconds=0.05, once=once):
        await entered.wait()
        asyncio.get_running_loop().call_later(20, let_go.set)  # ends the test, were it to wait
    assert not let_go.is_set()
    let_go.set()
    assert await queued_ids(server) == {jobs[0].id}
    assert not await server.exists(once_key)
    (claim,) = (await claimed(server, token="next")).jobs
    assert claim.crashes == 0


async def test_an_outage_does_not_keep_the_worker_from_ending(
    own_valkey: ValkeyServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A worker that stops in an outage ends, and what it could not write runs again when its lease lapses."""
    monkeypatch.setattr(worker_module, "FAREWELL_SECONDS", 0.3)
    server = connect(own_valkey.url())
    await admitted(server, 1)
    gate = Gate()
    worker = worker_of(own_valkey.url(), handler(gate.wait, name="wait"))
    run = asyncio.create_task(worker.async_run())
    await gate.entered.wait()
    own_valkey.kill()
    worker.stop()
    gate.open.set()
    async with asyncio.timeout(20):
        await run
        await worker.close()
    assert gate.ends == ["done"]
    own_valkey.start()
    ledger = await audit(server)
    assert (ledger.pending, ledger.balanced) == (1, True)
    await close(server)
