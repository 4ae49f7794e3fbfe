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
    """A success, a drop and an unfit event have no follow-up, and only the unfit event is a dead letter."""
    settlement = settle(HandlerRun("h", ended, error="why", policy=AttemptPolicy(8)), attempt=attempt)  # type: ignore[arg-type]
    outcome = outcome_of(settlement, "h")
    assert (outcome["state"], outcome["attempts"], outcome["at_ms"]) == (state, attempt, NOW_MS)
    assert settlement.follow_ups == []
    assert list(settlement.dead_letters) == ([f"{JOB.delivery}/h"] if state == "dead" else [])


@pytest.mark.parametrize(("attempt", "state"), [(1, "retrying"), (7, "retrying"), (8, "dead"), (9, "dead")])
def test_a_failure_is_retried_until_the_attempts_are_used_up(attempt: int, state: str) -> None:
    """A failure is retried until its attempts are used up, also if `attempts` was lowered meanwhile."""
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
    """The dead letter of poison holds the job, and its handler is not shown as waiting for a retry."""
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


DAY_MS = 86_400_000


def waiting(seconds: float, *, attempts: int = 1, retry_for: float = 86_400.0) -> HandlerRun:
    """A run that was told to wait."""
    policy = AttemptPolicy(attempts, retry_for_seconds=retry_for)
    return HandlerRun("h", "failed", retry_after_seconds=seconds, policy=policy, told_to_wait=True)


def test_being_told_to_wait_uses_no_attempt() -> None:
    """A handler with a single attempt waits as often as it is told, and then has that attempt."""
    job, now_ms = JOB, NOW_MS
    for number in range(2, 40):
        settlement = settlement_of(CLAIM, job, [waiting(1)], now_ms=now_ms)
        ((job, delay_ms),) = settlement.follow_ups
        assert (job.id, job.waits) == (f"{JOB.id}/h#{number}", number - 1)
        assert delay_ms >= 1000
        now_ms += delay_ms
    failed = HandlerRun("h", "failed", policy=AttemptPolicy(attempts=2))
    ((job, _),) = settlement_of(CLAIM, job, [failed], now_ms=now_ms).follow_ups
    assert letter_of(settlement_of(CLAIM, job, [failed], now_ms=now_ms)).attempts == 40


def test_waiting_is_bounded_by_time() -> None:
    """A wait that ends after `retry_for`, counted from the first attempt, uses an attempt."""
    job = JOB.for_handler("h", attempt=1).next_attempt("h", waits=1, first_attempt_at_ms=NOW_MS - DAY_MS)
    assert settlement_of(CLAIM, job, [waiting(1, attempts=1)], now_ms=NOW_MS).follow_ups == []
    ((again, _),) = settlement_of(CLAIM, job, [waiting(1, attempts=2)], now_ms=NOW_MS).follow_ups
    assert (again.attempt, again.waits, again.first_attempt_at_ms) == (3, 1, NOW_MS - DAY_MS)
    assert settlement_of(CLAIM, again, [waiting(1, attempts=2)], now_ms=NOW_MS).follow_ups == []
    assert settle(waiting(0, retry_for=0)).follow_ups == []
    assert settle(waiting(2 * 86_400)).follow_ups == []


def test_the_first_attempt_counts_from_its_begin() -> None:
    """Also where it failed for another reason, and for each handler of the event by itself."""
    failed = HandlerRun("h", "failed", duration_ms=5_000.2)
    ((job, _),) = settle(failed).follow_ups
    assert job.first_attempt_at_ms == NOW_MS - 5_000
    ((again, _),) = settlement_of(CLAIM, job, [failed], now_ms=NOW_MS + 60_000).follow_ups
    assert Job.from_bytes(again.to_bytes()) == again
    assert again.first_attempt_at_ms == NOW_MS - 5_000


@pytest.mark.parametrize("seconds", [0, 1, 3600])
def test_what_was_told_to_wait_together_does_not_return_together(seconds: float) -> None:
    """No job comes back before its time, nor all of them in one second; and each further wait spreads them more."""
    crowd = [settle(waiting(seconds)).follow_ups[0] for _ in range(400)]
    delays_ms = [delay_ms for _, delay_ms in crowd]
    assert min(delays_ms) >= seconds * 1000
    assert max(delays_ms) <= (seconds + 15) * 1000
    assert max(delays_ms) - min(delays_ms) > 900
    job = crowd[0][0]._replace(waits=5)
    later_ms = [settlement_of(CLAIM, job, [waiting(seconds)], now_ms=NOW_MS).follow_ups[0][1] for _ in range(400)]
    assert max(later_ms) - min(later_ms) > 20_000
    assert max(later_ms) <= (seconds + 60) * 1000


@pytest.mark.parametrize("told_to_wait", [False, True])
def test_no_wait_is_longer_than_a_month(told_to_wait: bool) -> None:
    """An event is not parked for ever, whatever a server or a slip in arithmetic asks for."""
    run = waiting(1e300, attempts=2)._replace(told_to_wait=told_to_wait)
    assert settle(run).follow_ups[0][1] <= 30 * DAY_MS + 60_000
