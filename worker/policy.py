"""What becomes of an event after its handlers ran: pure decisions, no I/O. Called by the worker for every job."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

import orjson

from broker import ids
from broker.dead_letters import DeadLetter, Reason
from broker.queue import Claimed, Settlement
from broker.records import Job

CRASH_LIMIT = 3
"""How many workers an event may take down before it is dead-lettered as poison."""

_LONGEST_ERROR_CHARACTERS = 2_000
_LONGEST_TRACEBACK_CHARACTERS = 20_000


@dataclass(frozen=True, slots=True)
class RetryPolicy:
    """What a handler allows itself.

    Attributes:
        attempts: how often it may be run for one event, in all.
        base_seconds: the longest wait before the second attempt; it doubles with each further one.
        cap_seconds: the longest wait before any attempt.
    """

    attempts: int = 8
    base_seconds: float = 1.0
    cap_seconds: float = 600.0


class HandlerRun(NamedTuple):
    """How one run of one handler for one event ended.

    Attributes:
        handler: the handler's name.
        ended: `done`; `skipped` by its own `when`; `dropped` by `raise Drop`; `failed`, to be tried again; `unfit`: the
            event does not fit its model, which no second attempt can fix.
        duration_ms: how long it ran.
        error: the error in one line; the reason of a drop.
        traceback: the traceback as text.
        retry_after_seconds: the wait that `raise Retry(after=…)` asked for.
        policy: what the handler allows itself; asked only where it did not end well.
    """

    handler: str
    ended: Literal["done", "skipped", "dropped", "failed", "unfit"]
    duration_ms: float = 0.0
    error: str = ""
    traceback: str = ""
    retry_after_seconds: float | None = None
    policy: RetryPolicy = RetryPolicy()


def backoff_seconds(policy: RetryPolicy, attempt: int, *, chance: float) -> float:
    """How long to wait after attempt number `attempt` failed: exponential with full jitter.

    Args:
        policy: base and cap.
        attempt: the attempt that failed, from 1.
        chance: a random number from 0 to 1, the share of the ceiling that is waited.
    """
    # The exponent is bounded so that a handler with a thousand attempts does not end in an overflow.
    ceiling = min(policy.cap_seconds, policy.base_seconds * 2.0 ** min(attempt - 1, 60))
    return ceiling * chance


def settlement_of(claim: Claimed, job: Job, runs: Sequence[HandlerRun], *, now_ms: int) -> Settlement:
    """Decide for each handler that ran: done, another attempt for it alone, or a dead letter."""
    first_job = job.delivery == claim.job_id
    settlement = Settlement(claim, job.delivery, received_at_ms=job.record.received_at_ms if first_job else None)
    for run in runs:
        state = "done"
        if run.ended in {"skipped", "dropped"}:
            state = run.ended
        elif run.ended == "failed" and job.attempt < run.policy.attempts:
            state = "retrying"
            settlement.follow_ups.append((job.for_handler(run.handler, attempt=job.attempt + 1), _wait_ms(run, job)))
        elif run.ended != "done":
            state = "dead"
            reason: Reason = "unfit" if run.ended == "unfit" else "attempts"
            _bury(settlement, job.for_handler(run.handler, attempt=job.attempt), run, reason, now_ms)
        settlement.outcomes[run.handler] = _outcome(state, job, run, now_ms)
    return settlement


def poison_settlement(claim: Claimed, job: Job, *, now_ms: int) -> Settlement:
    """Give up an event that has taken down `CRASH_LIMIT` workers."""
    run = HandlerRun(
        job.handler or "",
        "failed",
        error=f"{claim.crashes} workers died with this event in hand; it was not run again",
    )
    settlement = Settlement(claim, job.delivery)
    _bury(settlement, job, run, "poison", now_ms)
    if job.handler is not None:
        settlement.outcomes[job.handler] = _outcome("dead", job, run, now_ms)  # until now it was "retrying"
    return settlement


def unreadable_settlement(claim: Claimed, *, error: str, now_ms: int) -> Settlement:
    """Put aside a queued id whose job was removed behind our back, or is none of ours: visible, and out of the way."""
    delivery = ids.delivery_of(claim.job_id)
    letter = DeadLetter(
        id=claim.job_id,
        event_id=ids.event_of(delivery),
        event_type="",
        handler=None,
        reason="missing",
        error=error,
        traceback="",
        attempts=0,
        died_at_ms=now_ms,
        job=(claim.payload or b"").decode(errors="replace"),
    )
    return Settlement(claim, delivery, dead_letters={letter.id: letter.to_bytes()})


def _wait_ms(run: HandlerRun, job: Job) -> int:
    if run.retry_after_seconds is not None:
        return round(run.retry_after_seconds * 1000)
    chance = random.random()  # noqa: S311 - jitter, not a secret
    return round(backoff_seconds(run.policy, job.attempt, chance=chance) * 1000)


def _bury(settlement: Settlement, job: Job, run: HandlerRun, reason: Reason, now_ms: int) -> None:
    letter = DeadLetter(
        id=job.dead_letter_id,
        event_id=job.record.id,
        event_type=job.record.type,
        handler=job.handler,
        reason=reason,
        error=run.error[:_LONGEST_ERROR_CHARACTERS],
        traceback=run.traceback[-_LONGEST_TRACEBACK_CHARACTERS:],
        attempts=job.attempt,
        died_at_ms=now_ms,
        job=job.to_bytes().decode(),
    )
    settlement.dead_letters[letter.id] = letter.to_bytes()


def _outcome(state: str, job: Job, run: HandlerRun, now_ms: int) -> bytes:
    outcome: dict[str, Any] = {"state": state, "attempts": job.attempt, "at_ms": now_ms}
    outcome["duration_ms"] = round(run.duration_ms, 3)
    if run.error:
        outcome["error"] = run.error[:_LONGEST_ERROR_CHARACTERS]
    return orjson.dumps(outcome)
