"""Claim jobs, by themselves or together with a settlement, and never two claims at a time. Used by worker and settler.

What leads to what is in `claim_states.py`; here are the requests, the clock and the calls to Redis.
"""

from __future__ import annotations

import math
import secrets
import time
from collections.abc import Callable, Sequence

import structlog

from broker import queue
from broker.errors import MalformedRecordError
from broker.queue import Claimed, ClaimRequest, Claims, StandingClaim
from broker.redis.commands import Server
from broker.redis.pipelined import PipelinedConnection
from worker.leasing.claim_states import ASKING, IN_DOUBT, TRANSITIONS, Action, Event, State
from worker.leasing.inflight import InflightJobs
from worker.leasing.renewal import RENEWALS_PER_LEASE

CLAIM_JOBS = 500
"""The most jobs of one claim: bounds how long the script keeps the server busy."""

logger = structlog.get_logger("worker")


class Claimer:
    """Asks for jobs, and hears of those that are pushed.

    Args:
        server: Redis, for the recovery.
        pipe: Redis, for the claims.
        inflight: the jobs in flight: tells how many more there may be.
        lease_ms: how long a lease lasts.
        may_stand: whether a claim may be left standing while the worker is idle.
        start_jobs: called with the jobs that came.

    Attributes:
        name: the worker's name, with which all its tokens begin.
    """

    def __init__(
        self,
        server: Server,
        pipe: PipelinedConnection,
        inflight: InflightJobs,
        *,
        lease_ms: int,
        may_stand: bool,
        start_jobs: Callable[[Sequence[Claimed]], None],
    ) -> None:
        self.name = secrets.token_hex(8)
        self._server = server
        self._pipe = pipe
        self._inflight = inflight
        self._lease_ms = lease_ms
        self._may_stand = may_stand
        self._start_jobs = start_jobs
        self._state = State.RESTING
        self._requests = 0
        self._standing_claims = 0
        self._asked_at = 0.0
        self._next_due_ms: int | None = None
        self._woken = False
        self._closed = False

    @property
    def is_asking(self) -> bool:
        """Whether a claim is under way."""
        return self._state in ASKING

    @property
    def is_unsure(self) -> bool:
        """Whether jobs may be ours that we do not know of."""
        return self._state in IN_DOUBT

    @property
    def apart_seconds(self) -> float:
        """For how long nothing is to be claimed, because of a suspect."""
        return self._inflight.apart_seconds(now=time.monotonic())

    async def claim(self, count: int) -> int | None:
        """Claim up to `count` jobs. Returns the ms until the next one is due, None if none is queued."""
        self._doubt_if_suspended()
        if self.is_unsure:
            await self._recover()
        request = self._request(count, free=self._inflight.free())
        try:
            claims = await queue.claim(self._pipe, request)
        except BaseException:
            self.on_no_answer()
            raise
        return claims.next_due_ms if self.on_answer(claims) else 0

    def piggyback_request(self, count: int) -> ClaimRequest | None:
        """What to claim together with a settlement that frees `count` places; None if nothing should be.

        It asks for the places that are free already as well: while claims go with settlements, no other one is sent.
        """
        self._doubt_if_suspended()
        free = count + self._inflight.free()
        if free <= 0 or self.is_asking or self.is_unsure or self._closed or self.apart_seconds > 0:
            return None
        if self._next_due_ms != 0 and not self._is_idle(free):
            return None
        return self._request(min(free, CLAIM_JOBS), free=free)

    def on_answer(self, claims: Claims) -> bool:
        """Start the jobs that were claimed. False if the answer is too late for that."""
        in_time = Event.STANDS if claims.claim_stands else Event.ANSWERED
        if not self._step(Event.LATE_ANSWER if self._is_too_late() else in_time, claims.jobs):
            return False
        self._next_due_ms = claims.next_due_ms
        if claims.suspect_waits:
            self._inflight.make_room(now=time.monotonic())
        return True

    def on_no_answer(self) -> None:
        """Note that the answer of the claim under way will not come."""
        self._step(Event.NO_ANSWER)

    def on_push(self, message: bytes) -> None:
        """Start the jobs that an admission has leased to this worker."""
        try:
            jobs = queue.pushed(message)
        except MalformedRecordError as fault:
            logger.warning("push.unreadable", error=str(fault))
            return
        stray = jobs[0].token != self._standing_token or self._is_too_late()
        self._step(Event.STRAY_PUSH if stray else Event.PUSHED, jobs)

    def on_messages_lost(self) -> None:
        """Note that pushes may have been lost."""
        if self._may_stand:
            self._step(Event.DOUBT)

    def on_wake(self) -> None:
        """Note that something new may be due."""
        self._woken = True

    def rest_seconds(self, most: float) -> float:
        """For how long there is nothing to ask for, because what comes is pushed; no longer than `most`.

        Nor for so long that the next look could miss that this process was suspended while a push lay there.
        """
        if self._state is not State.STANDING or self._woken:
            return 0.0
        next_due_at = math.inf if self._next_due_ms is None else self._asked_at + self._next_due_ms / 1000
        ask_again_at = self._asked_at + min(most, self._answer_seconds / 2)
        return max(0.0, min(next_due_at, ask_again_at) - time.monotonic())

    async def withdraw(self) -> None:
        """Release what may have been pushed without our hearing of it. Nothing is pushed to this worker afterwards."""
        if self._state is not State.RESTING:
            self._step(Event.DOUBT)
            await self._recover()

    def close(self) -> None:
        """Claim nothing more together with settlements, and leave no claim standing."""
        self._closed = True

    async def _recover(self) -> None:
        # What is in flight is renewed: its leases may have lapsed in what has made us unsure.
        await queue.recover(self._server, self._inflight.claims(), worker=self.name, lease_ms=self._lease_ms)
        self._step(Event.RECOVERED)

    def _step(self, event: Event, jobs: Sequence[Claimed] = ()) -> bool:
        """Go on to the next state; False if the jobs are refused."""
        before = self._state
        self._state, action = TRANSITIONS[before, event]
        if self.is_unsure and before not in IN_DOUBT:
            self._standing_claims += 1
        if action is Action.REFUSE:
            logger.warning("claim.expired", events=len(jobs))
        elif action is Action.START:
            self._start_jobs(jobs)
        return action is not Action.REFUSE

    def _doubt_if_suspended(self) -> None:
        """The process slept while its claim stood: a push may lie there whose leases have lapsed."""
        if self._state is State.STANDING and self._is_too_late():
            self._step(Event.DOUBT)

    @property
    def _answer_seconds(self) -> float:
        """For how long after the question what it brings may be started; nobody has renewed those leases meanwhile."""
        return self._lease_ms / 1000 / RENEWALS_PER_LEASE

    def _is_too_late(self) -> bool:
        # Good for pushes as well: while a claim stands, we ask often.
        return time.monotonic() - self._asked_at > self._answer_seconds

    def _is_idle(self, free: int) -> bool:
        """Whether nothing is in flight with so many places free, and a claim may stand.

        Only then: a handler that blocks the loop would keep the push waiting while its leases lapse. A suspect that is
        about to be settled counts as in flight, because the other suspects can be claimed only after that.
        """
        return self._may_stand and free >= self._inflight.places and not self._inflight.has_suspect()

    @property
    def _standing_token(self) -> str:
        """Of the claim that stands or is to stand. It changes when that is given up: a push for it is stray then."""
        return f"{self.name}:standing-{self._standing_claims}"

    def _request(self, count: int, *, free: int) -> ClaimRequest:
        if self._state is State.RESTING:
            self._standing_claims += 1
        standing = self._standing_claim(free)
        self._step(Event.ASK)
        self._requests += 1
        self._asked_at = time.monotonic()
        self._woken = False
        token = f"{self.name}:{self._requests}"
        suspect_wanted = self._inflight.suspect_wanted(now=self._asked_at)
        return ClaimRequest(count, self._lease_ms, token, suspect_wanted, standing)

    def _standing_claim(self, free: int) -> StandingClaim | None:
        idle = self._is_idle(free) and not self._closed
        stands = self._state is State.STANDING
        if not idle and not stands:
            return None
        most = min(self._inflight.places, CLAIM_JOBS) if idle else 0
        return StandingClaim(self.name, self._standing_token, most, stands)
