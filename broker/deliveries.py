"""The bookkeeping of a delivery: what Redis holds about it, and what state follows from that.

A delivery starts as one open job and no dead letter. `finish.lua` writes down what differs from that, in one of two
places. Where the first job settled everything, as it nearly always does, the outcomes go to a hash that is shared by
all deliveries received in that minute. Otherwise the delivery has a hash of its own: the outcome of each handler by
name, and the counts below, whose names start with a dot because no handler's name does.

Used by the event log, which shows the states, and by the audit, which compares them with the queue and the dead
letters.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, Literal

from broker import ids
from broker.records import LATEST_MS, Job
from broker.redis.commands import Server
from broker.untrusted import found, json_object, text_of, whole_number

State = Literal["pending", "delivered", "dead", "dropped"]

OPEN: Final = ".open"
"""Field: how many of its jobs are not settled. Where it is missing, its first job, or the one that took its place."""

DEAD: Final = ".dead"
"""Field: how many of its dead letters wait for an operator."""

DROPPED: Final = ".dropped"
"""Field: there if an operator has dropped one of its dead letters."""

_NO_FIELDS: Final[Mapping[bytes, bytes]] = {}
_COUNTS: Final = frozenset({OPEN, DEAD, DROPPED})


@dataclass(frozen=True, slots=True)
class Delivery:
    """What Redis holds about a delivery at one moment.

    Attributes:
        job: its first job.
        first_queued: whether that job is in the queue.
        shared: its entry in the minute's shared hash, where its first job settled it; None otherwise.
        fields: its own hash; empty where there is none.
    """

    job: Job
    first_queued: bool
    shared: bytes | None
    fields: Mapping[str, bytes]

    @property
    def leaves_no_trace(self) -> bool:
        """Whether Redis holds nothing about it: it is lost, or was settled longer ago than outcomes are kept."""
        return not self.first_queued and self.shared is None and not self.fields

    @property
    def outcomes(self) -> dict[str, Any]:
        """The outcomes by handler name: state, attempts, at_ms, error."""
        if self.shared is None or self.fields or self.first_queued:
            return self._own_outcomes()
        # Only where there is nothing else: anything else came after it, and counts.
        return _outcomes(json_object(self.shared))

    @property
    def open_jobs(self) -> int:
        """How many of its jobs are not settled."""
        counted = whole_number(self.fields.get(OPEN))
        if counted is not None:
            return counted
        # A single job that took the place of the first is not counted, but it leaves an outcome.
        retrying = any(outcome.get("state") == "retrying" for outcome in self._own_outcomes().values())
        return int(self.first_queued or retrying)

    @property
    def dead_letters(self) -> int:
        """How many of its dead letters wait for an operator."""
        return whole_number(self.fields.get(DEAD)) or 0

    @property
    def state(self) -> State:
        """What an operator calls it."""
        if self.open_jobs > 0:
            return "pending"
        if self.dead_letters > 0:
            return "dead"
        return "dropped" if DROPPED in self.fields else "delivered"

    @property
    def further_job_ids(self) -> list[str]:
        """The ids that jobs of single handlers may have: the next attempt, or the first one after a retry by hand."""
        return [
            ids.job_id(self.job.delivery, handler, attempt)
            for handler, outcome in self._own_outcomes().items()
            for attempt in sorted({1, outcome.get("attempts", 0) + 1})
        ]

    def _own_outcomes(self) -> dict[str, Any]:
        return _outcomes({name: json_object(value) for name, value in self.fields.items() if name not in _COUNTS})


def _outcomes(read: Mapping[str, Any]) -> dict[str, Any]:
    """The outcomes of a delivery; of one that is none of ours, the state is `unreadable`."""
    return {ids.readable(handler): _outcome(outcome) for handler, outcome in read.items()}


def _outcome(read: Any) -> dict[str, Any]:
    if isinstance(read, dict) and type(read.get("state")) is str and type(read.get("error", "")) is str:
        numbers = read.get("attempts", 0), read.get("at_ms", 0)
        if all(type(number) is int and 0 <= number <= LATEST_MS for number in numbers):
            return {"attempts": 0, "at_ms": 0, **read}
    return {"state": "unreadable", "attempts": 0, "at_ms": 0}


async def read_deliveries(server: Server, first_jobs: Sequence[Job]) -> list[Delivery]:
    """What Redis holds about deliveries, given by their first jobs, at one moment. At most a page of them."""
    async with server.pipeline(transaction=True) as transaction:
        for job in first_jobs:
            transaction.zscore(server.our_keys.queue, job.id)
            transaction.hget(server.our_keys.outcomes_key(job.record.received_at_ms), job.delivery)
            transaction.hgetall(server.our_keys.delivery_key(job.delivery))
        answers = await transaction.execute(raise_on_error=False) if first_jobs else []
    parts = zip(first_jobs, answers[::3], answers[1::3], answers[2::3], strict=True)
    return [
        Delivery(
            job,
            found(score, None) is not None,
            found(shared, None),
            {text_of(name): value for name, value in found(fields, _NO_FIELDS).items()},
        )
        for job, score, shared, fields in parts
    ]
