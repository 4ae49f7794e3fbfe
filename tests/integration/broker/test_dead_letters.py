"""Dead letters: found, tried again, or dropped by an operator, and never gone by themselves."""

from __future__ import annotations

import pytest

from broker import dead_letters
from broker.audit import audit
from broker.dead_letters import DeadLetter, find_dead_letters, list_dead_letters
from broker.errors import MalformedRecordError
from broker.records import Job
from tests.support.events import RETENTION_MS, admitted, claimed, queued_ids, settled
from tests.support.store import KEYS, RedisClient
from worker.running.verdicts import HandlerRun, poison_settlement, settlement_of

HANDLERS = ("mine.a", "mine.b")


async def some_dead(server: RedisClient, count: int) -> list[Job]:
    """Events for which both handlers have given up; returns their jobs."""
    jobs = await admitted(server, count)
    runs = [HandlerRun(name, "unfit", error="boom", traceback="Traceback …") for name in HANDLERS]
    for claim in (await claimed(server, token="a", count=count)).jobs:
        await settled(server, settlement_of(claim, Job.from_bytes(claim.payload or b""), runs, now_ms=7))
    return jobs


async def listed(server: RedisClient, *, limit: int | None = None) -> list[DeadLetter]:
    """The dead letters, as they are listed."""
    return [letter async for letter in list_dead_letters(server, limit=limit)]


async def test_a_letter_tells_all_that_is_known(server: RedisClient) -> None:
    """A dead letter has the event, handler, error, traceback, attempts, and the job itself."""
    (job,) = await some_dead(server, 1)
    letter = next(letter for letter in await listed(server) if letter.handler == "mine.a")
    again = job.for_handler("mine.a", attempt=1)
    assert letter == DeadLetter(
        id=f"{job.id}/mine.a",
        event_id=job.record.id,
        event_type="contact.replied",
        handler="mine.a",
        reason="unfit",
        error="boom",
        traceback="Traceback …",
        attempts=1,
        died_at_ms=7,
        job=again.to_bytes().decode(),
    )
    assert DeadLetter.from_bytes(letter.to_bytes()) == letter


@pytest.mark.parametrize("limit", [None, 0, 1, 199, 200, 201, 350, 1_000])
async def test_letters_are_listed_newest_first(server: RedisClient, limit: int | None) -> None:
    """Dead letters are listed newest first, page by page, up to a limit."""
    await some_dead(server, 175)
    ids = [letter_id.decode() for letter_id in await server.zrevrange(KEYS.dead_index, 0, -1)]
    assert len(ids) == 350
    assert [letter.id for letter in await listed(server, limit=limit)] == ids[:limit]


async def test_letters_are_found_by_their_id_or_their_events(server: RedisClient) -> None:
    """A letter's id finds that letter, an event's id finds all of its letters, and an unknown id finds none."""
    jobs = await some_dead(server, 3)
    (one,) = await find_dead_letters(server, f"{jobs[1].id}/mine.b")
    assert (one.event_id, one.handler) == (jobs[1].id, "mine.b")
    assert {letter.handler for letter in await find_dead_letters(server, jobs[1].id)} == {*HANDLERS}
    assert await find_dead_letters(server, "evt_unknown") == []
    assert await find_dead_letters(server, f"{jobs[1].id}/mine.c") == []


async def test_a_retried_letter_is_a_job_of_its_handler_alone(server: RedisClient) -> None:
    """A retried letter becomes a job of its handler with all its attempts, and the other letter stays."""
    (job,) = await some_dead(server, 1)
    letters = await find_dead_letters(server, f"{job.id}/mine.a")
    assert await dead_letters.retry(server, letters) == 1
    assert [letter.handler for letter in await listed(server)] == ["mine.b"]
    (claim,) = (await claimed(server, token="b")).jobs
    assert Job.from_bytes(claim.payload or b"") == job.for_handler("mine.a", attempt=1)
    ledger = await audit(server)
    assert (ledger.pending, ledger.dead, ledger.delivered, ledger.balanced) == (1, 0, 0, True)

    done = settlement_of(claim, job.for_handler("mine.a", attempt=1), [HandlerRun("mine.a", "done")], now_ms=0)
    await settled(server, done)
    ledger = await audit(server)
    assert (ledger.pending, ledger.dead, ledger.delivered, ledger.balanced) == (0, 1, 0, True)
    assert await server.pttl(KEYS.delivery_key(job.delivery)) == -1


async def test_a_retried_letter_wakes_the_idle_workers(server: RedisClient) -> None:
    """A retry is published, and one that finds no letter is not."""
    await some_dead(server, 1)
    letters = await listed(server)
    async with server.pubsub() as subscription:
        await subscription.subscribe(KEYS.wake_channel)
        await dead_letters.retry(server, letters)
        await dead_letters.retry(server, letters)
        await server.publish(KEYS.wake_channel, "the end")
        messages = [await subscription.get_message(timeout=5) for _ in range(3)]
    assert [message and message["data"] for message in messages] == [1, b"2", b"the end"]


async def test_an_event_whose_letters_all_succeed_is_delivered(server: RedisClient) -> None:
    """An event is delivered when all of its letters were retried with success."""
    (job,) = await some_dead(server, 1)
    assert await dead_letters.retry(server, await listed(server)) == 2
    for claim in (await claimed(server, token="b")).jobs:
        again = Job.from_bytes(claim.payload or b"")
        await settled(server, settlement_of(claim, again, [HandlerRun(again.handler or "", "done")], now_ms=0))
    ledger = await audit(server)
    assert (ledger.delivered, ledger.dead, ledger.dead_letters, ledger.balanced) == (1, 0, 0, True)
    assert 0 < await server.pttl(KEYS.delivery_key(job.delivery)) <= RETENTION_MS


async def test_two_operators_retry_once(server: RedisClient) -> None:
    """Of two operators that retry or drop the same letters, the second changes nothing."""
    await some_dead(server, 1)
    letters = await listed(server)
    assert await dead_letters.retry(server, letters) == 2
    assert await dead_letters.retry(server, letters) == 0
    assert await dead_letters.drop(server, letters, retention_ms=RETENTION_MS) == 0
    ledger = await audit(server)
    assert (ledger.pending, ledger.dead_letters, ledger.balanced) == (1, 0, True)


async def test_dropping_is_counted(server: RedisClient) -> None:
    """An event counts as dropped with its last letter, and only then its outcomes may end."""
    (job,) = await some_dead(server, 1)
    first, second = await listed(server)
    assert await dead_letters.drop(server, [first], retention_ms=RETENTION_MS) == 1
    ledger = await audit(server)
    assert (ledger.dead, ledger.dropped, ledger.balanced) == (1, 0, True)
    assert await server.pttl(KEYS.delivery_key(job.delivery)) == -1
    assert await dead_letters.drop(server, [second], retention_ms=RETENTION_MS) == 1
    ledger = await audit(server)
    assert (ledger.dead, ledger.dropped, ledger.dead_letters, ledger.balanced) == (1, 1, 0, True)
    assert 0 < await server.pttl(KEYS.delivery_key(job.delivery)) <= RETENTION_MS
    assert await queued_ids(server) == set()


async def test_poison_is_retried_as_a_whole(server: RedisClient) -> None:
    """A retried poison event runs all of its handlers, because none of them ever came to an end."""
    (job,) = await admitted(server, 1)
    (claim,) = (await claimed(server, token="a")).jobs
    await settled(server, poison_settlement(claim, job, now_ms=0))
    (letter,) = await listed(server)
    assert (letter.id, letter.handler) == (job.id, None)
    assert await dead_letters.retry(server, [letter]) == 1
    (claim,) = (await claimed(server, token="b")).jobs
    assert (claim.crashes, Job.from_bytes(claim.payload or b"")) == (0, job)
    assert (await audit(server)).balanced


async def test_a_letter_without_a_job_cannot_be_retried(server: RedisClient) -> None:
    """A letter without a job is refused, and nothing changes for the letters that were named with it."""
    await some_dead(server, 1)
    letters = await listed(server)
    broken = DeadLetter.from_bytes(letters[0].to_bytes().replace(b'"job":"{', b'"job":"'))
    with pytest.raises(MalformedRecordError):
        await dead_letters.retry(server, [letters[1], broken])
    assert await listed(server) == letters
    assert (await audit(server)).balanced


async def test_no_letters_are_no_fault(server: RedisClient) -> None:
    """To retry or drop no letters changes nothing."""
    assert await dead_letters.retry(server, []) == 0
    assert await dead_letters.drop(server, [], retention_ms=RETENTION_MS) == 0
    assert await listed(server) == []
