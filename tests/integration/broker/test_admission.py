"""Admission: an event that was accepted is kept, once, and durably."""

from __future__ import annotations

import pytest

from broker.admission import AdmissionPolicy, admit
from broker.audit import audit
from broker.event_log import events
from broker.queue import settle
from broker.records import Job
from broker.redis.durability import BY_WAITAOF
from tests.support.events import admitted, claimed, delivered, job_of, make_due, queued_ids, record_of, settled
from tests.support.store import KEYS, RedisClient
from worker.running.verdicts import AttemptPolicy, HandlerRun, settlement_of

POLICY = AdmissionPolicy()
TEST_MS = 60_000
"""Longer than any test takes."""

CONFIRMED = AdmissionPolicy(confirmation=BY_WAITAOF)


async def test_what_is_accepted_is_queued_logged_and_counted(server: RedisClient) -> None:
    """An accepted event is in the queue, in the log and in the ledger at once."""
    job = job_of(1)
    assert await admit(server, [job], POLICY) == [True]
    (claim,) = (await claimed(server, token="a")).jobs
    assert Job.from_bytes(claim.payload or b"") == job
    (logged,) = [event async for event in events(server)]
    assert logged.record == job.record
    ledger = await audit(server)
    assert (ledger.accepted, ledger.pending, ledger.balanced) == (1, 1, True)


@pytest.mark.parametrize("policy", [POLICY, CONFIRMED], ids=["by reply", "by WAITAOF"])
async def test_a_duplicate_is_recognised(server: RedisClient, policy: AdmissionPolicy) -> None:
    """An event is recognised as a duplicate in the same batch, later, and after it was delivered."""
    assert await admit(server, [job_of(1), job_of(2), job_of(1)], policy) == [True, True, False]
    assert await admit(server, [job_of(2), job_of(3)], policy) == [False, True]
    claims = await claimed(server, token="a")
    await settled(server, *map(delivered, claims.jobs))
    assert await admit(server, [job_of(1)], policy) == [False]
    ledger = await audit(server)
    assert (ledger.accepted, ledger.duplicates, ledger.delivered, ledger.balanced) == (3, 3, 3, True)


async def test_a_replay_is_no_duplicate(server: RedisClient) -> None:
    """A replay is a delivery of its own, beside the first."""
    record = record_of(1)
    assert await admit(server, [Job.first(record), Job.replay(record), Job.replay(record)], POLICY) == [True] * 3
    claims = await claimed(server, token="a")
    assert len({claim.job_id for claim in claims.jobs}) == 3
    ledger = await audit(server)
    assert (ledger.accepted, ledger.duplicates, ledger.balanced) == (3, 0, True)


@pytest.mark.parametrize("job", [job_of(1), Job.replay(record_of(1))], ids=["first", "replay"])
async def test_a_batch_that_was_sent_twice_counts_once(server: RedisClient, job: Job) -> None:
    """A batch that the client sends again, because the connection dropped before the answer, counts once."""
    await admit(server, [job], POLICY)
    await admit(server, [job], POLICY)
    ledger = await audit(server)
    assert (ledger.accepted, ledger.pending, ledger.difference) == (1, 1, 0)
    assert await server.xlen(KEYS.log) == 1


async def end_dedupe_window(server: RedisClient, job: Job) -> None:
    """End the dedupe window of an event."""
    assert await server.delete(KEYS.seen_key(job.record.id)) == 1


@pytest.mark.parametrize(
    "policy",
    [
        AdmissionPolicy(dedupe_seconds=100, log_retention_seconds=5_000),
        AdmissionPolicy(dedupe_seconds=5_000, log_retention_seconds=100),
    ],
    ids=["window shorter", "window longer"],
)
async def test_names_end_with_the_dedupe_window_and_with_the_retention(
    server: RedisClient, policy: AdmissionPolicy
) -> None:
    """An event is known while its dedupe window lasts, and its replays are listed while the log keeps them."""
    record = record_of(1)
    await admit(server, [Job.first(record), Job.replay(record)], policy)
    dedupe_ms, retention_ms = policy.dedupe_seconds * 1000, policy.log_retention_seconds * 1000
    assert dedupe_ms - TEST_MS < await server.pttl(KEYS.seen_key(record.id)) <= dedupe_ms
    assert retention_ms - TEST_MS < await server.pttl(KEYS.replays_key(record.id)) <= retention_ms


async def test_a_duplicate_does_not_make_the_dedupe_window_longer(server: RedisClient) -> None:
    """The dedupe window starts when the event comes for the first time."""
    policy = AdmissionPolicy(dedupe_seconds=100)
    await admit(server, [job_of(1)], policy)
    await server.pexpire(KEYS.seen_key(job_of(1).record.id), 50_000)
    await admit(server, [job_of(1)], policy)
    assert 0 < await server.pttl(KEYS.seen_key(job_of(1).record.id)) <= 50_000


async def test_another_replay_keeps_the_names_of_all_replays(server: RedisClient) -> None:
    """The retention of an event's replays starts with the last of them."""
    replays = [Job.replay(record_of(1)) for _ in range(2)]
    await admit(server, replays[:1], POLICY)
    await server.pexpire(KEYS.replays_key(record_of(1).id), 50_000)
    await admit(server, replays[1:], POLICY)
    assert await server.pttl(KEYS.replays_key(record_of(1).id)) > 50_000
    assert await server.scard(KEYS.replays_key(record_of(1).id)) == 2


async def test_after_the_dedupe_window_a_delivered_event_is_run_again(server: RedisClient) -> None:
    """An event that comes after its dedupe window is a new delivery, also if outcomes of retries are still kept."""
    (job,) = await admitted(server, 1)
    (claim,) = (await claimed(server, token="a")).jobs
    failed = HandlerRun("h", "failed", policy=AttemptPolicy(2, 0, 0))
    await settled(server, settlement_of(claim, job, [failed], now_ms=0))
    (claim,) = (await claimed(server, token="b")).jobs
    done = HandlerRun("h", "done")
    await settled(server, settlement_of(claim, job.for_handler("h", attempt=2), [done], now_ms=0))
    assert (await audit(server)).delivered == 1

    await end_dedupe_window(server, job)
    assert await admit(server, [job], POLICY) == [True]
    ledger = await audit(server)
    assert (ledger.accepted, ledger.delivered, ledger.pending, ledger.difference) == (2, 1, 1, 0)
    (claim,) = (await claimed(server, token="c")).jobs
    await settled(server, settlement_of(claim, job, [failed, HandlerRun("g", "failed")], now_ms=0))
    ledger = await audit(server)
    assert (ledger.delivered, ledger.pending, ledger.difference) == (1, 1, 0)


@pytest.mark.parametrize("state", ["queued", "leased", "retrying", "dead"])
async def test_an_event_that_is_not_settled_stays_a_duplicate(server: RedisClient, state: str) -> None:
    """As long as an event is not settled it is a duplicate, however long ago its dedupe window ended."""
    (job,) = await admitted(server, 1)
    if state != "queued":
        (claim,) = (await claimed(server, token="a")).jobs
        if state in {"retrying", "dead"}:
            run = HandlerRun("h", "failed", policy=AttemptPolicy(2 if state == "retrying" else 1))
            await settled(server, settlement_of(claim, job, [run], now_ms=0))
    await end_dedupe_window(server, job)
    assert await admit(server, [job], POLICY) == [False]
    ledger = await audit(server)
    assert (ledger.accepted, ledger.duplicates, ledger.balanced) == (1, 1, True)


async def test_nothing_that_is_pending_or_dead_ends_by_itself(server: RedisClient) -> None:
    """No key that holds an undelivered event, or says what became of it, has a time to live."""
    await admitted(server, 4)
    claims = (await claimed(server, token="a", count=3)).jobs
    jobs = [Job.from_bytes(claim.payload or b"") for claim in claims]
    retrying = HandlerRun("h", "failed")
    dead = HandlerRun("h", "unfit")
    await settled(
        server,
        settlement_of(claims[0], jobs[0], [retrying], now_ms=0),
        settlement_of(claims[1], jobs[1], [dead, HandlerRun("g", "done")], now_ms=0),
    )
    lasting = [name async for name in server.scan_iter() if await server.pttl(name) == -1]
    ending = {name async for name in server.scan_iter()} - set(lasting)
    assert {name.decode().rpartition(":")[0] for name in ending} == {KEYS.seen_prefix.rstrip(":")}
    queued = [KEYS.job_key(job_id) for job_id in await queued_ids(server)]
    assert len(queued) == 3
    kept = [KEYS.log, KEYS.queue, KEYS.ledger, KEYS.leases, KEYS.dead, KEYS.dead_index, KEYS.delivery_key(jobs[1].id)]
    assert {name.decode() for name in lasting} >= {*queued, *kept}


async def test_the_log_is_trimmed_by_age_and_the_queue_is_not(server: RedisClient) -> None:
    """An event that waits longer than the log keeps it is run all the same."""
    await server.xadd(KEYS.log, {"job": job_of(0).to_bytes()}, id="1-1")
    for number in range(1, 300):
        await server.xadd(KEYS.log, {"job": job_of(number).to_bytes()}, id=f"{number + 1}-1")
    await admit(server, [job_of(500)], POLICY)
    assert await server.xlen(KEYS.log) < 250
    await make_due(server, [job_of(500).id])
    assert len((await claimed(server, token="a")).jobs) == 1


@pytest.mark.parametrize("policy", [POLICY, CONFIRMED], ids=["run", "run_and_confirm"])
async def test_scripts_are_loaded_again_when_the_server_forgot_them(
    server: RedisClient, policy: AdmissionPolicy
) -> None:
    """After SCRIPT FLUSH, a restart or a failover, each script is sent once more."""
    for number in range(3):
        await server.script_flush()
        assert await admit(server, [job_of(number)], policy) == [True]
    await server.script_flush()
    claims = await claimed(server, token="a")
    await server.script_flush()
    assert await settle(server, map(delivered, claims.jobs), retention_ms=1000) == set()
    ledger = await audit(server)
    assert (ledger.accepted, ledger.duplicates, ledger.delivered, ledger.balanced) == (3, 0, 3, True)
