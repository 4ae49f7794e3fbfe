"""The claimer's decisions: what is asked for along with a settlement."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

from broker.queue import Claimed, ClaimRequest, Claims
from worker.leasing.claimer import CLAIM_JOBS, Claimer


def claimer(
    *,
    free: int,
    places: int = 100,
    take: Callable[[Sequence[Claimed]], None] = lambda _: None,
    too_late_seconds: float = math.inf,
) -> Claimer:
    """One that knows that more is due; nothing here asks the server."""
    nobody: Any = None
    one = Claimer(
        nobody,
        nobody,
        lease_ms=1000,
        too_late_seconds=too_late_seconds,
        held=list,
        places=places,
        free=lambda: free,
        suspect_wanted=lambda: True,
        take=take,
    )
    one.answered(Claims([], next_due_ms=0))
    return one


def test_free_places_are_claimed_along_with_a_settlement() -> None:
    """Otherwise a worker that once had little to do would stay at that: there is always a claim under way already."""
    request = claimer(free=95).along(5)
    assert request is not None
    assert request.jobs == 100


def test_a_claim_is_bounded() -> None:
    """However many places there are."""
    request = claimer(free=10_000).along(5)
    assert request is not None
    assert request.jobs == CLAIM_JOBS


def test_there_is_one_claim_at_a_time() -> None:
    """And none any more once the worker is to stop."""
    busy = claimer(free=1)
    assert busy.along(1) is not None
    assert busy.along(1) is None
    stopping = claimer(free=1)
    stopping.close()
    assert stopping.along(1) is None


def message_of(request: ClaimRequest, job_id: str = "evt_1", payload: str = "{}") -> bytes:
    """What an admission says that has taken the offer of this request."""
    assert request.standing is not None
    return f"{request.standing.token} {len(job_id)} {len(payload)}\n{job_id}{payload}".encode()


def offering(one: Claimer) -> ClaimRequest:
    """Make an offer along with the settlement of all that is in hand, and hear that it stands."""
    request = one.along(5)
    assert request is not None
    one.answered(Claims([], next_due_ms=None, claim_stands=True))
    return request


def test_an_offer_is_made_only_if_nothing_is_left_in_hand() -> None:
    """A handler that runs could block the loop, and with it the message."""
    assert offering(claimer(free=95)).standing is not None
    busy = claimer(free=94).along(5)
    assert busy is not None
    assert busy.standing is None


def test_without_places_no_offer_is_made() -> None:
    """A worker that ends when the queue is empty waits for nothing."""
    request = claimer(free=95, places=0).along(5)
    assert request is not None
    assert request.standing is None


def test_what_is_handed_over_is_taken_once_and_ends_the_offer() -> None:
    """There is something to ask for then; before, there was not."""
    taken: list[Claimed] = []
    one = claimer(free=95, take=taken.extend)
    message = message_of(offering(one))
    assert one.rest_seconds(1.0) > 0.9
    one.handed_over(message)
    assert [(job.job_id, job.payload, job.crashes) for job in taken] == [("evt_1", b"{}", 0)]
    assert one.rest_seconds(1.0) == 0.0
    assert not one.in_doubt


def test_a_message_for_an_offer_that_was_given_up_is_not_taken() -> None:
    """Its jobs are handed back, or have been already: somebody else may be running them."""
    taken: list[Claimed] = []
    one = claimer(free=95, take=taken.extend)
    message = message_of(offering(one))
    one.doubt_offer()
    assert one.in_doubt
    one.answered(Claims([], next_due_ms=None))
    one.handed_over(message)
    assert taken == []
    assert one.in_doubt


def test_a_message_that_lay_there_for_too_long_is_not_taken() -> None:
    """The process was suspended, say, and the lease may have lapsed."""
    taken: list[Claimed] = []
    one = claimer(free=95, take=taken.extend, too_late_seconds=0.0)
    one.along(5)
    one.handed_over(b"any 5 2\nevt_1{}")
    assert taken == []
    assert one.in_doubt


def test_a_doubt_outlives_the_answer_that_was_under_way() -> None:
    """What the doubt is about may have been leased before or after that."""
    one = claimer(free=95)
    offering(one)
    one.along(5)
    one.doubt_offer()
    one.answered(Claims([], next_due_ms=None, claim_stands=True))
    assert one.in_doubt
    assert one.rest_seconds(1.0) == 0.0


def test_a_wake_up_ends_the_rest() -> None:
    """Something is due that was handed to nobody; a wake-up that comes before the answer counts as well."""
    one = claimer(free=95)
    offering(one)
    one.woken()
    assert one.rest_seconds(1.0) == 0.0
    offering(one)
    assert one.rest_seconds(1.0) > 0.0
    one.along(5)
    one.woken()
    one.answered(Claims([], next_due_ms=None, claim_stands=True))
    assert one.rest_seconds(1.0) == 0.0


def test_the_rest_ends_when_something_falls_due() -> None:
    """A delayed attempt is handed over by nobody."""
    one = claimer(free=95)
    one.along(5)
    one.answered(Claims([], next_due_ms=200, claim_stands=True))
    assert 0.0 < one.rest_seconds(1.0) <= 0.2
