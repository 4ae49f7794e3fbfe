"""What is in flight: places, the one suspect, and what holds its place for too long."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from broker.queue import Claimed
from broker.records import Job, Record
from konvox.samples import sample_body
from worker.leasing.inflight import APART_SECONDS, LOOK_SECONDS, OVERDUE_SECONDS, Inflight, InflightJobs

JOB = Job.first(Record.capture(sample_body("contact.replied"), received_at_ms=1_779_287_520_000))
LIMIT_SECONDS = 30.0


def claim_of(job_id: str, *, token: str = "worker:1", crashes: int = 0) -> Claimed:
    """A claim of a job that can be read."""
    return Claimed(job_id, token, crashes, JOB.to_bytes())


async def for_ever() -> None:
    """Wait for nothing."""
    await asyncio.Event().wait()


@asynccontextmanager
async def running(jobs: InflightJobs, claim: Claimed) -> AsyncIterator[Inflight]:
    """A job taken at 0 that does not end."""
    inflight = jobs.add(claim, now=0.0)
    assert inflight is not None
    inflight.task = task = asyncio.create_task(for_ever())
    try:
        yield inflight
    finally:
        task.cancel()


def overdue_at(jobs: InflightJobs, now: float) -> list[str]:
    """The jobs to be abandoned at a time."""
    return [inflight.claim.job_id for inflight, _ in jobs.overdue(lambda _: LIMIT_SECONDS, now=now)]


def test_a_job_has_its_place_until_it_is_removed() -> None:
    """A job frees its place only when it is removed; with more jobs than places, less than none is free."""
    jobs = InflightJobs(1)
    assert (jobs.free(), len(jobs)) == (1, 0)
    one, other = claim_of("one"), claim_of("other")
    jobs.add(one, now=0.0)
    jobs.add(other, now=0.0)
    assert (jobs.free(), jobs.claims()) == (-1, [one, other])
    jobs.remove([one, claim_of("unknown")])
    assert (jobs.free(), jobs.claims()) == (0, [other])


def test_a_second_claim_of_a_job_in_flight_starts_nothing() -> None:
    """A second claim of a job in flight starts nothing: the attempt continues under the new claim."""
    jobs = InflightJobs(2)
    inflight = jobs.add(claim_of("one"), now=0.0)
    again = claim_of("one", token="worker:2")
    assert jobs.add(again, now=1.0) is None
    assert inflight is not None
    assert (inflight.claim, len(jobs)) == (again, 1)


def test_one_suspect_at_a_time() -> None:
    """No other is wanted until the one in flight is removed, whatever else is; what crashed once is none."""
    jobs = InflightJobs(4)
    suspect, innocent = claim_of("suspect", crashes=2), claim_of("innocent")
    jobs.add(claim_of("crashed once", crashes=1), now=0.0)
    assert not jobs.has_suspect()
    jobs.add(suspect, now=0.0)
    jobs.add(innocent, now=0.0)
    jobs.remove([innocent, claim_of("crashed once")])
    assert jobs.has_suspect()
    assert not jobs.suspect_wanted(now=1000.0)
    jobs.remove([suspect])
    assert not jobs.has_suspect()
    assert jobs.suspect_wanted(now=0.0)


def test_a_suspect_begins_alone() -> None:
    """Nothing is to be taken beside it at first; then others are, and once it has ended they are at once."""
    jobs = InflightJobs(4)
    suspect = claim_of("suspect", crashes=2)
    assert jobs.apart_seconds(now=10.0) == 0.0
    jobs.add(suspect, now=10.0)
    assert jobs.apart_seconds(now=10.5) == APART_SECONDS - 0.5
    assert jobs.apart_seconds(now=10.0 + APART_SECONDS) == 0.0
    jobs.remove([suspect])
    assert jobs.apart_seconds(now=10.5) == 0.0


def test_a_busy_worker_makes_room_for_a_suspect() -> None:
    """It takes nothing until it is empty, or for some time: then a suspect may run beside what does not end."""
    jobs = InflightJobs(4)
    long, short = claim_of("long"), claim_of("short")
    jobs.make_room(now=0.0)
    assert (jobs.apart_seconds(now=0.0), jobs.suspect_wanted(now=0.0)) == (0.0, True)
    jobs.add(long, now=0.0)
    jobs.add(short, now=0.0)
    assert (jobs.apart_seconds(now=0.0), jobs.suspect_wanted(now=1000.0)) == (0.0, False)
    jobs.make_room(now=1.0)
    jobs.make_room(now=2.0)
    late = 1.0 + APART_SECONDS
    assert (jobs.apart_seconds(now=late - 0.5), jobs.suspect_wanted(now=late - 0.5)) == (0.5, False)
    assert (jobs.apart_seconds(now=late), jobs.suspect_wanted(now=late)) == (0.0, True)
    jobs.remove([long, short])
    assert (jobs.apart_seconds(now=1.0), jobs.suspect_wanted(now=1.0)) == (0.0, True)
    jobs.add(short, now=late)
    assert (jobs.apart_seconds(now=late), jobs.suspect_wanted(now=late)) == (0.0, False)


async def test_what_does_not_end_is_overdue_at_the_second_look() -> None:
    """A job is overdue well after its time limit, and at the second look: the loop may have been blocked."""
    jobs, late = InflightJobs(1), LIMIT_SECONDS + OVERDUE_SECONDS
    async with running(jobs, claim_of("one")):
        assert overdue_at(jobs, late - LOOK_SECONDS) == []
        assert overdue_at(jobs, late) == []
        assert overdue_at(jobs, late + LOOK_SECONDS / 2) == []
        assert overdue_at(jobs, late + LOOK_SECONDS) == ["one"]


async def test_what_is_abandoned_is_counted_once_and_not_waited_for() -> None:
    """An abandoned job is counted once, and keeps its place until its settlement is written."""
    jobs, late = InflightJobs(1), LIMIT_SECONDS + OVERDUE_SECONDS
    async with running(jobs, claim_of("one")) as inflight:
        overdue_at(jobs, late)
        jobs.abandon(inflight)
        jobs.abandon(inflight)
        assert (jobs.abandoned, jobs.tasks(), len(jobs)) == (1, [], 1)
        assert overdue_at(jobs, late + LOOK_SECONDS) == []
