"""The audit: what is missing or does not belong is found by its id, whatever the counters say."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from broker import audit as audit_module
from broker.admission import AdmissionPolicy, admit
from broker.audit import audit
from broker.deliveries import Delivery, read_deliveries
from broker.ledger import read_ledger
from broker.records import Job, Record
from tests.support.events import admitted, claimed, delivered, make_due, queued_ids, record_of, settled
from tests.support.store import KEYS, RedisClient
from worker.running.verdicts import HandlerRun, settlement_of


async def test_a_job_without_a_body_is_found(server: RedisClient) -> None:
    """A queued id whose job is gone is found, which the counts alone would not show."""
    jobs = await admitted(server, 3)
    await server.delete(KEYS.job_key(jobs[1].id))
    ledger = await audit(server)
    assert ledger.misplaced == (jobs[1].id,)
    assert ledger.difference == 0
    assert not ledger.balanced
    assert (await read_ledger(server)).balanced


async def test_a_lost_job_is_found(server: RedisClient) -> None:
    """A job that has disappeared from the queue makes one event missing."""
    jobs = await admitted(server, 3)
    await server.zrem(KEYS.queue, jobs[1].id)
    ledger = await audit(server)
    assert (ledger.difference, ledger.balanced) == (1, False)


async def test_a_job_too_many_is_found(server: RedisClient) -> None:
    """A queued id that nobody admitted is one too many, and is found."""
    await admitted(server, 1)
    await server.zadd(KEYS.queue, {"stranger": 1})
    ledger = await audit(server)
    assert (ledger.difference, ledger.misplaced, ledger.balanced) == (-1, ("stranger",), False)


@pytest.mark.parametrize("lost", ["index entry", "letter"])
async def test_half_a_dead_letter_is_found(server: RedisClient, lost: str) -> None:
    """A dead letter that no listing shows is found, and so is an entry of the listing without its letter."""
    (job,) = await admitted(server, 1)
    (claim,) = (await claimed(server, token="a")).jobs
    await settled(server, settlement_of(claim, job, [HandlerRun("h", "unfit")], now_ms=0))
    assert (await audit(server)).balanced
    if lost == "index entry":
        await server.zrem(KEYS.dead_index, f"{job.id}/h")
        found: tuple[str, ...] = (f"{job.id}/h",)
    else:
        await server.hdel(KEYS.dead, f"{job.id}/h")
        found = (job.id, f"{job.id}/h")
    assert (await audit(server)).misplaced == found


async def test_what_is_in_the_log_and_nowhere_else_is_found(server: RedisClient) -> None:
    """A delivery that is in the log and nowhere else is found by its id, although the counts balance."""
    jobs = await admitted(server, 5)
    unhandled, done, retrying, dead, lost = jobs
    claims = {claim.job_id: claim for claim in (await claimed(server, token="a")).jobs}
    for job, runs in (
        (unhandled, []),
        (done, [HandlerRun("h", "done")]),
        (retrying, [HandlerRun("h", "failed")]),
        (dead, [HandlerRun("h", "unfit")]),
    ):
        await settled(server, settlement_of(claims[job.id], job, runs, now_ms=0))
    assert (await audit(server)).balanced
    await server.zrem(KEYS.queue, lost.id)
    await server.delete(KEYS.job_key(lost.id))
    await server.hincrby(KEYS.ledger, "delivered", 1)
    ledger = await audit(server)
    assert (ledger.difference, ledger.misplaced, ledger.balanced) == (0, (lost.id,), False)
    await server.zrem(KEYS.queue, f"{retrying.id}/h#2")
    await server.hdel(KEYS.outcomes_key(done.record.received_at_ms), done.id)
    assert set((await audit(server)).misplaced) == {lost.id, retrying.id, done.id}


async def test_what_is_missing_for_a_moment_only_is_not_reported(
    server: RedisClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A delivery that is on its way at the first two looks, and in its place at the third, is not misplaced."""
    (job,) = await admitted(server, 1)
    looks = 0

    async def look(server: RedisClient, first_jobs: Sequence[Job]) -> list[Delivery]:
        nonlocal looks
        looks += 1
        await (server.zadd(KEYS.queue, {job.id: 1}) if looks == 3 else server.execute_command("DEL", KEYS.queue))
        return await read_deliveries(server, first_jobs)

    monkeypatch.setattr(audit_module, "read_deliveries", look)
    assert (await audit(server)).misplaced == ()
    assert looks == 3


async def test_a_replay_for_one_handler_is_found_in_the_queue(server: RedisClient) -> None:
    """A replay for one handler is looked up by the id of its own first job."""
    job = Job.replay(record_of(1)).for_handler("h", attempt=1)
    await admit(server, [job], AdmissionPolicy())
    assert (await audit(server)).balanced
    await server.zrem(KEYS.queue, job.id)
    assert (await audit(server)).misplaced == (job.delivery,)


async def test_what_is_older_than_its_outcome_is_not_missed(server: RedisClient) -> None:
    """A delivery that is older than the retention of outcomes is not missed."""
    (job,) = await admitted(server, 1)
    (claim,) = (await claimed(server, token="a")).jobs
    await settled(server, delivered(claim))
    await server.delete(KEYS.delivery_key(job.delivery))
    assert (await audit(server)).misplaced == (job.delivery,)
    assert (await audit(server, retention_ms=30_000)).balanced


async def _again(server: RedisClient, job: Job) -> Job:
    """The event comes once more, two minutes later and after its dedupe window."""
    await server.delete(KEYS.seen_key(job.record.id))
    again = Job.first(Record.capture(job.record.body.encode(), received_at_ms=job.record.received_at_ms + 120_000))
    assert await admit(server, [again], AdmissionPolicy()) == [True]
    return again


@pytest.mark.parametrize("page", [1, 500], ids=["pages of one", "one page"])
@pytest.mark.parametrize("lost", [False, True])
async def test_of_an_event_that_came_again_the_last_time_counts(
    server: RedisClient, monkeypatch: pytest.MonkeyPatch, page: int, lost: bool
) -> None:
    """Of an event that came again, only the last delivery is looked up, and it is missed if it is lost."""
    monkeypatch.setattr(audit_module, "PAGE", page)
    (job,) = await admitted(server, 1)
    (claim,) = (await claimed(server, token="a")).jobs
    if not lost:  # it was more than its first job: that trace ends when it comes again
        await settled(server, settlement_of(claim, job, [HandlerRun("h", "failed")], now_ms=0))
        await make_due(server, await queued_ids(server))
        (claim,) = (await claimed(server, token="b")).jobs
        job = Job.from_bytes(claim.payload or b"")
    await settled(server, settlement_of(claim, job, [HandlerRun("h", "done")], now_ms=0))
    again = await _again(server, job)
    (claim,) = (await claimed(server, token="c")).jobs
    if lost:
        await server.delete(KEYS.queue, KEYS.job_key(again.id))
    else:
        await settled(server, settlement_of(claim, again, [HandlerRun("h", "done")], now_ms=0))
    assert (await audit(server)).misplaced == ((again.delivery,) if lost else ())


async def test_many_are_audited_in_pages(server: RedisClient) -> None:
    """More jobs and letters than one page has are all looked up."""
    jobs = await admitted(server, 1_500)
    claims = (await claimed(server, token="a", count=700)).jobs
    settlements = [
        settlement_of(claim, Job.from_bytes(claim.payload or b""), [HandlerRun("h", "unfit")], now_ms=0)
        for claim in claims
    ]
    await settled(server, *settlements)
    assert (await audit(server)).balanced
    gone = sorted({job.id for job in jobs} - {claim.job_id for claim in claims})[:600]
    await server.delete(*map(KEYS.job_key, gone))
    hidden = [f"{claim.job_id}/h" for claim in claims[:600]]
    await server.zrem(KEYS.dead_index, *hidden)
    assert sorted((await audit(server)).misplaced) == sorted([*gone, *hidden])
