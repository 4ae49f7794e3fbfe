"""Claim jobs, by themselves or along with a settlement, and never two claims at a time. Used by worker and settler.

Of two claims under way each might bring a job that a worker has died with, and those are to be run alone.
"""

from __future__ import annotations

import secrets
import time
from collections.abc import Callable, Sequence

import structlog

from broker import queue
from broker.connection import Server
from broker.pipe import Pipe
from broker.queue import Claimed, ClaimRequest, Claims

CLAIM_JOBS = 500
"""The most jobs of one claim: bounds how long the script keeps the server busy."""

logger = structlog.get_logger("worker")


class Claimer:
    """Knows what was asked for, and whether all answers have come.

    Args:
        server: Redis.
        pipe: the pipe by which it is asked.
        lease_ms: how long a lease lasts.
        too_late_seconds: an answer that lay there for longer is not taken: nobody has renewed its leases meanwhile.
        held: what is in hand.
        free: how many places are free.
        suspect_wanted: whether a job that a worker has died with may be among the next.
        take: called with what was claimed.
    """

    def __init__(
        self,
        server: Server,
        pipe: Pipe,
        *,
        lease_ms: int,
        too_late_seconds: float,
        held: Callable[[], Sequence[Claimed]],
        free: Callable[[], int],
        suspect_wanted: Callable[[], bool],
        take: Callable[[Sequence[Claimed]], None],
    ) -> None:
        self._server = server
        self._pipe = pipe
        self._lease_ms = lease_ms
        self._too_late_seconds = too_late_seconds
        self._held = held
        self._free = free
        self._suspect_wanted = suspect_wanted
        self._take = take
        self._name = secrets.token_hex(8)
        self._made = 0
        self._asked_at = 0.0
        self._more_is_due = False
        self._closed = False
        self.under_way = False
        self.in_doubt = False

    async def claim(self, count: int) -> int | None:
        """Claim up to `count` jobs. Returns the ms until the next one is due, None if none is queued."""
        if self.in_doubt:
            await self.recover()
        request = self._request(count)
        try:
            claims = await queue.claim(self._pipe, request)
        except BaseException:
            self.lost()
            raise
        return claims.next_due_ms if self.answered(claims) else 0

    def along(self, count: int) -> ClaimRequest | None:
        """What to ask for along with a settlement that makes `count` places; None if nothing should be.

        For the places that are free already as well: with a claim always under way, nobody else gets round to it.
        """
        if self.under_way or self.in_doubt or self._closed or not self._more_is_due:
            return None
        return self._request(min(count + self._free(), CLAIM_JOBS))

    def answered(self, claims: Claims) -> bool:
        """Take what was claimed; False if it came too late for that."""
        self.under_way = False
        if time.monotonic() - self._asked_at > self._too_late_seconds:
            # A handler blocked the loop while the answer lay there. Nobody has renewed these leases: somebody else may
            # be running these jobs by now. What is still ours is handed back before the next claim.
            logger.warning("claim.too_late", events=len(claims.jobs))
            return False
        self.in_doubt = False
        self._more_is_due = claims.next_due_ms == 0
        self._take(claims.jobs)
        return True

    def lost(self) -> None:
        """Note that no answer has come: jobs may be ours of which we were never told."""
        self.under_way = False

    async def recover(self) -> int:
        """Renew what is in hand, whose leases may have lapsed, and hand back what else is ours; returns how many."""
        return await queue.recover(
            self._server, self._held(), tokens_start_with=f"{self._name}:", lease_ms=self._lease_ms
        )

    def close(self) -> None:
        """Claim nothing more along with settlements."""
        self._closed = True

    def _request(self, count: int) -> ClaimRequest:
        self._made += 1
        self._asked_at = time.monotonic()
        self.under_way = self.in_doubt = True  # until the answer has come
        return ClaimRequest(count, self._lease_ms, f"{self._name}:{self._made}", self._suspect_wanted())
