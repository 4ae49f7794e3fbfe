"""What the worker has in hand: places, the one suspect, and what holds its place for too long."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from broker.queue import Claimed
from broker.records import Job, Record
from konvox.samples import sample_body
from worker.leasing.inflight import LOOK_SECONDS, OVERDUE_SECONDS, Held, JobsInHand

JOB = Job.first(Record.capture(sample_body("contact.replied"), received_at_ms=1_779_287_520_000))
LIMIT_SECONDS = 30.0


def claim_of(job_id: str, *, token: str = "worker:1", crashes: int = 0) -> Claimed:
    """A claim of a job that can be read."""
    return Claimed(job_id, token, crashes, JOB.to_bytes())


async def for_ever() -> None:
    """Wait for nothing."""
    await asyncio.Event().wait()


@asynccontextmanager
async def running(in_hand: JobsInHand, claim: Claimed) -> AsyncIterator[Held]:
    """A job taken at 0 that does not end."""
    held = in_hand.take(claim, now=0.0)
    assert held is not None
    held.task = task = asyncio.create_task(for_ever())
    try:
        yield held
    finally:
        task.cancel()


def overdue_at(in_hand: JobsInHand, now: float) -> list[str]:
    """The jobs to be left behind at a time."""
    return [held.claim.job_id for held, _ in in_hand.overdue(lambda _: LIMIT_SECONDS, now=now)]


def test_a_job_has_its_place_until_it_is_forgotten() -> None:
    """More jobs than places are told as such."""
    in_hand = JobsInHand(1)
    assert (in_hand.free(), len(in_hand)) == (1, 0)
    one, other = claim_of("one"), claim_of("other")
    in_hand.take(one, now=0.0)
    in_hand.take(other, now=0.0)
    assert (in_hand.free(), in_hand.claims()) == (-1, [one, other])
    in_hand.forget([one, claim_of("unknown")])
    assert (in_hand.free(), in_hand.claims()) == (0, [other])


def test_a_second_claim_of_a_job_in_hand_starts_nothing() -> None:
    """The run goes on, under the claim that is good now."""
    in_hand = JobsInHand(2)
    held = in_hand.take(claim_of("one"), now=0.0)
    again = claim_of("one", token="worker:2")
    assert in_hand.take(again, now=1.0) is None
    assert held is not None
    assert (held.claim, len(in_hand)) == (again, 1)


def test_one_suspect_at_a_time() -> None:
    """No other is wanted until the one in hand is forgotten, whatever else is."""
    in_hand = JobsInHand(3)
    suspect, innocent = claim_of("suspect", crashes=1), claim_of("innocent")
    assert in_hand.suspect_wanted()
    in_hand.take(suspect, now=0.0)
    in_hand.take(innocent, now=0.0)
    in_hand.forget([innocent])
    assert not in_hand.suspect_wanted()
    in_hand.forget([suspect])
    assert in_hand.suspect_wanted()


async def test_what_does_not_end_is_overdue_at_the_second_look() -> None:
    """Not at the first, for the loop may have been blocked; and not before its time limit is well over."""
    in_hand, late = JobsInHand(1), LIMIT_SECONDS + OVERDUE_SECONDS
    async with running(in_hand, claim_of("one")):
        assert overdue_at(in_hand, late - LOOK_SECONDS) == []
        assert overdue_at(in_hand, late) == []
        assert overdue_at(in_hand, late + LOOK_SECONDS / 2) == []
        assert overdue_at(in_hand, late + LOOK_SECONDS) == ["one"]


async def test_what_is_left_behind_is_counted_once_and_not_waited_for() -> None:
    """It keeps its place until its settlement is written."""
    in_hand, late = JobsInHand(1), LIMIT_SECONDS + OVERDUE_SECONDS
    async with running(in_hand, claim_of("one")) as held:
        overdue_at(in_hand, late)
        in_hand.leave_behind(held)
        in_hand.leave_behind(held)
        assert (in_hand.left_behind, in_hand.tasks(), len(in_hand)) == (1, [], 1)
        assert overdue_at(in_hand, late + LOOK_SECONDS) == []
