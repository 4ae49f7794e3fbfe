"""The proof that nothing has disappeared: the counts of the ledger, and a look at each event, job and dead letter.

Each delivery in the log is looked up where it should be: in the queue, among the outcomes, or as a dead letter. These
looks use no counter, so they find a delivery that has disappeared by its id, whatever the counters say.

Used by `konvox-hooks audit`, by the demo, and by nearly every test.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from typing import Any

from broker import ids
from broker.deliveries import Delivery, read_deliveries
from broker.errors import MalformedRecordError
from broker.keys import LOG_JOB
from broker.ledger import Ledger, read_ledger
from broker.records import Job
from broker.redis.client import PAGE
from broker.redis.commands import LogEntry, Server
from broker.set_aside import wrong_keys
from broker.untrusted import found, or_empty, text_of

_MARGIN_MS = 60_000
"""How much earlier than the end of its retention a delivery may have left no trace: the clocks of the receivers, which
date events, may differ from Redis' clock, which dates the log."""

_NONE: Sequence[bytes] = ()
_LOOKS = 3
"""What does not fit may be on its way at that moment. Only what does not fit at this many looks is reported."""


async def audit(server: Server, *, spooled: Collection[str] = (), retention_ms: int = 604_800_000) -> Ledger:
    """The counts, and the ids of all that is not where it should be.

    Args:
        server: Redis.
        spooled: see `read_ledger`.
        retention_ms: for how long the outcomes of delivered events are kept.
    """
    counts = await read_ledger(server, spooled=spooled)
    misplaced = [
        *await wrong_keys(server),
        *counts.misplaced,
        *await _misplaced_deliveries(server, retention_ms=retention_ms),
        *await _jobs_without_body(server),
        *await _misplaced_letters(server),
    ]
    return replace(counts, misplaced=tuple(dict.fromkeys(misplaced)))


async def _misplaced_deliveries(server: Server, *, retention_ms: int) -> list[str]:
    """The deliveries in the log that are neither queued, nor settled, nor a dead letter.

    A delivery that was admitted longer ago than outcomes are kept may have left no trace, and is not looked up.
    """
    seconds, _ = await server.time()
    position, found = str(max(0, seconds * 1000 - retention_ms + _MARGIN_MS)), dict[str, None]()
    while page := await or_empty(server.xrange(server.our_keys.log, position, count=PAGE), []):
        admitted, unreadable = _first_jobs(server.our_keys.log, page)
        found.update(dict.fromkeys(unreadable))
        for delivery in admitted:
            found.pop(delivery, None)  # admitted again after its dedupe window: its last time is what counts
        suspects: Sequence[Job] = list(admitted.values())
        for _ in range(_LOOKS):
            suspects = await _without_all_parts(server, suspects)
        found.update(dict.fromkeys(job.delivery for job in suspects))
        position = "(" + page[-1][0].decode()
    return list(found)


def _first_jobs(log: str, page: Sequence[LogEntry]) -> tuple[Mapping[str, Job], list[str]]:
    """The first job of each delivery by the delivery's id, and the places in the log that hold no job. Pure."""
    admitted: dict[str, Job] = {}
    unreadable = []
    for log_id, fields in page:
        try:
            job = Job.from_bytes(fields.get(LOG_JOB, b""))
        except MalformedRecordError:
            unreadable.append(f"{log} {log_id.decode()}")
        else:
            admitted[job.delivery] = job
    return admitted, unreadable


async def _without_all_parts(server: Server, first_jobs: Sequence[Job]) -> list[Job]:
    """The first jobs of those deliveries of which something is missing."""
    deliveries = await read_deliveries(server, first_jobs)
    any_dead = any(delivery.dead_letters for delivery in deliveries)
    letters = await _letters_by_delivery(server) if any_dead else Counter[str]()
    return [
        delivery.job
        for delivery in deliveries
        if delivery.leaves_no_trace
        or letters[delivery.job.delivery] < delivery.dead_letters
        or await _jobs_missing(server, delivery)
    ]


async def _jobs_missing(server: Server, delivery: Delivery) -> bool:
    """Whether fewer of its jobs are queued than are open."""
    still_to_find = delivery.open_jobs - delivery.first_queued
    if still_to_find <= 0:
        return False
    further = delivery.further_job_ids
    scores = await or_empty(server.zmscore(server.our_keys.queue, further), []) if further else []
    return sum(score is not None for score in scores) < still_to_find


async def _letters_by_delivery(server: Server) -> Counter[str]:
    """How many dead letters there are of each delivery."""
    letter_ids = await or_empty(server.hkeys(server.our_keys.dead), [])
    return Counter(ids.delivery_of(text_of(letter_id)) for letter_id in letter_ids)


async def _jobs_without_body(server: Server) -> list[str]:
    """The queued ids whose job is gone."""
    missing: list[str] = []
    cursor, at_end = 0, False
    while not at_end:
        nothing: tuple[int, list[Any]] = (0, [])
        cursor, page = await or_empty(server.zscan(server.our_keys.queue, cursor=cursor, count=PAGE), nothing)
        at_end = cursor == 0
        job_ids = [job_id for job_id, _ in page]
        there = await _of_each(server, "EXISTS", [(server.our_keys.job_key(text_of(job_id)),) for job_id in job_ids])
        suspects = [job_id for job_id, exists in zip(job_ids, there, strict=True) if not exists]
        # A job may be settled between two looks; one that is still queued and has no body is misplaced.
        scores = await _of_each(server, "ZSCORE", [(server.our_keys.queue, job_id) for job_id in suspects])
        missing += [
            ids.readable(text_of(job_id)) for job_id, score in zip(suspects, scores, strict=True) if score is not None
        ]
    return list(dict.fromkeys(missing))  # a scan may show an entry twice


async def _misplaced_letters(server: Server) -> list[str]:
    """The ids of dead letters without an index entry, and the other way round."""
    async with server.pipeline(transaction=True) as transaction:
        transaction.hkeys(server.our_keys.dead)
        transaction.zrange(server.our_keys.dead_index, 0, -1)
        letters, indexed = [found(each, _NONE) for each in await transaction.execute(raise_on_error=False)]
    return sorted(ids.readable(text_of(letter_id)) for letter_id in {*letters} ^ {*indexed})


async def _of_each(server: Server, command: str, arguments: Sequence[tuple[str | bytes, ...]]) -> list[Any]:
    """The answers to one command with different arguments, in one round trip a page."""
    answers: list[Any] = []
    for first in range(0, len(arguments), PAGE):
        pipeline = server.pipeline(transaction=False)
        for each in arguments[first : first + PAGE]:
            pipeline.execute_command(command, *each)
        answers += [found(answer, None) for answer in await pipeline.execute(raise_on_error=False)]
    return answers
