"""Events that an admission pushes to idle workers: who gets them, and what happens where nobody is there."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from broker import queue
from broker.admission import AdmissionPolicy, admit
from broker.queue import Claimed, ClaimRequest, Claims, StandingClaim
from broker.records import Job
from broker.redis.commands import Subscription
from broker.redis.pipelined import PipelinedConnection
from tests.support.events import LEASE_MS, admitted, delivered, job_of, settled
from tests.support.store import KEYS, RedisClient


async def stand(server: RedisClient, worker: str, *, jobs: int, stands: bool = False, count: int = 100) -> Claims:
    """Claim, and let a claim for so many jobs stand if nothing is due."""
    standing = StandingClaim(worker, f"{worker}:standing-0", jobs, stands)
    request = ClaimRequest(count, LEASE_MS, f"{worker}:1", True, standing)
    return await queue.claim(PipelinedConnection(server), request)


class Ears:
    """What workers, and all who wait, hear."""

    def __init__(self, subscription: Subscription) -> None:
        self._subscription = subscription

    async def next(self) -> tuple[str, bytes]:
        """The next message, and the channel that it came by."""
        message = await self._subscription.get_message(timeout=5)
        assert message is not None
        return message["channel"].decode(), message["data"]

    async def pushed_to(self, worker: str) -> list[Claimed]:
        """The next message, which is for this worker."""
        channel, message = await self.next()
        assert channel == KEYS.push_channel(worker)
        return queue.pushed(message)


@asynccontextmanager
async def listening(server: RedisClient, *workers: str) -> AsyncIterator[Ears]:
    """Listen as these workers do."""
    async with server.pubsub() as subscription:
        channels = [KEYS.push_channel(worker) for worker in workers]
        await subscription.subscribe(KEYS.wake_channel, *channels)
        for _ in range(len(workers) + 1):
            message = await subscription.get_message(timeout=5)
            assert message is not None
            assert message["type"] == "subscribe"
        yield Ears(subscription)


async def test_what_comes_is_leased_and_pushed_to_an_idle_worker(server: RedisClient) -> None:
    """An event that comes is pushed to an idle worker with a lease: only that worker can claim and settle it."""
    async with listening(server, "idle") as ears:
        assert (await stand(server, "idle", jobs=10)).claim_stands
        jobs = await admitted(server, 3)
        taken = await ears.pushed_to("idle")
        assert [Job.from_bytes(claim.payload or b"") for claim in taken] == jobs
        assert {claim.token for claim in taken} == {"idle:standing-0"}
        assert not await server.exists(KEYS.idle)
        assert (await stand(server, "other", jobs=0)).jobs == []
        assert await settled(server, *map(delivered, taken)) == set()
        await admitted_one_more(server)
        assert (await ears.next())[0] == KEYS.wake_channel


async def admitted_one_more(server: RedisClient) -> None:
    """Admit an event of another number than those of `admitted`."""
    assert await admit(server, [job_of(99)], AdmissionPolicy()) == [True]


async def test_what_there_is_no_place_for_stays_in_the_queue(server: RedisClient) -> None:
    """An event beyond an idle worker's places stays due in the queue, and all workers are woken for it."""
    async with listening(server, "idle") as ears:
        await stand(server, "idle", jobs=2)
        jobs = await admitted(server, 3)
        assert [claim.job_id for claim in await ears.pushed_to("idle")] == [job.id for job in jobs[:2]]
        assert (await ears.next())[0] == KEYS.wake_channel
        assert [claim.job_id for claim in (await stand(server, "other", jobs=0)).jobs] == [jobs[2].id]


async def test_idle_workers_share_what_comes_evenly(server: RedisClient) -> None:
    """Idle workers share what comes evenly, because one that takes all would run it all on its one core."""
    async with listening(server, "a", "b") as ears:
        await stand(server, "a", jobs=100)
        await stand(server, "b", jobs=100)
        jobs = await admitted(server, 5)
        pushed = [queue.pushed((await ears.next())[1]) for _ in range(2)]
    assert [len(claims) for claims in pushed] == [3, 2]
    assert [claim.job_id for claims in pushed for claim in claims] == [job.id for job in jobs]
    assert {claims[0].token for claims in pushed} == {"a:standing-0", "b:standing-0"}


async def test_nothing_is_pushed_to_a_worker_that_is_gone(server: RedisClient) -> None:
    """The standing claim of a worker that is gone is removed, and the event waits for others without a lease."""
    async with listening(server) as ears:
        await stand(server, "gone", jobs=10)
        (job,) = await admitted(server, 1)
        assert (await ears.next())[0] == KEYS.wake_channel
    assert not await server.exists(KEYS.idle, KEYS.leases)
    claims = await stand(server, "other", jobs=0)
    assert [(claim.job_id, claim.crashes) for claim in claims.jobs] == [(job.id, 0)]


async def test_a_duplicate_is_pushed_to_nobody(server: RedisClient) -> None:
    """A duplicate is not pushed, and the claim stands until a new event comes."""
    async with listening(server, "idle"):
        await admitted_one_more(server)
        await settled(server, *map(delivered, (await stand(server, "idle", jobs=10)).jobs))
        assert (await stand(server, "idle", jobs=10)).claim_stands
        assert await admit(server, [job_of(99)], AdmissionPolicy()) == [False]
        assert await server.hkeys(KEYS.idle) == [b"idle"]


async def test_a_claim_stands_until_there_is_something_to_claim(server: RedisClient) -> None:
    """A claim that stands is written once, and is withdrawn as soon as there is something to claim."""
    assert (await stand(server, "idle", jobs=10)).claim_stands
    offset = (await server.info("replication"))["master_repl_offset"]
    changes = (await server.info("persistence"))["rdb_changes_since_last_save"]
    assert (await stand(server, "idle", jobs=10, stands=True)).claim_stands
    assert (await server.info("replication"))["master_repl_offset"] == offset
    assert (await server.info("persistence"))["rdb_changes_since_last_save"] == changes
    job = job_of(1)
    await server.set(KEYS.job_key(job.id), job.to_bytes())
    await server.zadd(KEYS.queue, {job.id: 1})
    claims = await stand(server, "idle", jobs=10, stands=True)
    assert [claim.job_id for claim in claims.jobs] == [job.id]
    assert not claims.claim_stands
    assert not await server.exists(KEYS.idle)


async def test_a_worker_to_which_events_were_pushed_claims_no_others(server: RedisClient) -> None:
    """A worker to which events were pushed gets no others by that claim: it hears that more is due, and asks again."""
    async with listening(server, "idle"):
        await stand(server, "idle", jobs=1)
        await admitted(server, 2)
        claims = await stand(server, "idle", jobs=1, stands=True)
        assert (claims.jobs, claims.next_due_ms, claims.claim_stands) == ([], 0, False)
        assert len((await stand(server, "idle", jobs=0)).jobs) == 1


async def test_what_was_pushed_unheard_is_recovered(server: RedisClient) -> None:
    """A push that the worker did not hear of is released without a crash or an attempt, and no claim stands then."""
    async with listening(server, "idle"):
        await stand(server, "idle", jobs=1)
        (job,) = await admitted(server, 1)
        await stand(server, "idle", jobs=1)
        assert await queue.recover(server, [], worker="idle", lease_ms=LEASE_MS) == 1
    assert not await server.exists(KEYS.idle)
    claims = await stand(server, "other", jobs=0)
    assert [(claim.job_id, claim.crashes) for claim in claims.jobs] == [(job.id, 0)]
