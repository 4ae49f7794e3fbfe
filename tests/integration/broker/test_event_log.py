"""The event log: every admission, and what became of it."""

from __future__ import annotations

from typing import Any

import pytest

from broker import dead_letters
from broker.admission import AdmissionPolicy, admit
from broker.dead_letters import list_dead_letters
from broker.event_log import LoggedEvent, events, find_events
from broker.records import Job
from tests.support.events import RETENTION_MS, admitted, claimed, job_of, make_due, queued_ids, record_of, settled
from tests.support.store import KEYS, RedisClient
from worker.running.verdicts import AttemptPolicy, HandlerRun, poison_settlement, settlement_of, unreadable_settlement

FAILED = HandlerRun("h", "failed", error="boom", policy=AttemptPolicy(2, 0, 0))
DONE = HandlerRun("h", "done")
UNFIT = HandlerRun("g", "unfit")


async def logged(server: RedisClient, **options: Any) -> list[LoggedEvent]:
    """What the log shows."""
    return [event async for event in events(server, **options)]


async def state_of(server: RedisClient) -> str:
    """The state of the only event."""
    (event,) = await logged(server)
    (found,) = await find_events(server, event.record.id)
    assert found == event
    return event.state


async def run_due(server: RedisClient, *runs: HandlerRun) -> None:
    """Run all that is due, with these ends."""
    await make_due(server, await queued_ids(server))
    for claim in (await claimed(server, token="a")).jobs:
        job = Job.from_bytes(claim.payload or b"")
        mine = [run for run in runs if job.handler in {None, run.handler}]
        await settled(server, settlement_of(claim, job, mine, now_ms=5))


async def test_an_event_without_handlers_is_delivered(server: RedisClient) -> None:
    """An event without handlers is pending until a worker has looked at it, and then delivered."""
    await admitted(server, 1)
    assert await state_of(server) == "pending"
    await run_due(server)
    assert await state_of(server) == "delivered"


async def test_a_retried_event_is_pending_until_it_is_delivered(server: RedisClient) -> None:
    """A retried event is pending, and its outcomes show which handler is waited for, and why."""
    await admitted(server, 1)
    await run_due(server, FAILED, HandlerRun("i", "done"))
    assert await state_of(server) == "pending"
    (event,) = await logged(server)
    assert event.outcomes["h"] == {"state": "retrying", "attempts": 1, "at_ms": 5, "duration_ms": 0.0, "error": "boom"}
    assert event.outcomes["i"]["state"] == "done"
    await run_due(server, DONE)
    assert await state_of(server) == "delivered"
    (event,) = await logged(server)
    assert (event.outcomes["h"]["state"], event.outcomes["h"]["attempts"]) == ("done", 2)


async def test_a_dead_event_is_dead_until_it_is_retried_or_dropped(server: RedisClient) -> None:
    """A dead event is dead until it is retried or dropped, and pending while another handler is retried."""
    await admitted(server, 1)
    await run_due(server, FAILED, UNFIT)
    assert await state_of(server) == "pending"
    await run_due(server, DONE)
    assert await state_of(server) == "dead"
    letters = [letter async for letter in list_dead_letters(server)]
    await dead_letters.retry(server, letters)
    assert await state_of(server) == "pending"
    await run_due(server, UNFIT)
    assert await state_of(server) == "dead"
    letters = [letter async for letter in list_dead_letters(server)]
    await dead_letters.drop(server, letters, retention_ms=RETENTION_MS)
    assert await state_of(server) == "dropped"


@pytest.mark.parametrize("how", ["poison", "missing"])
async def test_a_retry_that_is_put_aside_is_dead(server: RedisClient, how: str) -> None:
    """An event whose retry is poison or cannot be read is dead, and no longer pending."""
    await admitted(server, 1)
    await run_due(server, FAILED)
    await make_due(server, await queued_ids(server))
    (claim,) = (await claimed(server, token="b")).jobs
    job = Job.from_bytes(claim.payload or b"")
    poison = poison_settlement(claim, job, now_ms=0)
    await settled(server, poison if how == "poison" else unreadable_settlement(claim, error="", now_ms=0))
    assert await state_of(server) == "dead"


async def test_each_replay_has_a_state_of_its_own(server: RedisClient) -> None:
    """Each replay has a state of its own, and is found by the event's id or alone by its own."""
    (first,) = await admitted(server, 1)
    await run_due(server, DONE)
    replays = [Job.replay(first.record) for _ in range(2)]
    for replay in replays:
        await admit(server, [replay], AdmissionPolicy())
    found = await find_events(server, first.record.id)
    assert [(event.delivery, event.state, event.replayed) for event in found] == [
        (first.id, "delivered", False),
        (replays[0].id, "pending", True),
        (replays[1].id, "pending", True),
    ]
    assert [event.delivery for event in await find_events(server, replays[1].id)] == [replays[1].id]


async def test_an_event_is_found_after_its_dedupe_window(server: RedisClient) -> None:
    """An event and its replays are found as long as the log has them, also after the dedupe window."""
    await admitted(server, 450)
    wanted = record_of(123)
    replay = Job.replay(wanted)
    await admit(server, [replay], AdmissionPolicy())
    await server.delete(KEYS.seen_key(wanted.id))
    assert [event.delivery for event in await find_events(server, wanted.id)] == [wanted.id, replay.id]
    assert [event.delivery for event in await find_events(server, replay.id)] == [replay.id]


async def test_what_is_unknown_or_trimmed_is_not_found(server: RedisClient) -> None:
    """An event that is unknown, or trimmed from the log, is not found."""
    (job,) = await admitted(server, 1)
    assert await find_events(server, "evt_unknown") == []
    await server.xtrim(KEYS.log, maxlen=0, approximate=False)
    assert await find_events(server, job.record.id) == []


@pytest.mark.parametrize("limit", [None, 0, 1, 199, 200, 201, 401, 1_000])
async def test_the_log_is_listed_in_order(server: RedisClient, limit: int | None) -> None:
    """The log is listed newest first or oldest first, page by page, up to a limit."""
    jobs = [job_of(number) for number in range(450)]
    await admit(server, jobs, AdmissionPolicy())
    ids = [job.record.id for job in jobs]
    assert [event.record.id for event in await logged(server, limit=limit, oldest_first=True)] == ids[:limit]
    assert [event.record.id for event in await logged(server, limit=limit)] == ids[::-1][:limit]
