"""Handlers that were renamed, and handlers that take the place of others: nothing is lost, nor done twice."""

from __future__ import annotations

from collections import Counter
from typing import Any

from broker import dead_letters
from broker.audit import audit
from broker.dead_letters import list_dead_letters
from broker.event_log import events
from broker.records import Job
from handlers import Context, Retry
from handlers.registry import Handler
from handlers.testkit import make_context
from konvox.events import Event
from tests.support.events import admitted, make_due, queued_ids
from tests.support.store import KEYS, RedisClient
from tests.support.workers import handler, run_burst, running, until
from worker.running.once import OnceBlocks, OnceGate

DONE_MS = 3_600_000


async def waiting(server: RedisClient, redis_url: str, *names: str) -> Job:
    """An event for which handlers of these names wait; it is due."""
    (job,) = await admitted(server, 1)

    async def wait(event: Event, ctx: Context) -> None:
        raise Retry(after=3600)

    async def has_waited() -> bool:
        return await queued_ids(server) == {f"{job.id}/{name}#2" for name in names}

    async with running(redis_url, *(handler(wait, name=name) for name in names)):
        await until(has_waited)
    await make_due(server, await queued_ids(server))
    return job


async def test_a_renamed_handler_takes_over_what_waits(server: RedisClient, redis_url: str) -> None:
    """The retry of the old name runs the new handler, and the delivery is done."""
    await waiting(server, redis_url, "old")
    ran: list[int] = []

    async def new(event: Event, ctx: Context) -> None:
        ran.append(ctx.attempt)
        if len(ran) == 1:
            raise RuntimeError("once more")

    await run_burst(redis_url, handler(new, was=("older", "old")))
    assert ran == [2, 3]
    ledger = await audit(server)
    assert (ledger.delivered, ledger.pending, ledger.balanced) == (1, 0, True)
    (event,) = [event async for event in events(server)]
    assert (event.state, event.outcomes["old"]["state"]) == ("delivered", "done")


async def test_a_renamed_handler_takes_over_dead_letters(server: RedisClient, redis_url: str) -> None:
    """A letter of the old name is retried by the new handler, which may fail again."""
    await admitted(server, 1)
    ran: Counter[str] = Counter()

    async def fail(event: Event, ctx: Context) -> None:
        ran[type(event).__name__] += 1
        if ran.total() < 3:
            raise RuntimeError

    await run_burst(redis_url, handler(fail, name="old", attempts=1))
    for _ in range(2):
        letters = [letter async for letter in list_dead_letters(server)]
        assert [letter.handler for letter in letters] == ["old"]
        assert await dead_letters.retry(server, letters) == 1
        await run_burst(redis_url, handler(fail, name="new", was=("old",), attempts=1))
    assert ran.total() == 3
    ledger = await audit(server)
    assert (ledger.delivered, ledger.dead, ledger.balanced) == (1, 0, True)


async def test_two_handlers_become_one(server: RedisClient, redis_url: str) -> None:
    """What both wait for is run by the one that is left, however often it fails: the ledger stays right."""
    await waiting(server, redis_url, "a", "b")

    async def fail(event: Event, ctx: Context) -> None:
        raise RuntimeError

    both = handler(fail, name="b", was=("a",), attempts=4)
    await run_burst(redis_url, both)
    letters = [letter async for letter in list_dead_letters(server)]
    assert sorted(letter.handler or "" for letter in letters) == ["a", "b"]
    ledger = await audit(server)
    assert (ledger.dead, ledger.dead_letters, ledger.pending, ledger.balanced) == (1, 2, 0, True)


async def test_an_heir_may_have_work_of_its_own(server: RedisClient, redis_url: str) -> None:
    """Letters given to a handler that has failed for the same event too are its own work, and a letter each again."""
    await admitted(server, 1)

    async def fail(event: Event, ctx: Context) -> None:
        raise RuntimeError

    both = [handler(fail, name=name, attempts=2) for name in ("a", "b")]
    await run_burst(redis_url, *both)
    letters = [letter async for letter in list_dead_letters(server)]
    assert await dead_letters.retry(server, letters, heir="b") == 2
    ran: list[int] = []

    async def note(event: Event, ctx: Context) -> None:
        ran.append(ctx.attempt)
        raise RuntimeError

    await run_burst(redis_url, handler(note, name="b", attempts=2))
    assert sorted(ran) == [1, 1, 2, 2]
    ledger = await audit(server)
    assert (ledger.dead, ledger.dead_letters, ledger.pending, ledger.balanced) == (1, 2, 0, True)
    again = [letter async for letter in list_dead_letters(server)]
    assert {Job.from_bytes(letter.job.encode()).heir for letter in again} == {"b", None}


async def test_an_heir_that_is_gone_is_named(server: RedisClient, redis_url: str) -> None:
    """The error of a job whose heir is not loaded says which handler is missing."""
    await admitted(server, 1)

    async def fail(event: Event, ctx: Context) -> None:
        raise RuntimeError

    await run_burst(redis_url, handler(fail, name="a", attempts=1))
    letters = [letter async for letter in list_dead_letters(server)]
    await dead_letters.retry(server, letters, heir="gone")
    async with running(redis_url):
        await until(lambda: _is_queued(server, f"{letters[0].event_id}/a#2"))
    (event,) = [event async for event in events(server)]
    assert (
        'no handler gone is loaded; was it renamed while this event waited? Then write was="gone"'
        in (event.outcomes["a"]["error"])
    )


async def _is_queued(server: RedisClient, job_id: str) -> bool:
    return bool(await server.exists(KEYS.job_key(job_id)))


async def test_what_was_done_under_the_old_name_is_done(server: RedisClient, redis_url: str) -> None:
    """`ctx.once` of a renamed handler knows the effects of its former names, and no others."""
    job = await waiting(server, redis_url, "old")
    blocks = OnceBlocks(60_000)

    async def enter(key: str, name: str, *was: str) -> bool:
        gate = OnceGate(server, blocks, job.record.id, name, ttl_ms=DONE_MS, was=was)
        async with gate(key) as first:
            return first

    assert await enter("crm", "old")
    assert not await enter("crm", "new", "older", "old")
    assert await enter("slack", "new", "older", "old")
    assert not await enter("slack", "new", "older", "old")
    assert await enter("crm", "other")


async def test_a_block_that_runs_under_the_old_name_is_waited_for(server: RedisClient, redis_url: str) -> None:
    """An old worker may be in the block at this moment: the new one is told to wait, and keeps no key."""
    blocks = OnceBlocks(60_000)
    old = OnceGate(server, blocks, "evt_1", "old", ttl_ms=DONE_MS)
    new = OnceGate(server, OnceBlocks(60_000), "evt_1", "new", ttl_ms=DONE_MS, was=("old",))

    async def enter() -> str:
        try:
            async with new("crm") as first:
                return "first" if first else "done"
        except Retry:
            return "wait"

    async with old("crm"):
        assert await enter() == "wait"
        assert not await server.exists(KEYS.once_key("evt_1", "new", "crm"))
    assert await enter() == "done"


async def test_the_worker_gives_the_gate_the_former_names(server: RedisClient, redis_url: str) -> None:
    """An effect of the old name does not happen again when the new handler takes over the retry."""
    (job,) = await admitted(server, 1)
    blocks, effects = OnceBlocks(60_000), list[str]()

    def make(job: Job, handler_: Handler) -> Context:
        gate = OnceGate(server, blocks, job.record.id, handler_.name, ttl_ms=DONE_MS, was=handler_.was)
        return make_context(once=gate, attempt=job.attempt)

    async def effect(event: Event, ctx: Any) -> None:
        async with ctx.once("crm") as first:
            if first:
                effects.append(event.id)
        if ctx.attempt == 1:
            raise Retry(after=3600)

    async def has_waited() -> bool:
        return await queued_ids(server) == {f"{job.id}/old#2"}

    async with running(redis_url, handler(effect, name="old"), make=make, once=blocks):
        await until(has_waited)
    await make_due(server, await queued_ids(server))
    await run_burst(redis_url, handler(effect, name="new", was=("old",)), make=make, once=blocks)
    assert effects == [job.record.id]
    assert (await audit(server)).delivered == 1
