"""The order of the queue: what has run before comes first, and what has not in the order in which it came."""

from __future__ import annotations

import asyncio

import pytest

from broker import queue
from broker.admission import AdmissionPolicy, admit
from broker.dead_letters import list_dead_letters, retry
from broker.queue import Claimed, ClaimRequest, Settlement, StandingClaim
from broker.records import Job
from broker.redis.pipelined import PipelinedConnection
from tests.support.events import LEASE_MS, admitted, claimed, delivered, ids_of, job_of, settled
from tests.support.store import KEYS, RedisClient, connect_blocking
from tests.support.workers import until
from worker.running.verdicts import poison_settlement

SHORT_LEASE_MS = 100


async def claimed_by(server: RedisClient, name: str, count: int, *, lease_ms: int = SHORT_LEASE_MS) -> list[Claimed]:
    """What a worker claims for so long."""
    request = ClaimRequest(count, lease_ms, f"{name}:1", suspect_wanted=True)
    return (await queue.claim(PipelinedConnection(server), request)).jobs


async def lapse(server: RedisClient) -> None:
    """Wait until all leases have lapsed, by the server's clock."""

    async def lapsed() -> bool:
        seconds, microseconds = await server.time()
        scores = [await server.zscore(KEYS.queue, job_id.decode()) for job_id in await server.hkeys(KEYS.leases)]
        return all((score or 0) < seconds * 1000 + microseconds / 1000 for score in scores)

    await until(lapsed)


@pytest.mark.parametrize("batch", [1, 7, 500])
async def test_events_are_claimed_in_the_order_in_which_they_came(server: RedisClient, batch: int) -> None:
    """Those of one batch too, and those of one millisecond, whatever their ids are."""
    jobs = [job_of(number) for number in range(1000)]
    for first in range(0, len(jobs), batch):
        await admit(server, jobs[first : first + batch], AdmissionPolicy())
    taken = [claim.job_id for _ in range(4) for claim in await claimed_by(server, "a", 250, lease_ms=LEASE_MS)]
    assert taken == [job.id for job in jobs]


async def test_what_was_just_admitted_is_due(server: RedisClient) -> None:
    """The last event of a large batch is claimed at once as well: none waits for the next millisecond."""
    for number in range(50):
        job = job_of(number)
        await admit(server, [job], AdmissionPolicy())
        assert [claim.job_id for claim in (await claimed(server, token=f"worker:{number}")).jobs] == [job.id]
    await admit(server, [job_of(number) for number in range(50, 562)], AdmissionPolicy())
    assert len((await claimed(server, token="last", count=600)).jobs) == 512


async def test_dead_letters_are_retried_in_the_order_of_the_call(server: RedisClient) -> None:
    """They come into the queue at one moment, and are claimed in the order in which the operator's command had them."""
    await admitted(server, 5)
    for claim in await claimed_by(server, "a", 5):
        job = Job.from_bytes(claim.payload or b"")
        await settled(server, poison_settlement(claim, job, now_ms=0))
    letters = [letter async for letter in list_dead_letters(server)]
    assert await retry(server, letters) == 5
    assert [claim.job_id for claim in await claimed_by(server, "b", 5)] == [letter.event_id for letter in letters]


async def test_events_that_nobody_heard_of_keep_their_order(server: RedisClient) -> None:
    """A worker with a standing claim is gone: what was to be pushed to it goes back to its place."""
    standing = StandingClaim("gone", "gone:standing-1", 3, stands=False)
    await queue.claim(PipelinedConnection(server), ClaimRequest(3, LEASE_MS, "gone:1", True, standing))
    jobs = [job_of(number) for number in range(40)]
    await admit(server, jobs, AdmissionPolicy())
    assert not await server.exists(KEYS.leases)
    assert [claim.job_id for claim in await claimed_by(server, "a", 40)] == [job.id for job in jobs]


async def test_what_a_dead_worker_held_comes_before_a_backlog(server: RedisClient) -> None:
    """However many events have come while its leases ran, and however many jobs a claim asks for."""
    held = {job.id for job in await admitted(server, 60)}
    assert {claim.job_id for claim in await claimed_by(server, "dead", 60)} == held
    await admit(server, [job_of(number) for number in range(60, 560)], AdmissionPolicy())
    await lapse(server)
    first = await claimed_by(server, "a", 25)
    second = await claimed_by(server, "b", 45)
    assert {claim.job_id for claim in (*first, *second)} >= held
    assert [claim.crashes for claim in (*first, *second)] == [1] * 60 + [0] * 10


async def test_what_crashed_once_runs_again_all_at_once(server: RedisClient) -> None:
    """Most crashes are the machine's: only what crashed twice is taken one at a time."""
    held = {job.id for job in await admitted(server, 60)}
    for name, crashes in (("first", 0), ("second", 1)):
        taken = await claimed_by(server, name, 100)
        assert {(claim.job_id, claim.crashes) for claim in taken} == {(job_id, crashes) for job_id in held}
        await lapse(server)
    (suspect,) = await claimed_by(server, "third", 100)
    assert suspect.crashes == 2


async def test_what_was_pushed_to_a_worker_that_died_comes_first_too(server: RedisClient, redis_url: str) -> None:
    """A push begins a lease, as a claim does."""
    with connect_blocking(redis_url) as blocking:
        ears = blocking.pubsub()
        ears.subscribe(KEYS.push_channel("dead"))
        standing = StandingClaim("dead", "dead:standing-1", 3, stands=False)
        await queue.claim(PipelinedConnection(server), ClaimRequest(3, SHORT_LEASE_MS, "dead:1", True, standing))
        await admitted(server, 3)
        ears.close()
    await admit(server, [job_of(number) for number in range(3, 103)], AdmissionPolicy())
    await lapse(server)
    taken = await claimed_by(server, "a", 5)
    assert {claim.job_id for claim in taken[:3]} == set(ids_of(0, 1, 2))
    assert [claim.crashes for claim in taken] == [1, 1, 1, 0, 0]


@pytest.mark.parametrize("how", ["released", "released from a thread", "recovered"])
async def test_what_is_released_comes_before_a_backlog(server: RedisClient, redis_url: str, how: str) -> None:
    """A worker that stops, or does not know of what it was given, costs its events nothing; they keep their order."""
    jobs = await admitted(server, 12)
    claims = await claimed_by(server, "stopping", 10, lease_ms=LEASE_MS)
    with connect_blocking(redis_url) as blocking:
        match how:
            case "released":
                await queue.release(server, claims)
            case "released from a thread":
                await asyncio.to_thread(queue.release_blocking, blocking, claims)
            case "recovered":
                assert await queue.recover(server, [], worker="stopping", lease_ms=LEASE_MS) == 10
    taken = await claimed_by(server, "next", 12)
    order = [claim.job_id for claim in taken]
    assert sorted(order[:10]) == sorted(job.id for job in jobs[:10])
    assert order[10:] == [job.id for job in jobs[10:]]
    if how != "recovered":
        assert order == [job.id for job in jobs]
    assert {claim.crashes for claim in taken} == {0}


async def test_a_lease_that_is_renewed_in_time_is_left_alone(server: RedisClient, redis_url: str) -> None:
    """A look for lapsed leases finds the lapsed ones and no other."""
    alive, dead = await admitted(server, 2)
    (kept,) = await claimed_by(server, "alive", 1)
    await claimed_by(server, "dead", 1)
    with connect_blocking(redis_url) as blocking:
        assert await asyncio.to_thread(queue.renew, blocking, [kept], lease_ms=LEASE_MS) == set()
    taken: list[Claimed] = []

    async def something_lapsed() -> bool:
        taken.extend(await claimed_by(server, "a", 5))
        return bool(taken)

    await until(something_lapsed)
    assert [claim.job_id for claim in taken] == [dead.id]
    assert await settled(server, delivered(kept)) == set()
    assert kept.job_id == alive.id


async def test_a_lapsed_lease_that_was_put_first_can_still_be_renewed(server: RedisClient, redis_url: str) -> None:
    """A worker that was held up keeps what nobody else has taken, and it is found again if it lapses once more."""
    await admitted(server, 2)
    claims = await claimed_by(server, "late", 2)
    await lapse(server)
    (other,) = await claimed_by(server, "a", 1, lease_ms=LEASE_MS)
    (kept,) = (claim.job_id for claim in claims if claim.job_id != other.job_id)
    with connect_blocking(redis_url) as blocking:
        lost = await asyncio.to_thread(queue.renew, blocking, claims, lease_ms=SHORT_LEASE_MS)
    assert lost == {other.job_id}
    await admit(server, [job_of(number) for number in range(2, 52)], AdmissionPolicy())

    async def is_due() -> bool:
        seconds, microseconds = await server.time()
        return (await server.zscore(KEYS.queue, kept) or 0) < seconds * 1000 + microseconds / 1000

    await until(is_due)
    taken = await claimed_by(server, "b", 2)
    assert [(claim.job_id, claim.crashes) for claim in taken] == [(kept, 1), (job_of(2).id, 0)]


@pytest.mark.parametrize("noted", [b"", b"tomorrow", b"nan", b"-1", b"9" * 300, "a list", "nothing"])
async def test_the_note_of_the_next_lapse_may_be_anything(server: RedisClient, noted: bytes | str) -> None:
    """Whatever somebody has written there, or removed: claims go on, and lapsed leases are found."""
    await admitted(server, 3)
    await claimed_by(server, "dead", 2)
    await server.execute_command("DEL", KEYS.next_lapse)
    if isinstance(noted, bytes):
        await server.execute_command("SET", KEYS.next_lapse, noted)
    elif noted == "a list":
        await server.rpush(KEYS.next_lapse, b"x")
    assert len(await claimed_by(server, "also dead", 1)) == 1
    await admit(server, [job_of(number) for number in range(3, 53)], AdmissionPolicy())
    await lapse(server)
    assert [claim.crashes for claim in await claimed_by(server, "a", 4)] == [1, 1, 1, 0]


async def test_a_further_attempt_that_is_due_waits_its_turn(server: RedisClient) -> None:
    """A retry is no rerun: it comes behind what has waited longer."""
    await admitted(server, 1)
    (claim,) = await claimed_by(server, "a", 1)
    await admit(server, [job_of(1)], AdmissionPolicy())
    again = Job.from_bytes(claim.payload or b"").for_handler("h", attempt=2)
    await settled(server, Settlement(claim, again.delivery, follow_ups=[(again, 0)]))
    order = [each.job_id for each in (await claimed(server, token="b")).jobs]
    assert order == [job_of(1).id, again.id]
