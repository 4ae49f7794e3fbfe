"""Claiming ahead: while handlers never wait, the next load is at hand; who has to wait keeps nothing from others."""

from __future__ import annotations

import asyncio
import contextvars
from typing import Any

from broker import keys
from broker.connection import Server
from broker.ledger import audit
from konvox.events import Event
from tests.support.events import admitted, claimed
from tests.support.workers import handler, run_burst, running, until, worker_of
from worker.worker import HookWorker

_mine: contextvars.ContextVar[str] = contextvars.ContextVar("_mine")


async def _delivered(server: Server, count: int) -> bool:
    return (await audit(server)).delivered == count


async def test_handlers_that_never_wait_find_the_next_load_at_hand(server: Server, redis_url: str) -> None:
    """No more than one load ahead; and of what has begun and is not written down yet, no more than `concurrency`."""
    await admitted(server, 60)
    held: list[int] = []
    begun = 0
    unwritten: list[int] = []

    async def note(event: Event, ctx: Any) -> None:
        nonlocal begun
        begun += 1
        held.append(worker.in_flight)
        unwritten.append(begun - worker.jobs_complete)

    worker = worker_of(redis_url, handler(note), concurrency=4, burst=True)
    await worker.async_run()
    await worker.close()
    assert await _delivered(server, 60)
    assert 4 < max(held) <= 8
    assert max(unwritten) <= 4


async def test_what_was_claimed_ahead_of_a_handler_that_waits_goes_back(server: Server, redis_url: str) -> None:
    """Another worker gets it at once, although the first one goes on waiting and its leases last for a minute."""
    await admitted(server, 40)
    let_go = asyncio.Event()
    runs = 0

    async def wait_later(event: Event, ctx: Any) -> None:
        nonlocal runs
        runs += 1
        if runs > 8:
            await let_go.wait()

    async def nothing(event: Event, ctx: Any) -> None:
        pass

    async with running(redis_url, handler(wait_later), concurrency=4, lease_seconds=60):
        await until(lambda: _has_begun(lambda: runs, 12))
        async with running(redis_url, handler(nothing), lease_seconds=60):
            await until(lambda: _delivered(server, 36))
            assert runs == 12
            let_go.set()
            await until(lambda: _delivered(server, 40))
    assert not await server.exists(keys.LEASES, keys.CRASHES)


async def _has_begun(runs: Any, count: int) -> bool:
    return bool(runs() >= count)


async def test_a_worker_that_stops_hands_back_what_it_has_not_begun(server: Server, redis_url: str) -> None:
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


async def test_each_run_has_a_task_and_context_variables_of_its_own(server: Server, redis_url: str) -> None:
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
