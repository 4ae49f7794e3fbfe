"""A handler that blocks the event loop is noticed, named and counted, and let go of when it does so for ever."""

from __future__ import annotations

import asyncio
import bdb
import sys
import threading
import time
from functools import partial
from typing import Any

import pytest

from broker import queue
from broker.audit import audit
from broker.queue import Claims
from konvox.events import Event
from tests.support.events import LEASE_MS, admitted, claimed, job_of, make_due
from tests.support.logwatch import watching
from tests.support.store import KEYS, RedisClient, connect_blocking
from tests.support.workers import dispatcher_of, handler, running, until
from worker.running import watchdog
from worker.running.once import OnceBlocks
from worker.running.timeouts import Run
from worker.running.watchdog import BlockingHandler, BlockLimits, Watchdog, blocking_handler


@pytest.fixture(autouse=True)
def quick_looks(monkeypatch: pytest.MonkeyPatch) -> None:
    """A sixteenth of a second stands for one."""
    monkeypatch.setattr(watchdog, "LOOK_SECONDS", 1 / 64)
    monkeypatch.setattr(watchdog, "WARN_SECONDS", 1 / 16)


def blocking_until(condition: threading.Event) -> None:
    """Block the caller, as users do by mistake."""
    assert condition.wait(20)


async def _delivered(server: RedisClient, count: int) -> bool:
    return (await audit(server)).delivered == count


async def test_a_handler_that_blocks_the_loop_is_named(server: RedisClient, redis_url: str) -> None:
    """The log shows a blocking handler with event and stack, each time the block has doubled; the event runs once."""
    (job,) = await admitted(server, 1)
    runs: list[str] = []

    async def careless(event: Event, ctx: Any) -> None:
        runs.append(event.id)
        while len(log.of("loop.blocked")) < 3:
            time.sleep(0.001)  # noqa: ASYNC251 - what users do by mistake is what this is about

    with watching() as log:
        async with running(redis_url, handler(careless)) as worker:
            await until(lambda: _delivered(server, 1))
        free = await log.until("loop.unblocked")
    warnings = log.of("loop.blocked")
    assert {line["handler"] for line in (*warnings, free)} == {"careless"}
    assert {line["delivery"] for line in warnings} == {job.delivery}
    assert [line["blocked_seconds"] for line in warnings] == [1 / 16, 1 / 8, 1 / 4]
    assert "time.sleep(0.001)" in warnings[0]["stack"]
    assert "dispatcher.py" not in warnings[0]["stack"]
    assert worker.watchdog.blocks == 1
    assert worker.watchdog.blocked_seconds == pytest.approx(free["blocked_seconds"])
    assert runs == [job.record.id]


async def test_among_several_handlers_the_one_that_blocks_is_named(server: RedisClient, redis_url: str) -> None:
    """The handler that blocks is named, whether its predicate blocks or something deep below it."""
    await admitted(server, 1)

    def wait_for_warnings(count: int) -> bool:
        while len(log.of("loop.blocked")) < count:
            time.sleep(0.001)
        return True

    async def innocent(event: Event, ctx: Any) -> None:
        await asyncio.sleep(0)

    async def deep(event: Event, ctx: Any) -> None:
        await asyncio.sleep(0)
        wait_for_warnings(2)

    with watching() as log:
        handlers = [handler(innocent), handler(deep)]
        wary = handler(innocent, name="wary", when=lambda _: wait_for_warnings(1))
        async with running(redis_url, *handlers, wary):
            await until(lambda: _delivered(server, 1))
    assert [line["handler"] for line in log.of("loop.blocked")][:2] == ["wary", "deep"]


async def test_a_handler_that_blocks_in_a_task_of_its_own_is_unknown(server: RedisClient, redis_url: str) -> None:
    """The block is logged with its stack, but with no handler: whose task it is cannot be known."""
    await admitted(server, 1)

    async def careless() -> None:
        while not log.of("loop.blocked"):
            time.sleep(0.001)  # noqa: ASYNC251 - what users do by mistake is what this is about

    async def makes_a_task(event: Event, ctx: Any) -> None:
        await asyncio.create_task(careless())

    with watching() as log:
        async with running(redis_url, handler(makes_a_task)):
            await until(lambda: _delivered(server, 1))
    (line,) = log.of("loop.blocked")
    assert (line["handler"], line["delivery"]) == (None, None)
    assert "in careless" in line["stack"]


async def test_what_runs_in_a_thread_or_waits_blocks_nothing(server: RedisClient, redis_url: str) -> None:
    """A handler in a thread, or one that awaits, may take long without a warning."""
    await admitted(server, 1)

    def plain(event: Event, ctx: Any) -> None:
        time.sleep(0.3)

    async def patient(event: Event, ctx: Any) -> None:
        await asyncio.sleep(0.3)

    with watching() as log:
        async with running(redis_url, handler(plain), handler(patient)) as worker:
            await until(lambda: _delivered(server, 1))
    assert log.of("loop.blocked") == []
    assert (worker.watchdog.blocks, worker.watchdog.blocked_seconds) == (0, 0)


class Blocked:
    """A loop that is blocked in a handler, with jobs in flight, until the watchdog ends the process.

    Attributes:
        exit_codes: with what it would have ended.
        once: the blocks of `ctx.once` that are running.
        dispatcher: what runs the handlers.
    """

    def __init__(self, redis_url: str, claims: list[Any], **changes: float) -> None:
        self.exit_codes: list[int] = []
        self._ended = threading.Event()
        self.once = OnceBlocks(LEASE_MS)
        self.dispatcher = dispatcher_of()
        limits = {"lease_seconds": 0.1, "longest_run_seconds": 60.0, "stop_seconds": 60.0, **changes}
        self.watchdog = Watchdog(
            partial(connect_blocking, redis_url),
            claims=lambda: claims,
            run_in=self._run_in,
            once=self.once,
            limits=BlockLimits(**limits),
            end=self._end,
        )

    def _run_in(self, task: asyncio.Task[Any]) -> Run | None:
        return self.dispatcher.run_in(task)

    def _end(self, exit_code: int) -> None:
        self.exit_codes.append(exit_code)
        self.watchdog.stop()
        self._ended.set()

    async def run(self, job: Any, **options: Any) -> None:
        """Run a handler that blocks for this job."""

        async def block(event: Event, ctx: Any) -> None:
            blocking_until(self._ended)

        self.dispatcher = dispatcher_of(handler(block, **options))
        self.watchdog.start()
        await self.dispatcher.dispatch(job)


async def test_a_handler_that_blocks_for_ever_costs_the_worker_and_no_other_event(
    server: RedisClient, redis_url: str
) -> None:
    """A block beyond a time limit and a lease aborts the worker, and only that event counts as having crashed it."""
    jobs = await admitted(server, 3)
    claims = (await claimed(server, token="a")).jobs
    blocked = Blocked(redis_url, claims)
    with watching() as log:
        await blocked.run(jobs[0], timeout_seconds=0.1)
    assert blocked.exit_codes == [1]
    (line,) = log.of("worker.aborted")
    assert (line["handler"], line["delivery"], line["released"]) == ("block", jobs[0].delivery, 2)
    assert line["blocked_seconds"] == pytest.approx(0.2, abs=1 / 64)
    assert set(await server.hkeys(KEYS.leases)) == {jobs[0].id.encode()}
    await make_due(server, [jobs[0].id])
    crashes = {claim.job_id: claim.crashes for claim in (await claimed(server, token="b")).jobs}
    assert crashes == {jobs[0].id: 1, jobs[1].id: 0, jobs[2].id: 0}


async def test_an_unknown_handler_that_blocks_for_ever_leaves_all_as_suspects(
    server: RedisClient, redis_url: str
) -> None:
    """If an unknown handler blocks for ever, nothing is released, because any event in flight may be guilty."""
    await admitted(server, 2)
    claims = (await claimed(server, token="a")).jobs
    blocked = Blocked(redis_url, claims, longest_run_seconds=0.1)
    blocked.watchdog.start()
    with watching() as log:
        blocking_until(blocked._ended)
    assert blocked.exit_codes == [1]
    (line,) = log.of("worker.aborted")
    assert (line["handler"], line["released"]) == (None, 0)
    assert "blocking_until" in line["stack"]
    assert await server.hlen(KEYS.leases) == 2


async def test_without_redis_the_worker_is_aborted_all_the_same(server: RedisClient) -> None:
    """Without Redis a blocked worker is aborted all the same, and its jobs run again when their leases lapse."""
    jobs = await admitted(server, 2)
    claims = (await claimed(server, token="a")).jobs
    blocked = Blocked("unix:///nowhere/v.sock", claims)
    with watching() as log:
        await blocked.run(jobs[0], timeout_seconds=0.1)
    assert blocked.exit_codes == [1]
    assert log.of("worker.aborted")[0]["released"] == 0


async def test_what_is_released_can_run_its_once_blocks_at_once(server: RedisClient, redis_url: str) -> None:
    """The keys of `ctx.once` that an aborted worker held are free with the jobs, and need not lapse first."""
    jobs = await admitted(server, 2)
    blocked = Blocked(redis_url, (await claimed(server, token="a")).jobs)
    name = KEYS.once_key(jobs[1].record.id, "mine.tell", "crm")
    assert await blocked.once.enter(server, name) is not None
    with watching():
        await blocked.run(jobs[0], timeout_seconds=0.1)
    assert blocked.exit_codes == [1]
    assert not await server.exists(name)


async def test_several_that_block_in_turn_are_not_taken_for_one(redis_url: str, server: RedisClient) -> None:
    """Each handler has its own time, and together they may take longer than any of them."""
    jobs = await admitted(server, 8)
    blocked = Blocked(redis_url, [], lease_seconds=0.5)

    async def block(event: Event, ctx: Any) -> None:
        time.sleep(0.15)  # noqa: ASYNC251 - see above

    blocked.dispatcher = dispatcher_of(handler(block, timeout_seconds=0.1))
    with watching() as log:
        blocked.watchdog.start()
        await asyncio.gather(*map(blocked.dispatcher.dispatch, jobs))
        blocked.watchdog.stop()
    assert len(log.of("loop.blocked")) >= 3
    assert blocked.exit_codes == []


def test_somebody_with_a_debugger_blocks_on_purpose() -> None:
    """A stack with a debugger in it is recognised, and one without is not."""
    seen: list[BlockingHandler] = []
    bdb.Bdb().runcall(lambda: seen.append(blocking_handler(None, sys._getframe())))
    assert seen[0].debugged
    assert not blocking_handler(None, sys._getframe()).debugged


async def test_a_handler_in_a_debugger_may_block_for_longer_than_any_limit(redis_url: str) -> None:
    """The block is logged, but the worker is not aborted while somebody looks at it."""
    blocked = Blocked(redis_url, [], lease_seconds=0.0)

    def look_at_it() -> None:
        while len(log.of("loop.blocked")) < 3 and not blocked.exit_codes:
            time.sleep(0.001)

    async def debug(event: Event, ctx: Any) -> None:
        bdb.Bdb().runcall(look_at_it)

    blocked.dispatcher = dispatcher_of(handler(debug, timeout_seconds=1 / 16))
    with watching() as log:
        blocked.watchdog.start()
        await blocked.dispatcher.dispatch(job_of(1))
        blocked.watchdog.stop()
    assert {line["handler"] for line in log.of("loop.blocked")} == {"debug"}
    assert blocked.exit_codes == []


async def test_the_end_of_the_loop_is_no_block() -> None:
    """A loop that has ended is not taken for one that is blocked."""
    exit_codes: list[int] = []

    async def leave() -> None:
        limits = BlockLimits(lease_seconds=0.05, longest_run_seconds=0.05, stop_seconds=1)
        watchdog = Watchdog(
            partial(connect_blocking, "unix:///nowhere/v.sock"),
            claims=list,
            run_in=lambda _: None,
            once=OnceBlocks(1),
            limits=limits,
            end=exit_codes.append,
        )
        watchdog.start()
        await asyncio.sleep(0.05)

    await until(_no_watchdog)  # that of another test may have a last word
    with watching() as log:
        await asyncio.to_thread(asyncio.run, leave())
        await until(_no_watchdog)
    assert (exit_codes, log.names("loop.")) == ([], [])


async def _no_watchdog() -> bool:
    return all(thread.name != "watchdog" for thread in threading.enumerate())


async def test_claims_that_waited_behind_a_blocked_loop_are_not_run(
    server: RedisClient, redis_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Claims that waited behind a blocked loop, unrenewed, are released, and claimed again without a crash."""
    await admitted(server, 2)
    claims_seen: list[Claims] = []
    crashes: list[int] = []
    original = queue.claim

    async def claim(*arguments: Any, **options: Any) -> Claims:
        claims = await original(*arguments, **options)
        if claims.jobs:
            claims_seen.append(claims)
            crashes.extend(job.crashes for job in claims.jobs)
        if len(claims_seen) == 1:
            time.sleep(0.4)  # noqa: ASYNC251 - a handler blocks the loop while the answer is on its way
        return claims

    async def note(event: Event, ctx: Any) -> None:
        pass

    monkeypatch.setattr(queue, "claim", claim)
    with watching() as log:
        async with running(redis_url, handler(note), lease_seconds=1.0):
            await until(lambda: _delivered(server, 2))
    assert len(claims_seen) == 2
    assert crashes == [0] * 4
    assert [line["events"] for line in log.of("claim.expired")] == [2]
