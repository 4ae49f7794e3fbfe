"""The event log: every admitted event for as long as the log keeps it, and what became of it. Used by the console."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import orjson

from broker import keys
from broker.records import Job, Record
from broker.redis.client import Server

State = Literal["pending", "delivered", "dead", "dropped"]

_PAGE = 200

_BEGINNING = "0-0"


@dataclass(frozen=True, slots=True)
class LoggedEvent:
    """One admission, and what became of it.

    Attributes:
        record: the captured request.
        delivery: what the ledger counts; the event's id, or that with a suffix for a replay.
        replayed: whether an operator sent it again on purpose.
        state: pending, delivered, dead or dropped (by an operator).
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
    """The events in the log, newest first unless asked otherwise, up to a place in it."""
    position, left = ("-" if oldest_first else up_to), limit
    while left is None or left > 0:
        count = _PAGE if left is None else min(left, _PAGE)
        if oldest_first:
            page = await server.xrange(keys.LOG, min=position, max=up_to, count=count)
        else:
            page = await server.xrevrange(keys.LOG, max=position, count=count)
        if not page:
            return
        for logged in await _with_states(server, [Job.from_bytes(fields[b"job"]) for _, fields in page]):
            yield logged
        position = "(" + page[-1][0].decode()
        left = None if left is None else left - len(page)


async def end_of_log(server: Server) -> str:
    """The place in the log behind which the next event will be."""
    newest = await server.xrevrange(keys.LOG, count=1)
    return newest[0][0].decode() if newest else _BEGINNING


async def events_behind(server: Server, place: str, *, wait_ms: int) -> tuple[list[LoggedEvent], str]:
    """The next events behind a place in the log, oldest first, and the place behind them.

    Args:
        server: where the log is.
        place: where the last look ended; `end_of_log` for the first.
        wait_ms: how long to wait for one where there is none yet. Less than the connection's own time limit.
    """
    answer = await server.xread({keys.LOG: place}, count=_PAGE, block=wait_ms)
    if not answer:
        return [], place
    [(_, page)] = answer
    return await _with_states(server, [Job.from_bytes(fields[b"job"]) for _, fields in page]), page[-1][0].decode()


async def find_events(server: Server, wanted: str) -> list[LoggedEvent]:
    """Every admission of the event with that id, replays included; empty if the log does not hold it.

    A delivery's own id, as listings show it, is good as well.
    """
    event_id, _, replay = wanted.partition("~")
    first = await server.get(keys.seen_key(event_id))
    if first is None:
        jobs = await _search(server, event_id)
    else:
        log_ids = [first, *await server.smembers(keys.replays_key(event_id))]
        pages = [await server.xrange(keys.LOG, min=log_id, max=log_id) for log_id in sorted(log_ids, key=_log_order)]
        jobs = [Job.from_bytes(fields[b"job"]) for page in pages for _, fields in page]
    return await _with_states(server, [job for job in jobs if not replay or job.delivery == wanted])


async def _search(server: Server, event_id: str) -> list[Job]:
    """Go through the whole log: the index of first deliveries ends with the dedupe window, which may be the shorter."""
    jobs, position = [], "-"
    while page := await server.xrange(keys.LOG, min=position, count=_PAGE):
        payloads = [fields[b"job"] for _, fields in page if event_id.encode() in fields[b"job"]]
        jobs += [job for job in map(Job.from_bytes, payloads) if job.record.id == event_id]
        position = "(" + page[-1][0].decode()
    return jobs


def _log_order(log_id: bytes) -> tuple[int, int]:
    milliseconds, _, sequence = log_id.partition(b"-")
    return int(milliseconds), int(sequence)


async def _with_states(server: Server, jobs: Sequence[Job]) -> list[LoggedEvent]:
    pipeline = server.pipeline(transaction=False)
    for job in jobs:
        pipeline.hgetall(keys.delivery_key(job.delivery))
        pipeline.hget(keys.outcomes_key(job.record.received_at_ms), job.delivery)
        pipeline.zscore(keys.QUEUE, job.id)
    answers = await pipeline.execute() if jobs else []
    return [
        _logged(
            job, {name.decode(): value for name, value in fields.items()}, of_first_job, still_open=score is not None
        )
        for job, fields, of_first_job, score in zip(jobs, answers[::3], answers[1::3], answers[2::3], strict=True)
    ]


def _logged(job: Job, fields: Mapping[str, bytes], of_first_job: bytes | None, *, still_open: bool) -> LoggedEvent:
    outcomes = {name: orjson.loads(value) for name, value in fields.items() if not name.startswith(".")}
    if of_first_job is not None and not fields and not still_open:  # what else there is came after it, and counts
        outcomes = orjson.loads(of_first_job)
    if ".open" in fields:
        still_open = int(fields[".open"]) > 0
    elif not still_open:  # one job that took the place of the first is not counted, but leaves an outcome
        still_open = any(outcome["state"] == "retrying" for outcome in outcomes.values())
    state: State = "delivered"
    if still_open:
        state = "pending"
    elif int(fields.get(".dead", 0)) > 0:
        state = "dead"
    elif ".dropped" in fields:
        state = "dropped"
    return LoggedEvent(job.record, job.delivery, job.replayed, state, outcomes)
