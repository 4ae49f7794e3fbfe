"""The jobs in flight: each from its claim until its settlement is written. Pure: it is given the time.

The worker keeps it. The claimer asks it for places; the lease renewal and the watchdog ask it for leases, from threads.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from broker.errors import MalformedRecordError
from broker.queue import Claimed
from broker.records import Job

OVERDUE_SECONDS = 5.0
"""How long a job may be in flight beyond the longest time limit of its handlers, before it is abandoned."""

LOOK_SECONDS = 1.0
"""How often to look for jobs that are overdue."""

APART_SECONDS = 2.0
"""How long a suspect has the worker to itself: what kills its worker mostly does so early, and no other job is to wait
for longer. Also how long a busy worker takes nothing, to be empty for a suspect that waits."""


@dataclass(slots=True)
class Inflight:
    """A job in flight.

    Attributes:
        claim: under which it is ours. A later one than at first, if the lease lapsed and we claimed the job again.
        taken_at: when it was taken, by a monotonic clock in seconds.
        task: what runs it; None if it is not to run, or was abandoned.
        overdue: whether it should have ended by the last look.
    """

    claim: Claimed
    taken_at: float
    task: asyncio.Task[None] | None = None
    overdue: bool = False


class InflightJobs:
    """Knows which jobs are in flight, and which of them hold a place for too long.

    Args:
        places: how many there may be. More can come, and are to be released: see `free`.

    Attributes:
        places: as above.
        abandoned: how many were abandoned.
    """

    def __init__(self, places: int) -> None:
        self.places = places
        self.abandoned = 0
        self._jobs: dict[str, Inflight] = {}
        self._suspect: str | None = None
        self._making_room = False
        self._apart_until = 0.0
        self._next_look = 0.0
        self._abandoned_tasks: set[asyncio.Task[None]] = set()

    def __len__(self) -> int:
        return len(self._jobs)

    def free(self) -> int:
        """How many places are free; less than 0 if there are more jobs than places."""
        return self.places - len(self._jobs)

    def has_suspect(self) -> bool:
        """Whether one of them is a suspect."""
        return self._suspect is not None

    def suspect_wanted(self, *, now: float) -> bool:
        """Whether a suspect may be taken: one at a time and, if that can be had soon, without company.

        That is to tell which one it is that kills its worker.
        """
        room_made = not self._jobs or (self._making_room and now >= self._apart_until)
        return self._suspect is None and room_made

    def make_room(self, *, now: float) -> None:
        """Note that a suspect waits: nothing else is taken until these jobs have ended, if they do so soon."""
        if self._jobs and self._suspect is None and not self._making_room:
            self._making_room = True
            self._apart_until = now + APART_SECONDS

    def apart_seconds(self, *, now: float) -> float:
        """For how long nothing is to be taken: a suspect has the worker to itself, or is to have it next."""
        apart = self.has_suspect() or (self._making_room and self._jobs)
        return max(0.0, self._apart_until - now) if apart else 0.0

    def claims(self) -> list[Claimed]:
        """The claim of each; may be called from any thread."""
        return [inflight.claim for inflight in list(self._jobs.values())]  # copied in one step

    def tasks(self) -> list[asyncio.Task[None]]:
        """What runs."""
        return [inflight.task for inflight in self._jobs.values() if inflight.task is not None]

    def add(self, claim: Claimed, *, now: float) -> Inflight | None:
        """Take a job that was claimed; None if it is in flight already, and its run continues under the new claim."""
        running = self._jobs.get(claim.job_id)
        if running is not None:
            # Our own lease lapsed (we were suspended, say), and we claimed the job again while it still runs here.
            # What runs is what was read then; somebody may have written something else meanwhile.
            running.claim = claim._replace(payload=running.claim.payload)
            return None
        inflight = self._jobs[claim.job_id] = Inflight(claim, now)
        self._making_room = False
        if claim.suspect:
            self._suspect = claim.job_id
            self._apart_until = now + APART_SECONDS
        return inflight

    def remove(self, claims: Iterable[Claimed]) -> None:
        """Free the places of jobs that are settled, or not ours any more."""
        for claim in claims:
            self._jobs.pop(claim.job_id, None)
            if self._suspect == claim.job_id:
                self._suspect = None

    def overdue(self, limit_seconds: Callable[[Job], float], *, now: float) -> list[tuple[Inflight, Job]]:
        """The jobs that should have ended by now, and by the last look: they would hold place and lease for ever.

        Args:
            limit_seconds: how long the handlers of a job may take.
            now: by the clock of `add`.
        """
        if now < self._next_look:
            return []
        self._next_look = now + LOOK_SECONDS
        found = []
        for inflight in self._jobs.values():
            taken_seconds = now - inflight.taken_at
            if inflight.task is None or inflight.task.done() or taken_seconds < OVERDUE_SECONDS:
                continue
            try:
                job = Job.from_bytes(inflight.claim.payload or b"")
            except MalformedRecordError:
                continue  # no handler runs it: its task settles it as soon as it starts
            if taken_seconds < limit_seconds(job) + OVERDUE_SECONDS:
                continue
            if inflight.overdue:
                found.append((inflight, job))
            inflight.overdue = True  # not at once: the loop may have been blocked, and its time limit waits behind that
        return found

    def abandon(self, inflight: Inflight) -> None:
        """Wait no longer for what runs a job."""
        if inflight.task is not None:
            self._abandoned_tasks.add(inflight.task)  # asyncio itself holds its tasks by weak references only
            inflight.task.add_done_callback(self._abandoned_tasks.discard)
            inflight.task = None
            self.abandoned += 1
