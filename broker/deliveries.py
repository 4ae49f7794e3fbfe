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

import orjson

from broker import ids, keys
from broker.records import Job
from broker.redis.commands import Server

State = Literal["pending", "delivered", "dead", "dropped"]

OPEN: Final = ".open"
"""Field: how many of its jobs are not settled. Where it is missing, its first job, or the one that took its place."""

DEAD: Final = ".dead"
"""Field: how many of its dead letters wait for an operator."""

DROPPED: Final = ".dropped"
"""Field: there if an operator has dropped one of its dead letters."""

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
        outcomes: dict[str, Any] = orjson.loads(self.shared)
        return outcomes

    @property
    def open_jobs(self) -> int:
        """How many of its jobs are not settled."""
        if OPEN in self.fields:
            return int(self.fields[OPEN])
        # A single job that took the place of the first is not counted, but it leaves an outcome.
        retrying = any(outcome.get("state") == "retrying" for outcome in self._own_outcomes().values())
        return int(self.first_queued or retrying)

    @property
    def dead_letters(self) -> int:
        """How many of its dead letters wait for an operator."""
        return int(self.fields.get(DEAD, 0))

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
        return {name: orjson.loads(value) for name, value in self.fields.items() if name not in _COUNTS}


async def read_deliveries(server: Server, first_jobs: Sequence[Job]) -> list[Delivery]:
    """What Redis holds about deliveries, given by their first jobs, at one moment. At most a page of them."""
    async with server.pipeline(transaction=True) as transaction:
        for job in first_jobs:
            transaction.zscore(keys.QUEUE, job.id)
            transaction.hget(keys.outcomes_key(job.record.received_at_ms), job.delivery)
            transaction.hgetall(keys.delivery_key(job.delivery))
        answers = await transaction.execute() if first_jobs else []
    parts = zip(first_jobs, answers[::3], answers[1::3], answers[2::3], strict=True)
    return [
        Delivery(job, score is not None, shared, {name.decode(): value for name, value in fields.items()})
        for job, score, shared, fields in parts
    ]
