"""What the queue is meant to do, in plain Python: dictionaries, no Redis, no clock.

Time is a counter: whatever falls due gets the next number, from which its score in Redis is made. What is leased or
delayed has no number, until somebody says that its time has come.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, field

from broker import ids
from broker.queue import SUSPECT_CRASHES, Claimed, Settlement
from broker.records import Job


@dataclass
class QueuedJob:
    """A job in the queue.

    Attributes:
        delivery: the delivery that it belongs to.
        due: its place among those that are due; None while it is leased or delayed.
        first: whether that is a place before all that have never run.
        aside: its place among the suspects that were put aside.
        holder: the token of its last claimer; None if nobody has claimed it, or it was released.
        crashes: how often a claimer let its lease lapse.
        runs: how often it was claimed.
        excuses: how often it may be claimed again: released, or its lease lapsed.
    """

    delivery: str
    due: int | None
    first: bool = False
    aside: int | None = None
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
        places = {job_id: (not job.first, job.due) for job_id, job in self.jobs.items() if job.due is not None}
        return sorted(places, key=lambda job_id: places[job_id])

    def lapsed(self) -> list[str]:
        """The jobs whose leases have lapsed, as far as no claim has put them first yet."""
        return [job_id for job_id in self.due() if self.jobs[job_id].holder and not self.jobs[job_id].first]

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
            self._take(self.jobs[job_id], standing.token)
        return pushed

    def claim_or_stand(self, token: str, count: int, standing: ModelClaim) -> list[tuple[str, int]]:
        """Claim what is due, if it is any; otherwise this claim stands, or the one from before does."""
        if self.standing is not None:
            if not self.due() and self._waiting_suspect() is None:
                return []
            self.standing = None
        taken = self.claim(token, count, suspect_wanted=True)
        if not taken and not self.due() and self._waiting_suspect() is None:
            self.standing = standing
        return taken

    def _waiting_suspect(self) -> str | None:
        """The first of the suspects that were put aside."""
        places = {job_id: job.aside for job_id, job in self.jobs.items() if job.aside is not None}
        return min(places, key=lambda job_id: places[job_id], default=None)

    def claim(self, token: str, count: int, *, suspect_wanted: bool) -> list[tuple[str, int]]:
        """Claim a waiting suspect, what has run before, and what has not: ids and crashes of what was taken.

        A suspect comes alone; the others wait, and what is due behind them does not, unless there is one that comes.
        """
        for job_id in self.lapsed():
            self.jobs[job_id].first, self.jobs[job_id].due = True, self.tick()
        taken: list[tuple[str, int]] = []
        suspect = self._waiting_suspect() if suspect_wanted else None
        if suspect is not None:
            job = self.jobs[suspect]
            self._take(job, token)
            return [(suspect, job.crashes)]
        while len(taken) < count and (looked_at := self.due()[: count - len(taken)]):
            suspects = self._crashed_too_often(looked_at)
            for job_id in suspects[1 if suspect_wanted else 0 :]:
                job = self.jobs[job_id]
                job.holder, job.due, job.first = None, None, False
                job.aside = job.aside or self.tick()
            chosen = [job_id for job_id in looked_at if job_id not in suspects]
            if suspects and suspect_wanted:
                for job_id in chosen:
                    self.jobs[job_id].holder = None
                chosen = suspects[:1]
            for job_id in chosen:
                self._take(self.jobs[job_id], token)
                taken.append((job_id, self.jobs[job_id].crashes))
            if suspect_wanted or not suspects:
                break
        return taken

    def _crashed_too_often(self, job_ids: Sequence[str]) -> list[str]:
        """Count the crashes of those whose leases have lapsed; returns the suspects among all of these."""
        for job_id in job_ids:
            job = self.jobs[job_id]
            if job.holder is not None:
                job.crashes += 1
                job.excuses += 1
        return [job_id for job_id in job_ids if self.jobs[job_id].crashes >= SUSPECT_CRASHES]

    def lease(self, job_id: str, token: str) -> bool:
        """Claim one job by its id, as stock arq does."""
        job = self.jobs.get(job_id)
        if job is None or job.due is None:
            return False
        if job.holder is not None:
            job.crashes += 1
            job.excuses += 1
        self._take(job, token)
        return True

    def _take(self, job: QueuedJob, token: str) -> None:
        job.holder, job.due, job.first, job.aside = token, None, False, None
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
        """Release jobs: due at once, before what has never run, and without a crash."""
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
        job.holder, job.due, job.first = None, self.tick(), True
        job.excuses += 1

    def fall_due(self, job_id: str) -> None:
        """A lease lapses, or a delay ends."""
        self.jobs[job_id].due, self.jobs[job_id].first = self.tick(), False

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
