"""Events for tests: records and jobs by number, admitted or not, and time travel for the queue."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import orjson

from broker import ids, queue
from broker.admission import AdmissionPolicy, admit
from broker.queue import Claimed, ClaimRequest, Claims, Settlement
from broker.records import Job, Record
from broker.redis.pipelined import PipelinedConnection
from konvox.samples import sample_body, sample_data
from tests.support.store import KEYS, RedisClient

RECEIVED_AT_MS = 1_779_287_520_000
"""When the records of tests were received: 2026-05-20T14:32:00Z."""

LEASE_MS = 60_000
"""The lease of claims in tests: longer than any test."""

RETENTION_MS = 3_600_000
"""How long the outcomes of settled deliveries are kept in tests."""


def body_of(number: int, event_type: str = "contact.replied", **changes: Any) -> bytes:
    """The body of event number `number`; another number is another event."""
    data = sample_data(event_type) | {"contactId": f"clcontact{number:05}"} | changes
    return sample_body(event_type, data=data, timestamp="2026-05-20T14:32:00.000Z")


def record_of(number: int, event_type: str = "contact.replied", **changes: Any) -> Record:
    """The record of an event; another number is another event."""
    return Record.capture(body_of(number, event_type, **changes), received_at_ms=RECEIVED_AT_MS)


def job_of(number: int, event_type: str = "contact.replied", **changes: Any) -> Job:
    """The first job of an event; another number is another event."""
    return Job.first(record_of(number, event_type, **changes))


def jobs_of(*numbers: int) -> list[Job]:
    """The first jobs of events by number."""
    return [job_of(number) for number in numbers]


def ids_of(*numbers: int) -> list[str]:
    """Their ids."""
    return [job.id for job in jobs_of(*numbers)]


async def admitted(server: RedisClient, count: int, event_type: str = "contact.replied") -> list[Job]:
    """Admit events number 0 to `count` - 1; returns their jobs."""
    jobs = [job_of(number, event_type) for number in range(count)]
    for first in range(0, count, 500):
        assert all(await admit(server, jobs[first : first + 500], AdmissionPolicy()))
    return jobs


async def claimed(server: RedisClient, *, token: str, count: int = 100, suspect_wanted: bool = True) -> Claims:
    """Claim the due jobs, for longer than a test lasts."""
    return await queue.claim(PipelinedConnection(server), ClaimRequest(count, LEASE_MS, token, suspect_wanted))


async def settled(server: RedisClient, *settlements: Settlement) -> set[str]:
    """Settle; returns the ids of the fenced ones."""
    return await queue.settle(server, settlements, retention_ms=RETENTION_MS)


def delivered(claim: Claimed) -> Settlement:
    """The settlement of a job whose handlers are all done."""
    return Settlement(claim, ids.delivery_of(claim.job_id))


async def make_due(server: RedisClient, job_ids: Iterable[str]) -> None:
    """Let leases lapse and delays end, without waiting."""
    scores = dict.fromkeys(job_ids, 1)
    if scores:
        await server.zadd(KEYS.queue, scores, xx=True)


async def crash_with(server: RedisClient, job_ids: Iterable[str], *, times: int = 1) -> None:
    """A worker takes these jobs and dies, so many times; their next worker will notice the last of it."""
    job_ids = list(job_ids)
    for _ in range(times):
        await make_due(server, job_ids)
        for job_id in job_ids:
            assert await queue.lease(server, job_id, token="of a worker that dies", lease_ms=LEASE_MS)
    await make_due(server, job_ids)


async def queued_ids(server: RedisClient) -> set[str]:
    """The ids of all jobs in the queue, leased ones too."""
    return {job_id.decode() for job_id in await server.zrange(KEYS.queue, 0, -1)}


def outcome_of(settlement: Settlement, handler: str) -> Any:
    """What a settlement writes about a handler."""
    return orjson.loads(settlement.outcomes[handler])
