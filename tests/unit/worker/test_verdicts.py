"""What becomes of an event after its handlers ran."""

from __future__ import annotations

import orjson
import pytest

from broker.dead_letters import DeadLetter
from broker.queue import Claimed, Settlement
from broker.records import Job
from tests.support.events import job_of, outcome_of
from worker.running.verdicts import (
    CRASH_LIMIT,
    AttemptPolicy,
    HandlerRun,
    poison_settlement,
    settlement_of,
    unreadable_settlement,
)

NOW_MS = 1_800_000_000_000
JOB = job_of(1)
CLAIM = Claimed(JOB.id, token="a:1", crashes=0, payload=JOB.to_bytes())


def settle(*runs: HandlerRun, attempt: int = 1) -> Settlement:
    """What follows for the job from these runs, and of its one handler where it is not the first attempt."""
    job = JOB if attempt == 1 else JOB.for_handler(runs[0].handler, attempt=attempt)
    return settlement_of(CLAIM, job, runs, now_ms=NOW_MS)


def letter_of(settlement: Settlement) -> DeadLetter:
    """The one dead letter of a settlement."""
    (payload,) = settlement.dead_letters.values()
    return DeadLetter.from_bytes(payload)


@pytest.mark.parametrize("attempt", [1, 7, 8, 9])
@pytest.mark.parametrize(
    ("ended", "state"), [("done", "done"), ("skipped", "skipped"), ("dropped", "dropped"), ("unfit", "dead")]
)
def test_what_does_not_depend_on_the_attempt(ended: str, state: str, attempt: int) -> None:
    """There is no follow-up, and a dead letter only where the event does not fit."""
    settlement = settle(HandlerRun("h", ended, error="why", policy=AttemptPolicy(8)), attempt=attempt)  # type: ignore[arg-type]
    outcome = outcome_of(settlement, "h")
    assert (outcome["state"], outcome["attempts"], outcome["at_ms"]) == (state, attempt, NOW_MS)
    assert settlement.follow_ups == []
    assert list(settlement.dead_letters) == ([f"{JOB.delivery}/h"] if state == "dead" else [])


@pytest.mark.parametrize(("attempt", "state"), [(1, "retrying"), (7, "retrying"), (8, "dead"), (9, "dead")])
def test_a_failure_is_retried_until_the_attempts_are_used_up(attempt: int, state: str) -> None:
    """The last attempt makes it a dead letter; so does the next one if `attempts` was lowered meanwhile."""
    settlement = settle(HandlerRun("h", "failed", error="boom", policy=AttemptPolicy(8)), attempt=attempt)
    assert outcome_of(settlement, "h")["state"] == state
    if state == "dead":
        assert settlement.follow_ups == []
        letter = letter_of(settlement)
        assert (letter.id, letter.handler, letter.reason) == (f"{JOB.delivery}/h", "h", "attempts")
        assert (letter.error, letter.attempts, letter.died_at_ms) == ("boom", attempt, NOW_MS)
    else:
        ((job, delay_ms),) = settlement.follow_ups
        assert (job.handler, job.attempt, job.delivery) == ("h", attempt + 1, JOB.delivery)
        assert 0 <= delay_ms <= 1000 * 2 ** (attempt - 1)
        assert settlement.dead_letters == {}


@pytest.mark.parametrize(("attempt", "ceiling_ms"), [(1, 1_000), (3, 4_000), (99, 600_000)])
def test_what_failed_together_is_not_retried_together(attempt: int, ceiling_ms: int) -> None:
    """The waits after a failure are random, and spread from almost nothing up to the ceiling of that attempt."""
    failed = HandlerRun("h", "failed", policy=AttemptPolicy(100))
    waits_ms = [settle(failed, attempt=attempt).follow_ups[0][1] for _ in range(300)]
    assert len(set(waits_ms)) > 200
    assert 0 <= min(waits_ms) < ceiling_ms / 5
    assert ceiling_ms * 4 / 5 < max(waits_ms) <= ceiling_ms


def test_a_handler_says_when_to_retry() -> None:
    """The wait that `Retry` asks for replaces the backoff."""
    settlement = settle(HandlerRun("h", "failed", retry_after_seconds=90.5))
    assert settlement.follow_ups[0][1] == 90_500


def test_each_handler_has_an_end_of_its_own() -> None:
    """Only the handler that failed gets another job, and the others are not run again."""
    settlement = settle(
        HandlerRun("a", "done"),
        HandlerRun("b", "failed"),
        HandlerRun("c", "unfit"),
        HandlerRun("d", "failed", policy=AttemptPolicy(attempts=1)),
    )
    states = {name: outcome_of(settlement, name)["state"] for name in settlement.outcomes}
    assert states == {"a": "done", "b": "retrying", "c": "dead", "d": "dead"}
    assert [job.id for job, _ in settlement.follow_ups] == [f"{JOB.id}/b#2"]
    assert set(settlement.dead_letters) == {f"{JOB.id}/c", f"{JOB.id}/d"}


def test_without_handlers_an_event_is_delivered() -> None:
    """An event without handlers is settled without outcomes."""
    assert settle() == Settlement(CLAIM, JOB.delivery, received_at_ms=JOB.record.received_at_ms)


def test_a_dead_letter_can_be_tried_again_from_what_it_holds() -> None:
    """A dead letter holds the whole job, as arq keeps it."""
    job = Job.from_bytes(letter_of(settle(HandlerRun("h", "unfit"))).job.encode())
    assert job == JOB.for_handler("h", attempt=1)


def test_endless_errors_are_cut() -> None:
    """Of an endless error its start is kept, and of an endless traceback its end."""
    run = HandlerRun("h", "unfit", error="e" * 100_000, traceback="t" * 100_000 + "the end")
    settlement = settle(run)
    letter = letter_of(settlement)
    assert len(letter.error) == len(outcome_of(settlement, "h")["error"]) == 2_000
    assert len(letter.traceback) == 20_000
    assert letter.traceback.endswith("the end")


@pytest.mark.parametrize("handler", [None, "h"])
def test_poison_is_put_aside(handler: str | None) -> None:
    """The dead letter holds the job, and its handler is not shown as waiting for a retry."""
    job = JOB if handler is None else JOB.for_handler(handler, attempt=2)
    settlement = poison_settlement(Claimed(job.id, "a:1", CRASH_LIMIT, job.to_bytes()), job, now_ms=NOW_MS)
    letter = letter_of(settlement)
    assert (letter.id, letter.reason, letter.handler) == (job.dead_letter_id, "poison", handler)
    assert letter.error.startswith(f"{CRASH_LIMIT} workers died")
    assert Job.from_bytes(letter.job.encode()) == job
    assert settlement.follow_ups == []
    states = {name: orjson.loads(outcome)["state"] for name, outcome in settlement.outcomes.items()}
    assert states == ({} if handler is None else {handler: "dead"})


@pytest.mark.parametrize("payload", [None, b"\xff nonsense"])
def test_what_cannot_be_read_is_put_aside(payload: bytes | None) -> None:
    """The dead letter has the id of the job, and holds what there was to the last byte."""
    claim = Claimed("evt_1~2/h#3", "a:1", 0, payload)
    settlement = unreadable_settlement(claim, error="gone", now_ms=NOW_MS)
    letter = letter_of(settlement)
    assert settlement.delivery == "evt_1~2"
    assert (letter.id, letter.event_id, letter.reason) == ("evt_1~2/h#3", "evt_1", "missing")
    assert letter.job == ("" if payload is None else "base64:/yBub25zZW5zZQ==")
