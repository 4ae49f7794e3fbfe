"""`ctx.once` on Redis: an effect happens once over all attempts, workers and replays."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from functools import partial
from typing import Any

import pytest
from redis.exceptions import RedisError

from broker.admission import AdmissionPolicy, admit
from broker.records import Job
from broker.redis.client import close
from handlers import Context, Retry
from handlers.registry import Handler
from handlers.testkit import make_context
from konvox.events import Event
from tests.support.events import admitted
from tests.support.store import KEYS, RedisClient, connect, connect_blocking
from tests.support.valkey import ValkeyServer
from tests.support.workers import handler, run_burst, running, until
from worker.running.once import OnceBlocks, OnceGate

LEASE_MS, DONE_MS = 60_000, 3_600_000


def gate(
    server: RedisClient, blocks: OnceBlocks | None = None, *, event_id: str = "evt_1", name: str = "mine.tell"
) -> OnceGate:
    """The gate of a handler for an event, by default in a worker of its own."""
    return OnceGate(server, blocks or OnceBlocks(LEASE_MS), event_id, name, ttl_ms=DONE_MS)


async def enter(once: OnceGate, key: str = "crm") -> bool:
    """Enter a block; returns whether this run is the first."""
    async with once(key) as first:
        return first


async def test_only_the_first_is_first(server: RedisClient) -> None:
    """Of all runs in any worker only the first enters the block, which is remembered, but not for ever."""
    assert await enter(gate(server))
    assert not await enter(gate(server))
    assert DONE_MS - 60_000 < await server.pttl(KEYS.once_key("evt_1", "mine.tell", "crm")) <= DONE_MS


async def test_keys_are_those_of_one_handler_for_one_event(server: RedisClient) -> None:
    """Other handlers, events and names have keys of their own."""
    gates = [gate(server), gate(server, event_id="evt_2"), gate(server, name="mine.other")]
    assert [await enter(once) for once in gates] == [True] * 3
    assert await enter(gates[0], "slack")


@pytest.mark.parametrize("error", [ValueError, asyncio.CancelledError, SystemExit])
async def test_a_failure_releases_the_key(server: RedisClient, error: type[BaseException]) -> None:
    """A block that raises releases its key, and the retry does what was not done."""

    async def fail() -> None:
        async with gate(server)("crm") as first:
            assert first
            raise error

    with pytest.raises(error):
        await fail()
    assert await enter(gate(server))


async def test_a_failure_of_the_second_releases_nothing(server: RedisClient) -> None:
    """A failure of a run that was not the first leaves the effect remembered."""
    assert await enter(gate(server))
    with pytest.raises(ValueError, match="later"):
        async with gate(server)("crm"):
            raise ValueError("later")
    assert not await enter(gate(server))


async def test_a_second_run_during_the_block_is_retried(server: RedisClient) -> None:
    """A second run during the block is retried no later than the key would lapse."""
    async with gate(server)("crm") as first:
        assert first
        with pytest.raises(Retry) as caught:
            await enter(gate(server))
        assert caught.value.after_seconds == pytest.approx(LEASE_MS / 1000, abs=20)
    assert not await enter(gate(server))


async def test_the_key_of_a_worker_that_died_in_the_block_ends(server: RedisClient) -> None:
    """The key of a worker that died in the block lapses, and the next run does the effect."""
    name = KEYS.once_key("evt_1", "mine.tell", "crm")
    block = gate(server)("crm")
    assert await block.__aenter__()
    assert 0 < await server.pttl(name) <= LEASE_MS
    await server.pexpire(name, 0)
    assert await enter(gate(server))


async def test_a_key_is_kept_while_its_block_runs(server: RedisClient, redis_url: str) -> None:
    """The key is kept as long as the leases of the jobs, and no longer: a run after a crash must not find it taken."""
    blocks = OnceBlocks(lease_ms=1000)
    name = KEYS.once_key("evt_1", "mine.tell", "crm")
    async with gate(server, blocks)("crm"):
        assert await server.pttl(name) <= 1000
        await server.pexpire(name, 300)
        with connect_blocking(redis_url) as blocking:
            await asyncio.to_thread(blocks.renew, blocking)
        assert 300 < await server.pttl(name) <= 1000
    with connect_blocking(redis_url) as blocking:
        await asyncio.to_thread(blocks.renew, blocking)
    assert await server.pttl(name) > DONE_MS - 60_000


async def test_a_renewal_that_comes_too_late_shortens_nothing(server: RedisClient, redis_url: str) -> None:
    """A renewal that began while the block ran does not shorten how long the effect is remembered."""
    blocks = OnceBlocks(lease_ms=1000)
    name = KEYS.once_key("evt_1", "mine.tell", "crm")
    async with gate(server, blocks)("crm"):
        await server.set(name, "done", px=DONE_MS)
        with connect_blocking(redis_url) as blocking:
            await asyncio.to_thread(blocks.renew, blocking)
        assert await server.pttl(name) > DONE_MS - 60_000


async def test_a_new_key_ends_with_the_leases(server: RedisClient) -> None:
    """A key that is taken long after the last renewal lapses no later than the job's lease."""
    blocks = OnceBlocks(lease_ms=60_000)
    blocks._renewed_at -= 20
    async with gate(server, blocks)("crm"):
        assert await server.pttl(KEYS.once_key("evt_1", "mine.tell", "crm")) <= 40_000


async def test_a_key_that_was_lost_is_not_released(server: RedisClient) -> None:
    """A worker that was suspended for longer than the lease leaves alone a key that is another run's by now."""
    name = KEYS.once_key("evt_1", "mine.tell", "crm")
    blocks = OnceBlocks(LEASE_MS)
    late, other = gate(server, blocks)("crm"), gate(server, blocks)("crm")
    assert await late.__aenter__()
    await server.delete(name)
    assert await other.__aenter__()
    assert not await late.__aexit__(ValueError, ValueError("late"), None)
    with pytest.raises(Retry):
        await enter(gate(server))
    await other.__aexit__(None, None, None)
    assert not await enter(gate(server))


async def test_a_block_that_the_process_ends_in_is_released(server: RedisClient, redis_url: str) -> None:
    """A block's key is released by the loop when the process stops, and by the watchdog where the loop is blocked."""
    blocks = OnceBlocks(LEASE_MS)
    left = gate(server, blocks)("crm")
    assert await left.__aenter__()
    await blocks.release(server)
    other_left = gate(server, OnceBlocks(LEASE_MS))("crm")
    assert await other_left.__aenter__()
    with connect_blocking(redis_url) as blocking:
        await asyncio.to_thread(blocks.release_blocking, blocking)
    with pytest.raises(Retry):
        await enter(gate(server))  # the other's
    for block in (left, other_left):
        await block.__aexit__(None, None, None)


async def test_of_many_at_once_one_is_first(server: RedisClient) -> None:
    """Of many runs at once one does the effect, and the others come back later."""
    let_go = asyncio.Event()

    async def run() -> str:
        try:
            async with gate(server)("crm") as first:
                await let_go.wait()
                return "first" if first else "second"
        except Retry:
            return "later"

    runs = [asyncio.create_task(run()) for _ in range(20)]
    await asyncio.wait(runs, return_when=asyncio.FIRST_COMPLETED)
    let_go.set()
    assert sorted(await asyncio.gather(*runs)) == ["first"] + ["later"] * 19


async def test_over_attempts_and_replays_an_effect_happens_once(server: RedisClient, redis_url: str) -> None:
    """The effect happens once although the handler runs three times."""
    (job,) = await admitted(server, 1)
    effects: list[int] = []
    runs: list[int] = []

    async def tell(event: Event, ctx: Context) -> None:
        runs.append(ctx.attempt)
        async with ctx.once("crm") as first:
            if first:
                effects.append(ctx.attempt)
        if len(runs) == 1:
            raise RuntimeError("after the effect")

    make: Callable[[Job, Handler], Context] = lambda job, handler_: make_context(  # noqa: E731 - short
        once=gate(server, event_id=job.record.id, name=handler_.name), attempt=job.attempt
    )
    await run_burst(redis_url, handler(tell), make=make)
    await admit(server, [Job.replay(job.record)], AdmissionPolicy())
    await run_burst(redis_url, handler(tell), make=make)
    assert runs == [1, 2, 1]
    assert effects == [1]


async def test_a_block_longer_than_the_lease_keeps_its_key(server: RedisClient, redis_url: str) -> None:
    """The thread that renews leases renews the keys of blocks too, so no other run gets into a long block."""
    await admitted(server, 1)
    blocks, kept = OnceBlocks(1000), asyncio.Event()

    async def long(event: Event, ctx: Context) -> None:
        async with ctx.once("crm"):
            name = KEYS.once_key(event.id, "long", "crm")
            for _ in range(2):
                assert await server.pexpire(name, 500)
                await until(partial(_is_renewed, server, name))
        kept.set()

    make: Callable[[Job, Handler], Context] = lambda job, handler_: make_context(  # noqa: E731 - short
        once=gate(server, blocks, event_id=job.record.id, name=handler_.name), attempt=job.attempt
    )
    async with running(redis_url, handler(long, attempts=1), make=make, lease_seconds=1.0, once=blocks):
        async with asyncio.timeout(20):
            await kept.wait()


async def _is_renewed(server: RedisClient, name: str) -> bool:
    left_ms = await server.pttl(name)
    assert left_ms > 0, "the key has lapsed"
    return bool(left_ms > 500)


async def test_an_outage_is_a_failure_of_the_handler(own_valkey: ValkeyServer) -> None:
    """An outage in a block fails the handler, which is retried, because the effect may have happened or not."""
    server: Any = connect(own_valkey.url())
    await server.ping()
    own_valkey.kill()
    with pytest.raises((RedisError, OSError)):
        await enter(gate(server))
    await close(server)
