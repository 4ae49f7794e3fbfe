"""Settling in bulk: the same verdicts as one by one, and nothing lost or counted twice if the script fails midway."""

from __future__ import annotations

from typing import Any

import pytest
from redis.exceptions import ResponseError

from broker import queue
from broker.admission import AdmissionPolicy, admit
from broker.audit import audit
from broker.dead_letters import list_dead_letters, retry
from broker.event_log import events, find_events
from broker.queue import Claimed, ClaimRequest, Settlement
from broker.records import Job
from broker.redis.pipelined import PipelinedConnection
from broker.redis.scripts import Script
from tests.support.events import (
    LEASE_MS,
    RECEIVED_AT_MS,
    RETENTION_MS,
    admitted,
    claimed,
    job_of,
    make_due,
    queued_ids,
    settled,
)
from tests.support.store import KEYS, RedisClient
from worker.running.verdicts import HandlerRun, settlement_of

DONE, SKIPPED, UNFIT = HandlerRun("mine.a", "done", 1.5), HandlerRun("mine.b", "skipped"), HandlerRun("mine.a", "unfit")
OUTCOMES = KEYS.outcomes_key(RECEIVED_AT_MS)


def ended(claim: Claimed, *runs: HandlerRun) -> Settlement:
    """The settlement of a job whose handlers ended so."""
    return settlement_of(claim, Job.from_bytes(claim.payload or b""), runs, now_ms=7)


async def test_deliveries_of_one_minute_share_a_key(server: RedisClient) -> None:
    """Deliveries of one minute share a key, and each still shows its own outcomes until the retention ends."""
    jobs = await admitted(server, 3)
    await settled(server, *(ended(claim, DONE, SKIPPED) for claim in (await claimed(server, token="a")).jobs))
    assert 0 < await server.pttl(OUTCOMES) <= RETENTION_MS
    assert not await server.exists(*(KEYS.delivery_key(job.id) for job in jobs))
    for job in jobs:
        (event,) = await find_events(server, job.record.id)
        assert event.state == "delivered"
        assert event.outcomes == {
            "mine.a": {"state": "done", "attempts": 1, "at_ms": 7, "duration_ms": 1.5},
            "mine.b": {"state": "skipped", "attempts": 1, "at_ms": 7, "duration_ms": 0.0},
        }


async def test_a_delivery_that_left_a_trace_is_settled_by_its_own(server: RedisClient) -> None:
    """A delivery that was dead before is settled on its own, without holding up its batch."""
    jobs = await admitted(server, 1)
    (claim,) = (await claimed(server, token="a")).jobs
    buried = Settlement(claim, jobs[0].delivery, {}, [], {jobs[0].id: _letter(jobs[0])})
    await settled(server, buried)
    await retry(server, [letter async for letter in list_dead_letters(server)])
    await admit(server, [job_of(1), job_of(2)], AdmissionPolicy())
    assert await settled(server, *(ended(claim, DONE) for claim in (await claimed(server, token="b")).jobs)) == set()
    ledger = await audit(server)
    assert (ledger.accepted, ledger.delivered, ledger.dead, ledger.balanced) == (3, 3, 0, True)
    assert await server.hlen(OUTCOMES) == 2
    assert 0 < await server.pttl(KEYS.delivery_key(jobs[0].id)) <= RETENTION_MS
    (event,) = await find_events(server, jobs[0].record.id)
    assert (event.state, event.outcomes["mine.a"]["state"]) == ("delivered", "done")


def _letter(job: Job) -> bytes:
    claim = Claimed(job.id, "a", 0, job.to_bytes())
    (letter,) = settlement_of(claim, job, [UNFIT], now_ms=7).dead_letters.values()
    return letter.replace(f"{job.id}/mine.a".encode(), job.id.encode()).replace(
        b'"handler":"mine.a"', b'"handler":null'
    )


async def test_crashes_are_forgotten_with_the_jobs(server: RedisClient) -> None:
    """Nothing is left of the crashes of a job that was delivered."""
    await admitted(server, 1)
    await claimed(server, token="of a worker that dies")
    await make_due(server, await queued_ids(server))
    (claim,) = (await claimed(server, token="a")).jobs
    assert claim.crashes == 1
    await settled(server, ended(claim, DONE))
    assert not await server.exists(KEYS.crashes, KEYS.leases, KEYS.queue)
    assert (await audit(server)).delivered == 1


async def test_an_event_that_came_again_shows_nothing_of_the_time_before(server: RedisClient) -> None:
    """An event that came again after its dedupe window is pending, and shows no outcomes of the time before."""
    (job,) = await admitted(server, 1)
    (claim,) = (await claimed(server, token="a")).jobs
    await settled(server, ended(claim, DONE))
    await server.delete(KEYS.seen_key(job.record.id))
    await admitted(server, 1)
    (event,) = [event async for event in events(server, limit=1)]
    assert (event.state, event.outcomes) == ("pending", {})


@pytest.mark.parametrize("broken", ["in full", "together"])
async def test_a_key_of_another_type_stops_no_settlement(server: RedisClient, broken: str) -> None:
    """What somebody has written to the key of an event is kept under another name, and all jobs are settled once."""
    jobs = await admitted(server, 6)
    claims = {claim.job_id: claim for claim in (await claimed(server, token="a")).jobs}
    in_full = [Settlement(claims[job.id], job.delivery, {"h": b"{}"}) for job in jobs[3:]]
    batch = [*(ended(claims[job.id], DONE) for job in jobs[:3]), *in_full]
    key = OUTCOMES if broken == "together" else KEYS.delivery_key(jobs[4].delivery)
    await server.set(key, "not a hash")
    assert await settled(server, *batch) == set()
    assert len(await settled(server, *batch)) == 6
    ledger = await audit(server)
    assert (ledger.delivered, ledger.pending, ledger.balanced) == (6, 0, True)
    assert not await server.exists(KEYS.leases, *(KEYS.job_key(job.id) for job in jobs))
    assert await server.get(f"{key}:aside") == b"not a hash"


@pytest.mark.parametrize("key", [KEYS.queue, KEYS.crashes, KEYS.ledger, KEYS.dead, KEYS.dead_index])
async def test_a_settlement_that_is_refused_has_changed_nothing(server: RedisClient, key: str) -> None:
    """The keys of all events are asked before anything is written: after a refusal the batch is settled as a whole."""
    jobs = await admitted(server, 4)
    claims = {claim.job_id: claim for claim in (await claimed(server, token="a")).jobs}
    batch = [ended(claims[job.id], DONE) for job in jobs[:2]]
    batch += [Settlement(claims[job.id], job.delivery, {"h": b"{}"}) for job in jobs[2:]]
    if await server.exists(key):
        await server.execute_command("RENAME", key, "kept")
    await server.set(key, "another type")
    with pytest.raises(ResponseError):
        await settled(server, *batch)
    await server.delete(key)
    if await server.exists("kept"):
        await server.execute_command("RENAME", "kept", key)
    assert await server.hlen(KEYS.leases) == 4
    assert await settled(server, *batch) == set()
    ledger = await audit(server)
    assert (ledger.delivered, ledger.pending, ledger.balanced) == (4, 0, True)


async def test_a_job_that_is_fenced_at_the_second_try_is_reported_as_fenced(
    server: RedisClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A delivery that left a trace is written in full by a second call; its lease may be lost between the two."""
    (job,) = await admitted(server, 1)
    (claim,) = (await claimed(server, token="a")).jobs
    await server.hset(KEYS.delivery_key(job.id), "other", "{}")
    original, calls = Script.run, 0

    async def run(*arguments: Any) -> Any:
        nonlocal calls
        calls += 1
        if calls == 2:
            await server.hset(KEYS.leases, job.id, "thief")
        return await original(*arguments)

    monkeypatch.setattr(Script, "run", run)
    assert await settled(server, ended(claim, DONE)) == {job.id}
    assert calls == 2
    ledger = await audit(server)
    assert (ledger.delivered, ledger.pending, ledger.balanced) == (0, 1, True)


@pytest.mark.parametrize("along", [False, True], ids=["alone", "with a claim"])
async def test_a_job_that_stands_twice_in_a_batch_counts_once(server: RedisClient, along: bool) -> None:
    """Two runs of one claim that end together are one settlement, and the ledger shows one delivery."""
    await admitted(server, 1)
    (claim,) = (await claimed(server, token="a")).jobs
    batch = [ended(claim, DONE), ended(claim, DONE)]
    if along:
        request = ClaimRequest(1, LEASE_MS, "b", suspect_wanted=True)
        fenced, _ = await queue.settle_and_claim(PipelinedConnection(server), batch, request, retention_ms=RETENTION_MS)
    else:
        fenced = await queue.settle(server, batch, retention_ms=RETENTION_MS)
    ledger = await audit(server)
    assert (fenced, ledger.delivered, ledger.balanced) == (set(), 1, True)
