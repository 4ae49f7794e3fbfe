"""What follows from how the handlers of a job ended: done, another attempt, a dead letter. Pure, no I/O.

The worker asks here for every job. Here stands as well after how many crashes an event is poison.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

import orjson

from broker import ids
from broker.dead_letters import DeadLetter, Reason, job_text
from broker.queue import Claimed, Settlement
from broker.records import Job
from konvox.backoff import ceiling_seconds, full_jitter_seconds
from worker.running.tracebacks import (
    LONGEST_ERROR_CHARACTERS,
    LONGEST_TRACEBACK_CHARACTERS,
    shortened,
    users_traceback,
)

CRASH_LIMIT = 3
"""Crashes until poison: an event that this many workers died with becomes a dead letter, and is not run again."""

_LONGEST_WAIT_SECONDS = 30 * 86_400.0
"""No wait that a handler or a server asks for is longer: an event is not to be parked for ever by mistake."""

_FIRST_SPREAD_SECONDS, _LONGEST_SPREAD_SECONDS = 15.0, 60.0
"""How much later than asked for a job comes back at most, the first time and ever. It is at first twice the wait."""

_LONGEST_KEPT_TRACEBACK_CHARACTERS = 8_000
"""Of a traceback beside an outcome. Each failed delivery has one for as long as the log keeps it."""


@dataclass(frozen=True, slots=True)
class AttemptPolicy:
    """How often a handler may be run for one event, and how long is waited in between.

    Attributes:
        attempts: the most attempts, the first included.
        base_seconds: the longest wait before the second attempt; it doubles with each further one.
        cap_seconds: the longest wait before any attempt.
        retry_for_seconds: for how long after the first attempt waiting as told uses up no attempt.
    """

    attempts: int = 8
    base_seconds: float = 1.0
    cap_seconds: float = 600.0
    retry_for_seconds: float = 86_400.0


class HandlerRun(NamedTuple):
    """How one attempt of one handler ended.

    Attributes:
        handler: the handler's name.
        ended: `done`; `skipped` by its own `when`; `dropped` by `raise Drop`; `failed`, and to be tried again; `unfit`:
            the event does not fit its model, and no further attempt can change that.
        duration_ms: how long it ran.
        error: the error in one line; the reason of a drop.
        traceback: the traceback as text.
        retry_after_seconds: the wait that `raise Retry(after=…)` asked for.
        policy: of the handler; needed only where it did not end well.
        told_to_wait: whether nothing failed, and the handler was only told to wait for `retry_after_seconds`.
    """

    handler: str
    ended: Literal["done", "skipped", "dropped", "failed", "unfit"]
    duration_ms: float = 0.0
    error: str = ""
    traceback: str = ""
    retry_after_seconds: float | None = None
    policy: AttemptPolicy = AttemptPolicy()
    told_to_wait: bool = False


def settlement_of(claim: Claimed, job: Job, runs: Sequence[HandlerRun], *, now_ms: int) -> Settlement:
    """Decide for each handler that ran: done, another attempt for it alone, or a dead letter.

    Args:
        claim: the job.
        job: the same, read.
        runs: how its handlers ended.
        now_ms: the time of day, for people to read.
    """
    first_job = job.delivery == claim.job_id
    settlement = Settlement(claim, job.delivery, received_at_ms=job.record.received_at_ms if first_job else None)
    for run in runs:
        state = "done"
        if run.ended in {"skipped", "dropped"}:
            state = run.ended
        elif run.ended == "failed" and (follow_up := _follow_up(run, job, now_ms)):
            state = "retrying"
            settlement.follow_ups.append(follow_up)
        elif run.ended != "done":
            state = "dead"
            reason: Reason = "unfit" if run.ended == "unfit" else "attempts"
            _bury(settlement, job.for_handler(run.handler, attempt=job.attempt), run, reason, now_ms)
        settlement.outcomes[run.handler] = _outcome(state, job, run, now_ms)
    return settlement


def poison_settlement(claim: Claimed, job: Job, *, now_ms: int) -> Settlement:
    """Make a dead letter of an event that `CRASH_LIMIT` workers died with; which handler is guilty is not known."""
    run = HandlerRun(
        job.handler or "",
        "failed",
        error=f"{claim.crashes} workers died with this event in flight; it was not run again",
    )
    settlement = Settlement(claim, job.delivery)
    _bury(settlement, job, run, "poison", now_ms)
    if job.handler is not None:
        settlement.outcomes[job.handler] = _outcome("dead", job, run, now_ms)  # until now it was "retrying"
    return settlement


def unreadable_settlement(claim: Claimed, *, error: str, now_ms: int) -> Settlement:
    """Make a dead letter of a queued id without a job that can be read: it was removed, or is none of ours."""
    job_id = ids.readable(claim.job_id)
    delivery = ids.delivery_of(job_id)
    letter = DeadLetter(
        id=job_id,
        event_id=ids.event_of(delivery),
        event_type="",
        handler=None,
        reason="missing",
        error=error,
        traceback="",
        attempts=0,
        died_at_ms=now_ms,
        job=job_text(claim.payload or b""),
    )
    return Settlement(claim, delivery, dead_letters={letter.id: letter.to_bytes()}, unreadable=True)


def _follow_up(run: HandlerRun, job: Job, now_ms: int) -> tuple[Job, int] | None:
    """The next attempt and the wait before it in ms; None if there is none left."""
    began_ms = job.first_attempt_at_ms
    if began_ms is None:
        began_ms = now_ms - round(run.duration_ms)
    wait_ms = _wait_ms(run, job)
    is_free = run.told_to_wait and now_ms + wait_ms <= began_ms + run.policy.retry_for_seconds * 1000
    if not is_free and job.attempt - job.waits >= run.policy.attempts:
        return None
    return job.next_attempt(run.handler, waits=job.waits + is_free, first_attempt_at_ms=began_ms), wait_ms


def _wait_ms(run: HandlerRun, job: Job) -> int:
    if run.retry_after_seconds is not None:
        seconds = min(run.retry_after_seconds, _LONGEST_WAIT_SECONDS)
        return round((seconds + (_spread_seconds(seconds, run.policy, job.waits) if run.told_to_wait else 0)) * 1000)
    ceiling = ceiling_seconds(run.policy.base_seconds, run.policy.cap_seconds, job.attempt - job.waits)
    return round(full_jitter_seconds(ceiling) * 1000)


def _spread_seconds(seconds: float, policy: AttemptPolicy, waits: int) -> float:
    """How much later than asked for: it grows with each further wait, and so a crowd comes back spread out."""
    first = max(policy.base_seconds, min(2 * seconds, _FIRST_SPREAD_SECONDS))
    longest = max(first, min(policy.cap_seconds, _LONGEST_SPREAD_SECONDS))
    return full_jitter_seconds(ceiling_seconds(first, longest, waits + 1))


def _bury(settlement: Settlement, job: Job, run: HandlerRun, reason: Reason, now_ms: int) -> None:
    letter = DeadLetter(
        id=job.dead_letter_id,
        event_id=job.record.id,
        event_type=job.record.type,
        handler=job.handler,
        reason=reason,
        error=run.error[:LONGEST_ERROR_CHARACTERS],
        traceback=run.traceback[-LONGEST_TRACEBACK_CHARACTERS:],
        attempts=job.attempt,
        died_at_ms=now_ms,
        job=job.to_bytes().decode(),
    )
    settlement.dead_letters[letter.id] = letter.to_bytes()


def _outcome(state: str, job: Job, run: HandlerRun, now_ms: int) -> bytes:
    outcome: dict[str, Any] = {"state": state, "attempts": job.attempt, "at_ms": now_ms}
    outcome["duration_ms"] = round(run.duration_ms, 3)
    if run.error:
        outcome["error"] = run.error[:LONGEST_ERROR_CHARACTERS]
    if run.traceback:
        outcome["traceback"] = shortened(users_traceback(run.traceback), _LONGEST_KEPT_TRACEBACK_CHARACTERS)
    return orjson.dumps(outcome)
