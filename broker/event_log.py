"""The event log: every admitted event for as long as the log keeps it, and what became of it.

Used by the commands that list, find, follow, export and replay events.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from typing import Any

import structlog

from broker import ids
from broker.deliveries import State, read_deliveries
from broker.errors import MalformedRecordError
from broker.keys import LOG_JOB
from broker.records import Job, Record
from broker.redis.commands import LogEntry, Server
from broker.untrusted import or_empty

_PAGE = 200

_BEGINNING = "0-0"

_LOG_ID = re.compile(rb"[0-9]{1,18}-[0-9]{1,18}")

logger = structlog.get_logger("broker")


@dataclass(frozen=True, slots=True)
class LoggedEvent:
    """One admission, and what became of it.

    Attributes:
        record: the captured request.
        delivery: the id of the delivery; see `broker.ids`.
        replayed: whether it is a replay.
        state: pending, delivered, dead, or dropped by an operator.
        outcomes: by handler name: state, attempts, at_ms, error.
    """

    record: Record
    delivery: str
    replayed: bool
    state: State
    outcomes: dict[str, Any]


async def events(
    server: Server, *, limit: int | None = None, oldest_first: bool = False, up_to: str = "+"
) -> AsyncIterator[LoggedEvent]:
    """The events in the log up to a place in it, newest first unless `oldest_first`."""
    position, left = ("-" if oldest_first else up_to), limit
    while left is None or left > 0:
        count = _PAGE if left is None else min(left, _PAGE)
        if oldest_first:
            page = await or_empty(server.xrange(server.our_keys.log, position, up_to, count=count), [])
        else:
            page = await or_empty(server.xrevrange(server.our_keys.log, position, count=count), [])
        if not page:
            return
        for logged in await _with_states(server, _jobs(page)):
            yield logged
        position = "(" + page[-1][0].decode()
        left = None if left is None else left - len(page)


async def count_events(server: Server) -> int:
    """How many admissions the log holds, replays included."""
    return int(await server.execute_command("XLEN", server.our_keys.log))


async def end_of_log(server: Server) -> str:
    """The place in the log after which the next event will come."""
    newest = await or_empty(server.xrevrange(server.our_keys.log, count=1), [])
    return newest[0][0].decode() if newest else _BEGINNING


async def events_after(server: Server, place: str, *, wait_ms: int) -> tuple[list[LoggedEvent], str]:
    """The next events after a place in the log, oldest first, and the place of the last of them.

    Args:
        server: Redis.
        place: where the last call ended; `end_of_log` for the first.
        wait_ms: how long to wait if there is none yet. Less than the connection's own time-out.
    """
    reading = server.xread({server.our_keys.log: place}, count=_PAGE, block=wait_ms)
    answer = await or_empty(reading, None)
    if not answer:
        if answer is None:
            await asyncio.sleep(wait_ms / 1000)  # it is no log of ours at the moment
        return [], place
    [(_, page)] = answer
    return await _with_states(server, _jobs(page)), page[-1][0].decode()


async def find_events(server: Server, wanted: str) -> list[LoggedEvent]:
    """Every admission of the event with that id, replays included. Empty if the log does not hold it.

    `wanted` may also be the id of a replay; then the answer has that one only.
    """
    event_id = ids.event_of(wanted)
    keys, none = server.our_keys, set[bytes]()
    first = await or_empty(server.get(keys.seen_key(event_id)), None)
    replays = await or_empty(server.smembers(keys.replays_key(event_id)), none)
    if first is None or not all(map(_LOG_ID.fullmatch, {first, *replays})):
        jobs = await _search(server, event_id)
    else:
        log_ids = sorted({first, *replays}, key=_log_order)
        pages = [await or_empty(server.xrange(keys.log, log_id, log_id), []) for log_id in log_ids]
        jobs = [job for page in pages for job in _jobs(page) if job.record.id == event_id]
    return await _with_states(server, [job for job in jobs if wanted in {event_id, job.delivery}])


async def _search(server: Server, event_id: str) -> list[Job]:
    """Search the whole log. The index by event ends with the dedupe window, and the log may be kept for longer."""
    jobs: list[Job] = []
    position = "-"
    name = event_id.encode("utf-8", "surrogateescape")
    while page := await or_empty(server.xrange(server.our_keys.log, position, count=_PAGE), []):
        likely = [(place, fields) for place, fields in page if name in fields.get(LOG_JOB, b"")]
        jobs += [job for job in _jobs(likely) if job.record.id == event_id]
        position = "(" + page[-1][0].decode()
    return jobs


def _jobs(page: Sequence[LogEntry]) -> list[Job]:
    """The jobs of a page of the log. An entry that is none of ours is named on the way, and hides no other one."""
    jobs = []
    for place, fields in page:
        try:
            jobs.append(Job.from_bytes(fields.get(LOG_JOB, b"")))
        except MalformedRecordError as fault:
            logger.warning("log_entry.unreadable", place=place.decode(), error=str(fault))
    return jobs


def _log_order(log_id: bytes) -> tuple[int, int]:
    milliseconds, _, sequence = log_id.partition(b"-")
    return int(milliseconds), int(sequence)


async def _with_states(server: Server, jobs: Sequence[Job]) -> list[LoggedEvent]:
    """What became of each job's delivery. At most a page of them."""
    return [
        LoggedEvent(job.record, job.delivery, job.replayed, delivery.state, delivery.outcomes)
        for job, delivery in zip(jobs, await read_deliveries(server, jobs), strict=True)
    ]
