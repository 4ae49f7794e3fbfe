"""The queue with leases: one holder at a time, and nobody else's settlement counts."""

from __future__ import annotations

import asyncio

import pytest

from broker import queue
from broker.admission import AdmissionPolicy, admit
from broker.audit import audit
from broker.queue import Claimed, Settlement
from broker.records import Job
from broker.redis.client import close
from tests.support.events import (
    LEASE_MS,
    admitted,
    claimed,
    crash_with,
    delivered,
    job_of,
    make_due,
    queued_ids,
    settled,
)
from tests.support.store import KEYS, RedisClient, connect, connect_blocking


async def test_a_claim_takes_the_oldest_first(server: RedisClient) -> None:
    """A claim takes the jobs that are due longest, with their payload, up to the number that was asked for."""
    jobs = await admitted(server, 5)
    for place, job in enumerate(reversed(jobs)):
        await server.zadd(KEYS.queue, {job.id: place + 1})
    claims = await claimed(server, token="a", count=3)
    assert [claim.job_id for claim in claims.jobs] == [job.id for job in jobs[:1:-1]]
    assert [Job.from_bytes(claim.payload or b"") for claim in claims.jobs] == jobs[:1:-1]
    assert claims.next_due_ms == 0
    rest = await claimed(server, token="b")
    assert {claim.job_id for claim in rest.jobs} == {job.id for job in jobs[:2]}


async def test_a_claimed_job_is_nobody_elses(server: RedisClient) -> None:
    """A claimed job is nobody else's until its lease lapses, by the server's clock."""
    (job,) = await admitted(server, 1)
    await claimed(server, token="a")
    claims = await claimed(server, token="b")
    assert claims.jobs == []
    assert claims.next_due_ms == pytest.approx(LEASE_MS, abs=5_000)
    seconds, microseconds = await server.time()
    score = await server.zscore(KEYS.queue, job.id)
    assert score == pytest.approx(seconds * 1000 + microseconds / 1000 + LEASE_MS, abs=5_000)


async def test_next_due_tells_when_to_look_again(server: RedisClient) -> None:
    """A claim says whether the next job is due now, in some time, or never."""
    assert (await claimed(server, token="a")).next_due_ms is None
    await admitted(server, 2)
    claims = await claimed(server, token="a", count=1)
    assert claims.next_due_ms == 0
    (claim,) = claims.jobs
    follow_up = Job.from_bytes(claim.payload or b"").for_handler("h", attempt=2)
    await settled(server, Settlement(claim, follow_up.delivery, follow_ups=[(follow_up, 30_000)]))
    (claim,) = (await claimed(server, token="b")).jobs
    await settled(server, delivered(claim))
    claims = await claimed(server, token="c")
    assert claims.jobs == []
    assert claims.next_due_ms is not None
    assert 20_000 < claims.next_due_ms <= 30_000


async def test_a_lapsed_lease_goes_to_the_next_claimer(server: RedisClient) -> None:
    """After a lapse only the last claimer's settlement counts, and the first claimer's changes nothing."""
    (job,) = await admitted(server, 1)
    (first,) = (await claimed(server, token="a")).jobs
    await make_due(server, [job.id])
    (second,) = (await claimed(server, token="b")).jobs
    assert (first.crashes, second.crashes) == (0, 1)

    wrong = Settlement(
        first, job.delivery, {"h": b"{}"}, [(job.for_handler("h", attempt=2), 0)], {f"{job.id}/g": b"{}"}
    )
    assert await settled(server, wrong) == {job.id}
    assert await queued_ids(server) == {job.id}
    assert not await server.exists(KEYS.delivery_key(job.delivery), KEYS.dead, KEYS.dead_index)
    assert (await audit(server)).pending == 1

    assert await settled(server, delivered(second)) == set()
    assert await settled(server, delivered(second)) == {job.id}
    ledger = await audit(server)
    assert (ledger.delivered, ledger.pending, ledger.balanced) == (1, 0, True)
    assert not await server.exists(KEYS.leases, KEYS.crashes, KEYS.job_key(job.id))


async def test_a_batch_settles_what_is_ours_beside_what_is_not(server: RedisClient) -> None:
    """A fenced job in a batch does not keep the others from being settled."""
    await admitted(server, 3)
    claims = (await claimed(server, token="a")).jobs
    await make_due(server, [claims[1].job_id])
    await claimed(server, token="b")
    assert await settled(server, *map(delivered, claims)) == {claims[1].job_id}
    assert (await audit(server)).delivered == 2


async def test_only_the_holder_renews(server: RedisClient, redis_url: str) -> None:
    """Only the holder of a lease renews it, and a worker hears which of its leases it has lost."""
    await admitted(server, 3)
    claims = (await claimed(server, token="a")).jobs
    stolen, settled_one, ours = claims
    await make_due(server, [stolen.job_id])
    (thief,) = (await claimed(server, token="b")).jobs
    await settled(server, delivered(settled_one))
    await make_due(server, [ours.job_id])
    before = await server.zscore(KEYS.queue, stolen.job_id)

    with connect_blocking(redis_url) as blocking:
        lost = await asyncio.to_thread(queue.renew, blocking, claims, lease_ms=LEASE_MS)
    assert lost == {stolen.job_id, settled_one.job_id}
    assert (await claimed(server, token="c")).jobs == []
    assert await server.zscore(KEYS.queue, stolen.job_id) == before
    assert await queued_ids(server) == {stolen.job_id, ours.job_id}
    assert await settled(server, delivered(thief), delivered(ours)) == set()


async def test_a_lease_that_lapsed_and_was_not_taken_can_be_renewed(server: RedisClient, redis_url: str) -> None:
    """A lease that lapsed can still be renewed as long as nobody else has claimed the job."""
    (job,) = await admitted(server, 1)
    claims = (await claimed(server, token="a")).jobs
    await make_due(server, [job.id])
    with connect_blocking(redis_url) as blocking:
        assert queue.renew(blocking, claims, lease_ms=LEASE_MS) == set()
    assert (await claimed(server, token="b")).jobs == []


async def test_what_is_released_is_due_at_once(server: RedisClient) -> None:
    """A released job is due at once without a crash or an attempt, and only its holder can release it."""
    (job,) = await admitted(server, 1)
    for token in map(str, range(10)):
        (claim,) = (await claimed(server, token=token)).jobs
        assert claim.crashes == 0
        assert Job.from_bytes(claim.payload or b"").attempt == 1
        stranger = Claimed(claim.job_id, "someone else", 0, None)
        assert await queue.release(server, [stranger]) == 0
        assert await queue.release(server, [claim, stranger]) == 1
    assert await queued_ids(server) == {job.id}


async def test_what_was_settled_cannot_be_released(server: RedisClient) -> None:
    """A settled job cannot be released, which would run it again."""
    await admitted(server, 1)
    (claim,) = (await claimed(server, token="a")).jobs
    await settled(server, delivered(claim))
    assert await queue.release(server, [claim]) == 0
    assert await queued_ids(server) == set()


async def test_crashes_are_counted(server: RedisClient) -> None:
    """Each lapse of a lease counts as a crash of the job, until the job is settled."""
    (job,) = await admitted(server, 1)
    for crashes in range(4):
        (claim,) = (await claimed(server, token=str(crashes))).jobs
        assert claim.crashes == crashes
        await make_due(server, [job.id])
    (claim,) = (await claimed(server, token="last")).jobs
    await settled(server, delivered(claim))
    assert not await server.exists(KEYS.crashes, KEYS.leases)


async def test_at_most_one_suspect_is_claimed_at_a_time(server: RedisClient) -> None:
    """A claim takes one suspect alone; the others wait without blame, and fresh jobs do not wait."""
    jobs = await admitted(server, 5)
    await crash_with(server, [job.id for job in jobs[:4]], times=2)

    first = await claimed(server, token="a")
    assert [claim.crashes for claim in first.jobs] == [2]
    assert (first.next_due_ms, first.suspect_waits) == (0, True)
    fresh = await claimed(server, token="fresh", suspect_wanted=False)
    assert [claim.crashes for claim in fresh.jobs] == [0]
    assert (fresh.next_due_ms != 0, fresh.suspect_waits) == (True, True)
    seen = {claim.job_id for claim in (*first.jobs, *fresh.jobs)}
    await make_due(server, {job.id for job in jobs} - seen)
    assert (await claimed(server, token="b", suspect_wanted=False)).jobs == []

    for token in "cde":
        (claim,) = (await claimed(server, token=token)).jobs
        assert claim.crashes == 2
        seen.add(claim.job_id)
    assert seen == {job.id for job in jobs}


async def test_fresh_jobs_do_not_wait_behind_suspects(server: RedisClient) -> None:
    """A claim finds a fresh job behind any number of suspects, however few jobs it asks for."""
    await crash_with(server, [job.id for job in await admitted(server, 300)], times=2)
    fresh = job_of(300)
    await admit(server, [fresh], AdmissionPolicy())
    (claim,) = (await claimed(server, token="a", count=1, suspect_wanted=False)).jobs
    assert (claim.job_id, claim.crashes) == (fresh.id, 0)


async def test_a_suspect_that_was_removed_is_not_brought_back(server: RedisClient) -> None:
    """A suspect that an operator has removed from the queue stays removed."""
    await crash_with(server, [job.id for job in await admitted(server, 2)], times=2)
    await claimed(server, token="a", suspect_wanted=False)
    gone, left = (job_id.decode() for job_id in await server.zrange(KEYS.suspects, 0, -1))
    await server.zrem(KEYS.queue, gone)
    assert [claim.job_id for claim in (await claimed(server, token="b")).jobs] == [left]


async def test_a_job_that_was_removed_is_claimed_without_payload(server: RedisClient) -> None:
    """A queued id without a job is claimed without a payload, and does not block the queue."""
    jobs = await admitted(server, 2)
    await server.delete(KEYS.job_key(jobs[0].id))
    claims = await claimed(server, token="a")
    payloads = {claim.job_id: claim.payload for claim in claims.jobs}
    assert payloads == {jobs[0].id: None, jobs[1].id: jobs[1].to_bytes()}


async def test_a_stock_worker_leases_by_id(server: RedisClient) -> None:
    """A stock worker leases a job by its id if it is due, and not if it is leased, delayed or gone."""
    (job,) = await admitted(server, 1)
    assert await queue.lease(server, job.id, token="a", lease_ms=LEASE_MS)
    assert not await queue.lease(server, job.id, token="b", lease_ms=LEASE_MS)
    assert not await queue.lease(server, "evt_unknown", token="b", lease_ms=LEASE_MS)
    assert (await claimed(server, token="c")).jobs == []
    await make_due(server, [job.id])
    (claim,) = (await claimed(server, token="c")).jobs
    assert claim.crashes == 1
    assert await settled(server, delivered(Claimed(job.id, "a", 0, None))) == {job.id}
    await make_due(server, [job.id])
    assert await queue.lease(server, job.id, token="d", lease_ms=LEASE_MS)
    assert await server.hget(KEYS.crashes, job.id) == b"2"


async def test_two_race_for_the_same_ids_and_each_has_one_holder(server: RedisClient, redis_url: str) -> None:
    """Two connections claim 10,000 jobs in claims of any size: none is claimed twice, and none is left."""
    total = 10_000
    await server.zadd(KEYS.queue, {f"evt_{number}": number + 1 for number in range(total)})

    async def take_all(name: str, connection: RedisClient) -> list[str]:
        taken: list[str] = []
        rounds = 0
        while True:
            rounds += 1
            count = 1 + (rounds * 37) % 500
            claims = await claimed(connection, token=f"{name}:{rounds}", count=count)
            if not claims.jobs:
                return taken
            taken += [claim.job_id for claim in claims.jobs]

    other = connect(redis_url)
    left, right = await asyncio.gather(take_all("left", server), take_all("right", other))
    await close(other)
    assert left
    assert right
    assert len(left) + len(right) == total
    assert len({*left, *right}) == total
    holders = await server.hgetall(KEYS.leases)
    assert {name.decode() for name, token in holders.items() if token.startswith(b"left:")} == set(left)


async def test_two_settle_the_same_job_and_one_counts(server: RedisClient) -> None:
    """Of two settlements of the same job at the same moment, one counts."""
    await admitted(server, 50)
    first = (await claimed(server, token="a")).jobs
    await make_due(server, await queued_ids(server))
    second: list[Claimed] = []
    while len(second) < 50:
        await make_due(server, {claim.job_id for claim in first} - {claim.job_id for claim in second})
        second += (await claimed(server, token=f"b{len(second)}")).jobs
    answers = await asyncio.gather(
        *(settled(server, delivered(claim)) for pair in zip(first, second, strict=False) for claim in pair)
    )
    assert sum(map(len, answers)) == 50
    ledger = await audit(server)
    assert (ledger.delivered, ledger.pending, ledger.balanced) == (50, 0, True)


async def test_a_large_claim_and_a_large_batch_fit(server: RedisClient) -> None:
    """A claim and a batch as large as a worker's fit, with more outcomes than Lua's stack takes at once."""
    await admitted(server, 2_000)
    claims = (await claimed(server, token="a", count=2_000)).jobs
    assert len(claims) == 2_000
    outcomes = {f"h{number}": b"{}" for number in range(1_000)}
    settlements = [delivered(claim) for claim in claims]
    settlements[0].outcomes.update(outcomes)
    assert await settled(server, *settlements) == set()
    assert (await audit(server)).delivered == 2_000
    assert await server.hlen(KEYS.delivery_key(claims[0].job_id)) == 1_000


async def test_one_job_alone_is_tried_again(server: RedisClient) -> None:
    """A follow-up job takes the place of the first one atomically, and the delivery stays one."""
    job = job_of(1)
    await admitted(server, 2)
    claims = {claim.job_id: claim for claim in (await claimed(server, token="a")).jobs}
    again = [job.for_handler(name, attempt=2) for name in ("b", "c")]
    retrying = b'{"state": "retrying", "attempts": 1}'
    outcomes = {"a": b"{}", "b": retrying, "c": retrying}
    settlement = Settlement(claims[job.id], job.delivery, outcomes, [(follow_up, 0) for follow_up in again])
    await settled(server, settlement)
    assert await queued_ids(server) == {again[0].id, again[1].id, job_of(0).id}
    ledger = await audit(server)
    assert (ledger.accepted, ledger.pending, ledger.delivered, ledger.balanced) == (2, 2, 0, True)
    for number, claim in enumerate((await claimed(server, token="b")).jobs):
        await settled(server, delivered(claim))
        ledger = await audit(server)
        assert (ledger.pending, ledger.delivered, ledger.balanced) == (2 - number, number, True)
