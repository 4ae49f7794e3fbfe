"""The claimer's decisions: what is asked for along with a settlement."""

from __future__ import annotations

import math
from typing import Any

from broker.queue import Claims
from worker.claiming import CLAIM_JOBS, Claimer


def claimer(*, free: int) -> Claimer:
    """One that knows that more is due; nothing here asks the server."""
    nobody: Any = None
    one = Claimer(
        nobody,
        nobody,
        lease_ms=1000,
        too_late_seconds=math.inf,
        held=list,
        free=lambda: free,
        suspect_wanted=lambda: True,
        take=lambda _: None,
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
