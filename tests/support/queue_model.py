"""What the queue is meant to do, in plain Python: dictionaries, no Redis, no clock.

Time is a counter: whatever falls due gets the next number, which is its score in Redis as well. What is leased or
delayed has no number, until somebody says that its time has come.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, field

from broker import ids
from broker.queue import Claimed, Settlement
from broker.records import Job


@dataclass
class QueuedJob:
    """A job in the queue.

    Attributes:
        delivery: the delivery that it belongs to.
        due: its place among those that are due; None while it is leased or delayed.
        holder: the token of its last claimer; None if nobody has claimed it, or it was released.
        crashes: how often a claimer let its lease lapse.
        runs: how often it was claimed.
        excuses: how often it may be claimed again: released, or its lease lapsed.
    """

    delivery: str
    due: int | None
    holder: str | None = None
    crashes: int = 0
    runs: int = 0
    excuses: int = 0


@dataclass
class ModelClaim:
    """A worker's standing claim, to which the next events are pushed.

    Attributes:
        token: for what is pushed.
        jobs: the most that it takes.
        heard: whether the worker is still there to hear of it.
    """

    token: str
    jobs: int
    heard: bool = True


@dataclass
class Delivery:
    """What has been accepted once.

    Attributes:
        open: its jobs in the queue.
        letters: its dead letters.
        dropped: whether an operator has dropped one of those.
        known: whether its outcomes are remembered, so that it is no new event after the dedupe window.
    """

    open: set[str] = field(default_factory=set)
    letters: set[str] = field(default_factory=set)
    dropped: bool = False

    @property
    def state(self) -> str:
        """What the ledger counts it as."""
        if self.open:
            return "pending"
        return "dead" if self.letters else "dropped" if self.dropped else "delivered"


class QueueModel:
    """The queue, the dead letters and the ledger.

    Attributes:
        jobs: what is queued, by job id.
        deliveries: by delivery id; the last one where an event was accepted again after its dedupe window.
        seen: the events within the dedupe window.
        counts: accepted and duplicates, and what became of deliveries that were accepted again since.
        standing: the claim that stands; in this model a single worker has any.
    """

    def __init__(self) -> None:
        self.jobs: dict[str, QueuedJob] = {}
        self.deliveries: dict[str, Delivery] = {}
        self.seen: set[str] = set()
        self.counts: Counter[str] = Counter()
        self.standing: ModelClaim | None = None
        self._now = 0

    def tick(self) -> int:
        """Advance to the next moment; returns it."""
        self._now += 1
        return self._now

    def due(self) -> list[str]:
        """The jobs that are due, in the order in which they are claimed."""
        places = {job_id: job.due for job_id, job in self.jobs.items() if job.due is not None}
        return sorted(places, key=lambda job_id: places[job_id])

    def waiting(self) -> list[str]:
        """The jobs that are leased or delayed."""
        return [job_id for job_id, job in self.jobs.items() if job.due is None]

    def letters(self) -> set[str]:
        """The ids of all dead letters."""
        return {letter for delivery in self.deliveries.values() for letter in delivery.letters}

    def admit(self, job: Job) -> bool:
        """Accept an event; returns False if it is a duplicate."""
        before = self.deliveries.get(job.delivery)
        settled = before is None or before.state in {"delivered", "dropped"}
        if not job.replayed:
            if job.record.id in self.seen or not settled:
                self.counts["duplicates"] += 1
                return False
            self.seen.add(job.record.id)
        if before is not None:
            self.counts[before.state] += 1
        self.counts["accepted"] += 1
        self.deliveries[job.delivery] = Delivery({job.id})
        self.jobs[job.id] = QueuedJob(job.delivery, self.tick())
        return True

    def push(self, accepted: Sequence[Job]) -> list[str]:
        """Push what comes in to the worker that has a standing claim, if it is there. Returns their ids."""
        standing = self.standing
        if standing is None or not accepted:
            return []
        self.standing = None
        if not standing.heard:
            return []
        pushed = [job.id for job in accepted[: standing.jobs]]
        for job_id in pushed:
            self.jobs[job_id].due = None
            self._take(self.jobs[job_id], standing.token)
        return pushed

    def claim_or_stand(self, token: str, count: int, standing: ModelClaim) -> list[tuple[str, int]]:
        """Claim what is due, if it is any; otherwise this claim stands, or the one from before does."""
        if self.standing is not None:
            if not self.due() and not any(job.crashes for job in self.jobs.values()):
                return []
            self.standing = None
        taken = self.claim(token, count, suspect_wanted=True)
        if not taken and not self.due():
            self.standing = standing
        return taken

    def _waiting_suspect(self) -> str | None:
        """The first of the jobs that a claimer has died with and that nobody holds."""
        places = {
            job_id: (math.inf if job.due is None else job.due, job_id)
            for job_id, job in self.jobs.items()
            if job.crashes and job.holder is None
        }
        return min(places, key=lambda job_id: places[job_id], default=None)

    def claim(self, token: str, count: int, *, suspect_wanted: bool) -> list[tuple[str, int]]:
        """Claim a waiting suspect, and what is due: ids and crashes of what was taken.

        At most one suspect; the others wait, unblamed, and what is due behind them does not.
        """
        taken = []
        suspect = self._waiting_suspect() if suspect_wanted else None
        if suspect is not None:
            job = self.jobs[suspect]
            job.due = None
            self._take(job, token)
            taken.append((suspect, job.crashes))
            suspect_wanted = False
        for job_id in self.due():
            if len(taken) == count:
                break
            job = self.jobs[job_id]
            job.due = None
            if job.holder is not None:
                job.crashes += 1
                job.excuses += 1
            if job.crashes and not suspect_wanted:
                job.holder = None
                continue
            suspect_wanted = suspect_wanted and not job.crashes
            self._take(job, token)
            taken.append((job_id, job.crashes))
        return taken

    def lease(self, job_id: str, token: str) -> bool:
        """Claim one job by its id, as stock arq does."""
        job = self.jobs.get(job_id)
        if job is None or job.due is None:
            return False
        if job.holder is not None:
            job.crashes += 1
            job.excuses += 1
        job.due = None
        self._take(job, token)
        return True

    def _take(self, job: QueuedJob, token: str) -> None:
        job.holder = token
        job.runs += 1
        assert job.runs <= job.excuses + 1, "doubled without a crash, and without having been released"

    def is_held(self, claim: Claimed) -> bool:
        """Whether this claim is the last one for its job."""
        job = self.jobs.get(claim.job_id)
        return job is not None and job.holder == claim.token

    def renew(self, claims: Iterable[Claimed]) -> set[str]:
        """Renew leases, lapsed ones too if nobody was faster. Returns what was lost."""
        lost = set()
        for claim in claims:
            if self.is_held(claim):
                self.jobs[claim.job_id].due = None
            else:
                lost.add(claim.job_id)
        return lost

    def release(self, claims: Iterable[Claimed]) -> int:
        """Release jobs: due at once, without a crash."""
        released = 0
        for claim in claims:
            if self.is_held(claim):
                self._make_due(claim.job_id)
                released += 1
        return released

    def recover(self, tokens_start_with: str, held: Collection[str]) -> int:
        """Renew what a worker knows of, and release what was claimed in its name without its knowing."""
        released = 0
        for job_id, job in self.jobs.items():
            if job.holder is None or not job.holder.startswith(tokens_start_with):
                continue
            if job_id in held:
                job.due = None
            else:
                self._make_due(job_id)
                released += 1
        return released

    def _make_due(self, job_id: str) -> None:
        job = self.jobs[job_id]
        job.holder, job.due = None, self.tick()
        job.excuses += 1

    def fall_due(self, job_id: str) -> None:
        """Let a lease lapse, or a delay end."""
        self.jobs[job_id].due = self.tick()

    def settle(self, settlement: Settlement) -> bool:
        """Settle a job; returns False if it was not the claimer's any more."""
        if not self.is_held(settlement.claim):
            return False
        del self.jobs[settlement.claim.job_id]
        delivery = self.deliveries[settlement.delivery]
        delivery.open.discard(settlement.claim.job_id)
        for job, _ in settlement.follow_ups:
            delivery.open.add(job.id)
            self.jobs[job.id] = QueuedJob(settlement.delivery, None)
        delivery.letters |= set(settlement.dead_letters)
        return True

    def retry(self, letter_id: str, job: Job) -> bool:
        """Turn a dead letter back into a job; returns False if there is no such letter."""
        delivery = self.deliveries[job.delivery]
        if letter_id not in delivery.letters:
            return False
        delivery.letters.remove(letter_id)
        delivery.open.add(job.id)
        self.jobs[job.id] = QueuedJob(job.delivery, self.tick())
        return True

    def drop(self, letter_id: str) -> bool:
        """Throw a dead letter away; returns False if there is no such letter."""
        delivery = self.deliveries[ids.delivery_of(letter_id)]
        if letter_id not in delivery.letters:
            return False
        delivery.letters.remove(letter_id)
        delivery.dropped = True
        return True

    def ledger(self) -> dict[str, int]:
        """What the ledger must say."""
        states = Counter(delivery.state for delivery in self.deliveries.values()) + self.counts
        return {
            "accepted": states["accepted"],
            "duplicates": states["duplicates"],
            "delivered": states["delivered"],
            "dead": states["dead"] + states["dropped"],
            "dropped": states["dropped"],
            "pending": states["pending"],
            "dead_letters": len(self.letters()),
        }
