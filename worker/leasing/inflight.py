"""The jobs in hand: each from its claim until its settlement is written. Kept by the worker; pure, it is told the time.

Who else must know of them asks here: the claimer (places), the lease renewal and the watchdog (leases, from threads).
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from broker.queue import Claimed
from broker.records import Job

OVERDUE_SECONDS = 5.0
"""How long after the longest time limit of an event's handlers they may take to end, before they are left behind."""

LOOK_SECONDS = 1.0
"""How often to look for them."""


@dataclass(slots=True)
class Held:
    """A job in hand.

    Attributes:
        claim: under which it is ours; a later one, if the lease lapsed and we took it again.
        since: when it was taken, by a monotonic clock in seconds.
        task: what runs it; None if it is not to run, or was left behind.
        overdue: whether it should have ended by the last look.
    """

    claim: Claimed
    since: float
    task: asyncio.Task[None] | None = None
    overdue: bool = False


class JobsInHand:
    """Knows which jobs are in hand, and which of them hold a place for too long.

    Args:
        places: how many there may be. More can come, which are to be handed back: see `free`.

    Attributes:
        left_behind: how many were left behind.
    """

    def __init__(self, places: int) -> None:
        self.left_behind = 0
        self._places = places
        self._held: dict[str, Held] = {}
        self._suspect: str | None = None
        self._next_look = 0.0
        self._stray_tasks: set[asyncio.Task[None]] = set()

    def __len__(self) -> int:
        return len(self._held)

    def free(self) -> int:
        """How many places are free; less than 0 if there are more jobs than places."""
        return self._places - len(self._held)

    def suspect_wanted(self) -> bool:
        """Whether a job that a worker has died with may be taken: one at a time, to tell which one it is that kills."""
        return self._suspect is None

    def claims(self) -> list[Claimed]:
        """The claim of each; may be called from any thread."""
        return [held.claim for held in list(self._held.values())]  # copied in one step

    def tasks(self) -> list[asyncio.Task[None]]:
        """What runs."""
        return [held.task for held in self._held.values() if held.task is not None]

    def take(self, claim: Claimed, *, now: float) -> Held | None:
        """Take what was claimed; None if it is in hand already, and goes on under the new claim."""
        running = self._held.get(claim.job_id)
        if running is not None:
            # Our own lease lapsed (we were suspended, say), and the run still goes on: now under the new one.
            running.claim = claim
            return None
        held = self._held[claim.job_id] = Held(claim, now)
        if claim.crashes:
            self._suspect = claim.job_id
        return held

    def forget(self, claims: Iterable[Claimed]) -> None:
        """Let go of what is settled, or not ours any more."""
        for claim in claims:
            self._held.pop(claim.job_id, None)
            if self._suspect == claim.job_id:
                self._suspect = None

    def overdue(self, limit_seconds: Callable[[Job], float], *, now: float) -> list[tuple[Held, Job]]:
        """What should have ended by now, and by the last look: it would hold its place and its lease for ever.

        Args:
            limit_seconds: how long the handlers of a job may take.
            now: by the clock of `take`.
        """
        if now < self._next_look:
            return []
        self._next_look = now + LOOK_SECONDS
        found = []
        for held in self._held.values():
            taken_seconds = now - held.since
            if held.task is None or held.task.done() or taken_seconds < OVERDUE_SECONDS:
                continue
            job = Job.from_bytes(held.claim.payload or b"null")
            if taken_seconds < limit_seconds(job) + OVERDUE_SECONDS:
                continue
            if held.overdue:
                found.append((held, job))
            held.overdue = True  # the loop may have been blocked: it has until the next look to use its chance
        return found

    def leave_behind(self, held: Held) -> None:
        """Wait no more for what runs a job."""
        if held.task is not None:
            self._stray_tasks.add(held.task)  # asyncio itself holds its tasks by weak references only
            held.task.add_done_callback(self._stray_tasks.discard)
            held.task = None
            self.left_behind += 1
