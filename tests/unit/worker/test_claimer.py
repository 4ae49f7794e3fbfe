"""The claimer's decisions: what it asks for and when, and what it does with what comes. Nothing here asks a server."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import Any

import pytest

from broker.queue import SUSPECT_CRASHES, Claimed, ClaimRequest, Claims
from worker.leasing.claim_states import Event
from worker.leasing.claimer import CLAIM_JOBS, Claimer
from worker.leasing.inflight import InflightJobs
from worker.leasing.renewal import RENEWALS_PER_LEASE

LEASE_MS = 60_000
ANSWER_SECONDS = LEASE_MS / 1000 / RENEWALS_PER_LEASE


def inflight_of(count: int, places: int = 100, *, suspect: bool = False) -> InflightJobs:
    """So many jobs in flight; the first of them a suspect, if asked for."""
    jobs = InflightJobs(places)
    for number in range(count):
        crashes = SUSPECT_CRASHES if suspect and number == 0 else 0
        jobs.add(Claimed(f"evt_{number}", "t", crashes, payload=b"{}"), now=0.0)
    return jobs


def claimer(
    inflight: InflightJobs,
    *,
    may_stand: bool = True,
    start_jobs: Callable[[Sequence[Claimed]], None] = lambda _: None,
) -> Claimer:
    """One that has not asked yet."""
    nobody: Any = None
    return Claimer(nobody, nobody, inflight, lease_ms=LEASE_MS, may_stand=may_stand, start_jobs=start_jobs)


def told_of_more(one: Claimer) -> Claimer:
    """The same, once an answer has said that more is due."""
    one._request(1, free=0)
    assert one.on_answer(Claims([], next_due_ms=0))
    return one


def standing(one: Claimer, next_due_ms: int | None = None) -> ClaimRequest:
    """Ask together with the settlement of all that is in flight, and hear that the claim stands."""
    request = one.piggyback_request(len(one._inflight))
    assert request is not None
    one.on_answer(Claims([], next_due_ms=next_due_ms, claim_stands=True))
    return request


def message_of(request: ClaimRequest, job_id: str = "evt_1", payload: str = "{}") -> bytes:
    """What an admission pushes to the claim of this request."""
    assert request.standing is not None
    return f"{request.standing.token} {len(job_id)} {len(payload)}\n{job_id}{payload}".encode()


def suspend(one: Claimer, seconds: float) -> None:
    """Let so much time pass, as for a process that is suspended."""
    one._asked_at -= seconds


def test_free_places_are_claimed_together_with_a_settlement() -> None:
    """A settlement claims for the places that it frees and for those that were free before."""
    request = told_of_more(claimer(inflight_of(5))).piggyback_request(5)
    assert request is not None
    assert request.jobs == 100


def test_a_claim_is_bounded() -> None:
    """However many places are free, one claim asks for no more than the script may take at once."""
    request = told_of_more(claimer(inflight_of(0, 10_000))).piggyback_request(5)
    assert request is not None
    assert request.jobs == CLAIM_JOBS


def test_nothing_is_claimed_where_no_place_is_free() -> None:
    """Nothing is claimed where no place is free, as when more jobs than places are in flight."""
    assert told_of_more(claimer(inflight_of(105, 100))).piggyback_request(5) is None


def test_while_jobs_run_a_settlement_brings_a_claim_only_if_more_is_due() -> None:
    """A claim that will find nothing is not sent as long as something is in flight."""
    one = claimer(inflight_of(6))
    assert one.piggyback_request(5) is None
    assert told_of_more(one).piggyback_request(5) is not None


def test_there_is_one_claim_at_a_time() -> None:
    """A second claim is not sent before the answer to the first, and none once the worker is to stop."""
    busy = told_of_more(claimer(inflight_of(99)))
    assert busy.piggyback_request(1) is not None
    assert busy.is_asking
    assert busy.piggyback_request(1) is None
    stopping = told_of_more(claimer(inflight_of(99)))
    stopping.close()
    assert stopping.piggyback_request(1) is None


def test_each_claim_has_a_token_of_its_own() -> None:
    """Each claim has a token of its own, because a fence is good only if no two claims share it."""
    one = told_of_more(claimer(inflight_of(99)))
    tokens = []
    for _ in range(3):
        request = one.piggyback_request(1)
        assert request is not None
        tokens.append(request.token)
        one.on_answer(Claims([], next_due_ms=0))
    assert len(set(tokens)) == 3
    assert all(token.startswith(f"{one.name}:") for token in tokens)


def test_a_suspect_is_asked_for_only_while_nothing_is_in_flight() -> None:
    """What dies beside a suspect could not be told from it, whether it is another suspect or a fresh job."""
    assert claimer(inflight_of(0))._request(1, free=1).suspect_wanted
    for suspect in (False, True):
        request = told_of_more(claimer(inflight_of(5, suspect=suspect))).piggyback_request(5)
        assert request is not None
        assert not request.suspect_wanted


def test_a_worker_that_hears_of_a_suspect_makes_room_for_it() -> None:
    """It claims nothing with its settlements until it is empty, and then asks for the suspect."""
    inflight = inflight_of(5)
    one = claimer(inflight)
    one._request(1, free=0)
    one.on_answer(Claims([], next_due_ms=0, suspect_waits=True))
    assert one.piggyback_request(5) is None
    assert one.apart_seconds > 0
    inflight.remove(inflight.claims())
    assert one.apart_seconds == 0
    assert one._request(1, free=100).suspect_wanted


def test_a_claim_may_stand_only_if_nothing_is_left_in_flight() -> None:
    """A claim may stand only if nothing is in flight, as a handler could block the loop and keep a push waiting."""
    idle = standing(claimer(inflight_of(5)))
    assert idle.standing is not None
    assert (idle.standing.jobs, idle.standing.stands) == (100, False)
    busy = told_of_more(claimer(inflight_of(6))).piggyback_request(5)
    assert busy is not None
    assert busy.standing is None


def test_no_claim_stands_while_a_suspect_is_settled() -> None:
    """No claim stands while a suspect is settled, because other suspects can be claimed only after that."""
    assert claimer(inflight_of(1, suspect=True)).piggyback_request(1) is None


def test_a_worker_that_ends_with_the_queue_leaves_no_claim_standing() -> None:
    """A worker that ends with the queue leaves no claim standing, because it waits for nothing."""
    request = claimer(inflight_of(0), may_stand=False)._request(1, free=100)
    assert request.standing is None


def test_a_claim_that_stands_is_named_in_the_next_one() -> None:
    """The next claim names the one that stands, and the script withdraws that before it takes anything."""
    one = claimer(inflight_of(0))
    standing(one)
    one.close()
    request = one._request(1, free=100)
    assert request.standing is not None
    assert (request.standing.jobs, request.standing.stands) == (0, True)


def test_what_is_pushed_is_started_once_and_ends_the_standing_claim() -> None:
    """A push is started once and ends the standing claim, and only then there is something to ask for."""
    started: list[Claimed] = []
    one = claimer(inflight_of(5), start_jobs=started.extend)
    message = message_of(standing(one))
    assert one.rest_seconds(1.0) > 0.9
    one.on_push(message)
    assert [(job.job_id, job.payload, job.crashes) for job in started] == [("evt_1", b"{}", 0)]
    assert one.rest_seconds(1.0) == 0.0
    assert not one.is_unsure


def test_a_push_for_a_claim_that_was_given_up_is_not_started() -> None:
    """A push for a claim that was given up is not started, because another worker may be running its jobs."""
    started: list[Claimed] = []
    one = claimer(inflight_of(5), start_jobs=started.extend)
    message = message_of(standing(one))
    one.on_messages_lost()
    assert one.is_unsure
    one.on_push(message)
    assert started == []
    assert one.is_unsure


def test_a_push_for_an_earlier_claim_is_not_started() -> None:
    """A push for an earlier claim is not started, because it may have been released by the recovery since."""
    started: list[Claimed] = []
    one = claimer(inflight_of(0), start_jobs=started.extend)
    earlier = message_of(standing(one))
    one.on_messages_lost()
    one._step(Event.RECOVERED)
    latest = message_of(standing(one))
    one.on_push(earlier)
    assert (started, one.is_unsure) == ([], True)
    one.on_push(latest)
    assert started == []


def test_after_a_recovery_nothing_is_started_that_was_pushed_before() -> None:
    """After a recovery nothing is started that was pushed before, although no other claim was sent since."""
    started: list[Claimed] = []
    one = claimer(inflight_of(0), start_jobs=started.extend)
    message = message_of(standing(one))
    one.on_messages_lost()
    one._step(Event.RECOVERED)
    one.on_push(message)
    assert (started, one.is_unsure) == ([], True)


def test_a_push_that_a_later_claim_has_overtaken_is_not_started() -> None:
    """A push that a later claim has overtaken is not started, because that claim has another token."""
    started: list[Claimed] = []
    one = claimer(inflight_of(0), start_jobs=started.extend)
    earlier = message_of(standing(one))
    one._request(1, free=100)
    one.on_answer(Claims([], next_due_ms=0))
    one._request(1, free=100)
    one.on_push(earlier)
    assert (started, one.is_unsure) == ([], True)


def test_a_claim_that_still_stands_keeps_its_token() -> None:
    """A claim that still stands keeps its token, so a push for it is good."""
    started: list[Claimed] = []
    one = claimer(inflight_of(0), start_jobs=started.extend)
    message = message_of(standing(one))
    again = standing(one).standing
    assert again is not None
    assert again.stands
    one.on_push(message)
    assert [job.job_id for job in started] == ["evt_1"]


def test_a_push_uses_up_the_claim_that_an_answer_under_way_calls_standing() -> None:
    """Push and answer come by two connections, and in either order nothing stands after both."""
    started: list[Claimed] = []
    one = claimer(inflight_of(0), start_jobs=started.extend)
    request = one.piggyback_request(0)
    assert request is not None
    one.on_push(message_of(request))
    one.on_answer(Claims([], next_due_ms=None, claim_stands=True))
    assert [job.job_id for job in started] == ["evt_1"]
    assert (one.rest_seconds(1.0), one.is_unsure) == (0.0, False)


@pytest.mark.parametrize(("suspended_seconds", "starts"), [(ANSWER_SECONDS - 1, True), (ANSWER_SECONDS + 1, False)])
def test_a_push_that_lay_there_for_too_long_is_not_started(suspended_seconds: float, starts: bool) -> None:
    """A push that lay there for too long is not started, because its leases may have lapsed unrenewed."""
    started: list[Claimed] = []
    one = claimer(inflight_of(0), start_jobs=started.extend)
    message = message_of(standing(one))
    suspend(one, suspended_seconds)
    one.on_push(message)
    assert (bool(started), one.is_unsure) == (starts, not starts)


@pytest.mark.parametrize(("suspended_seconds", "starts"), [(ANSWER_SECONDS - 1, True), (ANSWER_SECONDS + 1, False)])
def test_an_answer_that_lay_there_for_too_long_is_not_started(suspended_seconds: float, starts: bool) -> None:
    """Claims whose answer lay there for too long are not started, because their leases may have lapsed unrenewed."""
    started: list[Claimed] = []
    one = claimer(inflight_of(0), start_jobs=started.extend)
    assert one.piggyback_request(0) is not None
    suspend(one, suspended_seconds)
    assert one.on_answer(Claims([Claimed("evt_1", "t", 0, b"{}")], next_due_ms=None)) is starts
    assert (bool(started), one.is_unsure) == (starts, not starts)


def test_a_worker_that_slept_while_its_claim_stood_is_unsure() -> None:
    """A worker that slept while its claim stood claims nothing before it has recovered what may have been pushed."""
    one = claimer(inflight_of(0))
    standing(one)
    suspend(one, ANSWER_SECONDS + 1)
    assert one.piggyback_request(1) is None
    assert one.is_unsure


def test_a_doubt_outlives_the_answer_that_was_under_way() -> None:
    """A doubt outlives the answer under way, because what was lost may have been leased before it or after."""
    one = claimer(inflight_of(5))
    standing(one)
    one.piggyback_request(5)
    one.on_messages_lost()
    one.on_answer(Claims([], next_due_ms=None, claim_stands=True))
    assert one.is_unsure
    assert one.rest_seconds(1.0) == 0.0


def test_a_worker_to_which_nothing_is_pushed_misses_no_push() -> None:
    """Lost messages leave no doubt in a worker whose claims may not stand."""
    one = claimer(inflight_of(0), may_stand=False)
    one.on_messages_lost()
    assert not one.is_unsure


def test_a_wake_up_ends_the_rest() -> None:
    """A wake-up ends the rest, also if it comes before the answer, because something is due that was not pushed."""
    one = claimer(inflight_of(5))
    standing(one)
    one.on_wake()
    assert one.rest_seconds(1.0) == 0.0
    standing(one)
    assert one.rest_seconds(1.0) > 0.0
    one.piggyback_request(5)
    one.on_wake()
    one.on_answer(Claims([], next_due_ms=None, claim_stands=True))
    assert one.rest_seconds(1.0) == 0.0


def test_the_rest_ends_when_something_falls_due() -> None:
    """The rest ends when a delayed attempt falls due, because nothing pushes that."""
    one = claimer(inflight_of(5))
    standing(one, next_due_ms=200)
    assert 0.0 < one.rest_seconds(1.0) <= 0.2


def test_the_rest_is_short_enough_to_notice_a_suspension() -> None:
    """The rest, however long it might last, ends well before an answer would be too late."""
    one = claimer(inflight_of(5))
    standing(one)
    before = time.monotonic()
    assert one.rest_seconds(3600.0) <= ANSWER_SECONDS / 2
    assert one.rest_seconds(3600.0) > ANSWER_SECONDS / 2 - 1 - (time.monotonic() - before)
