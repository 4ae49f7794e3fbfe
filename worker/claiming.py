"""Claim jobs, by themselves or along with a settlement, and never two claims at a time. Used by worker and settler.

Of two claims under way each might bring a job that a worker has died with, and those are to be run alone.

A worker that has nothing to do offers to take what comes next: the admission then leases it to this worker, and tells
it by a message (`broker/lua/admit.lua`). Only then: a handler that blocks the loop would keep the message waiting.
"""

from __future__ import annotations

import math
import secrets
import time
from collections.abc import Callable, Sequence

import structlog

from broker import queue
from broker.queue import Claimed, ClaimRequest, Claims, Offer
from broker.redis.commands import Server
from broker.redis.pipelined import PipelinedConnection

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
        places: how many there are; with 0, no offer is made.
        free: how many of them are free.
        suspect_wanted: whether a job that a worker has died with may be among the next.
        take: called with what was claimed or handed over.

    Attributes:
        name: the worker's, of which all its tokens are made.
    """

    def __init__(
        self,
        server: Server,
        pipe: PipelinedConnection,
        *,
        lease_ms: int,
        too_late_seconds: float,
        held: Callable[[], Sequence[Claimed]],
        places: int,
        free: Callable[[], int],
        suspect_wanted: Callable[[], bool],
        take: Callable[[Sequence[Claimed]], None],
    ) -> None:
        self._server = server
        self._pipe = pipe
        self._lease_ms = lease_ms
        self._too_late_seconds = too_late_seconds
        self._held = held
        self._places = places
        self._free = free
        self._suspect_wanted = suspect_wanted
        self._take = take
        self.name = secrets.token_hex(8)
        self._made = 0
        self._doubts = self._doubts_before_request = 0
        self._asked_at = 0.0
        self._next_due_at = 0.0
        self._more_is_due = False
        self._offer_stands = False
        self._woken = False
        self._closed = False
        self.under_way = False
        self.in_doubt = False

    async def claim(self, count: int) -> int | None:
        """Claim up to `count` jobs. Returns the ms until the next one is due, None if none is queued."""
        if self._offer_stands and self._is_too_late():
            self.doubt()
        if self.in_doubt:
            await self._recover()
        request = self._request(count, free=self._free())
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
        free = count + self._free()
        if free <= 0 or self.under_way or self.in_doubt or self._closed:
            return None
        if not self._more_is_due and not self._is_idle(free):
            return None
        return self._request(min(free, CLAIM_JOBS), free=free)

    def answered(self, claims: Claims) -> bool:
        """Take what was claimed; False if it came too late for that."""
        if self._is_too_late():
            # A handler blocked the loop while the answer lay there. Nobody has renewed these leases: somebody else may
            # be running these jobs by now. What is still ours is handed back before the next claim.
            logger.warning("claim.expired", events=len(claims.jobs))
            self.lost()
            return False
        self.under_way = False
        self.in_doubt = self._doubts > self._doubts_before_request
        self._more_is_due = claims.next_due_ms == 0
        self._offer_stands = claims.offer_stands and not self.in_doubt
        self._next_due_at = math.inf if claims.next_due_ms is None else self._asked_at + claims.next_due_ms / 1000
        self._take(claims.jobs)
        return True

    def handed_over(self, message: bytes) -> None:
        """Take what an admission has leased to this worker."""
        jobs = queue.handed_over(message)
        if jobs[0].token != self._offer_token or self._is_too_late():
            # As for an answer that comes too late; or handed back already, or about to be.
            logger.warning("claim.expired", events=len(jobs))
            self.doubt()
            return
        self._offer_stands = False
        self._take(jobs)

    def lost(self) -> None:
        """Note that no answer has come: jobs may be ours of which we were never told."""
        self.under_way = False
        self.doubt()

    def doubt(self) -> None:
        """Note that jobs may be ours of which we were never told. What was offered before does not count any more."""
        self.in_doubt = True
        self._offer_stands = False
        self._doubts += 1

    def doubt_offer(self) -> None:
        """Note that messages may have been lost: if an offer stands, it may have been taken."""
        if self._offer_stands:
            self.doubt()

    def woken(self) -> None:
        """Note that something new may be due."""
        self._woken = True

    def rest_seconds(self, most: float) -> float:
        """For how long there is nothing to ask for, because what comes is handed over; no longer than `most`.

        Nor for so long that it could not be told any more whether a message lay there while this process was suspended.
        """
        if not self._offer_stands or self._woken:
            return 0.0
        look_at = self._asked_at + min(most, self._too_late_seconds / 2)
        return max(0.0, min(self._next_due_at, look_at) - time.monotonic())

    async def withdraw(self) -> None:
        """Hand back what may have been handed over without our hearing of it, and take nothing more."""
        if self._offer_stands or self.in_doubt:
            self.doubt()
            await self._recover()

    def close(self) -> None:
        """Claim nothing more along with settlements."""
        self._closed = True

    async def _recover(self) -> None:
        """Renew what is in hand, whose leases may have lapsed, and hand back what else is ours."""
        await queue.recover(self._server, self._held(), worker=self.name, lease_ms=self._lease_ms)

    def _is_too_late(self) -> bool:
        """Whether what was leased to us since we last asked may have lapsed; while an offer stands, we ask often."""
        return time.monotonic() - self._asked_at > self._too_late_seconds

    def _is_idle(self, free: int) -> bool:
        """Whether there is nothing in hand with so many places free.

        With a suspect that is about to be settled there is: the others can be asked for only behind that, and whoever
        had made an offer would rest instead.
        """
        return free >= self._places > 0 and self._suspect_wanted()

    @property
    def _offer_token(self) -> str:
        return f"{self.name}:offer-{self._doubts}"

    def _request(self, count: int, *, free: int) -> ClaimRequest:
        self._made += 1
        self._asked_at = time.monotonic()
        self._woken = False
        self._doubts_before_request = self._doubts
        self.under_way = self.in_doubt = True  # until the answer has come
        token = f"{self.name}:{self._made}"
        return ClaimRequest(count, self._lease_ms, token, self._suspect_wanted(), self._offer(free))

    def _offer(self, free: int) -> Offer | None:
        idle = self._is_idle(free) and not self._closed
        if not idle and not self._offer_stands:
            return None
        return Offer(self.name, self._offer_token, min(self._places, CLAIM_JOBS) if idle else 0, self._offer_stands)
