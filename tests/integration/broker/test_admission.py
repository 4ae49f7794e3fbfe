"""Admission: what was answered as accepted is kept, once, and durably."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import pytest
from arq.connections import ArqRedis

from broker import keys
from broker.admission import BATCH_BYTES, BATCH_EVENTS, AdmissionPolicy, admit, to_redis
from broker.errors import BrokerUnavailableError
from broker.event_log import events
from broker.ledger import audit
from broker.queue import settle
from broker.records import Job
from broker.redis.durability import BY_WAITAOF
from receiver.group_commit import BATCHES_IN_FLIGHT, MAX_WAITING_EVENTS, GroupCommit
from tests.support.events import admitted, claimed, delivered, job_of, make_due, queued_ids, record_of, settled
from worker.running.verdicts import AttemptPolicy, HandlerRun, settlement_of

POLICY = AdmissionPolicy()
CONFIRMED = AdmissionPolicy(confirmation=BY_WAITAOF)


async def test_what_is_accepted_is_queued_logged_and_counted(server: ArqRedis) -> None:
    """All of it in one go."""
    job = job_of(1)
    assert await admit(server, [job], POLICY) == [True]
    (claim,) = (await claimed(server, token="a")).jobs
    assert Job.from_bytes(claim.payload or b"") == job
    (logged,) = [event async for event in events(server)]
    assert logged.record == job.record
    ledger = await audit(server)
    assert (ledger.accepted, ledger.pending, ledger.balanced) == (1, 1, True)


@pytest.mark.parametrize("policy", [POLICY, CONFIRMED], ids=["by reply", "by WAITAOF"])
async def test_a_duplicate_is_recognised(server: ArqRedis, policy: AdmissionPolicy) -> None:
    """In the same batch, later, and after it was delivered."""
    assert await admit(server, [job_of(1), job_of(2), job_of(1)], policy) == [True, True, False]
    assert await admit(server, [job_of(2), job_of(3)], policy) == [False, True]
    claims = await claimed(server, token="a")
    await settled(server, *map(delivered, claims.jobs))
    assert await admit(server, [job_of(1)], policy) == [False]
    ledger = await audit(server)
    assert (ledger.accepted, ledger.duplicates, ledger.delivered, ledger.balanced) == (3, 3, 3, True)


async def test_a_replay_is_no_duplicate(server: ArqRedis) -> None:
    """It is a delivery of its own, while the first is pending and afterwards."""
    record = record_of(1)
    assert await admit(server, [Job.first(record), Job.replay(record), Job.replay(record)], POLICY) == [True] * 3
    claims = await claimed(server, token="a")
    assert len({claim.job_id for claim in claims.jobs}) == 3
    ledger = await audit(server)
    assert (ledger.accepted, ledger.duplicates, ledger.balanced) == (3, 0, True)


@pytest.mark.parametrize("job", [job_of(1), Job.replay(record_of(1))], ids=["first", "replay"])
async def test_a_batch_that_was_sent_twice_counts_once(server: ArqRedis, job: Job) -> None:
    """As when the connection drops before the answer: the client sends the same command again."""
    await admit(server, [job], POLICY)
    await admit(server, [job], POLICY)
    ledger = await audit(server)
    assert (ledger.accepted, ledger.pending, ledger.difference) == (1, 1, 0)
    assert await server.xlen(keys.LOG) == 1


async def end_dedupe_window(server: ArqRedis, job: Job) -> None:
    """Let the dedupe window of an event end, without waiting for it."""
    assert await server.delete(keys.seen_key(job.record.id)) == 1


async def test_the_dedupe_window_is_the_policys(server: ArqRedis) -> None:
    """It starts with the first delivery, and a duplicate does not make it longer."""
    await admit(server, [job_of(1)], AdmissionPolicy(dedupe_seconds=100))
    await server.pexpire(keys.seen_key(job_of(1).record.id), 50_000)
    await admit(server, [job_of(1)], AdmissionPolicy(dedupe_seconds=100))
    assert 0 < await server.pttl(keys.seen_key(job_of(1).record.id)) <= 50_000


async def test_after_the_dedupe_window_a_delivered_event_is_run_again(server: ArqRedis) -> None:
    """Also one that needed retries, whose outcomes are still kept; and the ledger balances."""
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
async def test_an_event_that_is_not_settled_stays_a_duplicate(server: ArqRedis, state: str) -> None:
    """However long ago its dedupe window ended: a second delivery would mix with the first."""
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


async def test_nothing_that_is_pending_or_dead_ends_by_itself(server: ArqRedis) -> None:
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
    assert {name.decode().rpartition(":")[0] for name in ending} == {keys.SEEN_PREFIX.rstrip(":")}
    queued = [keys.job_key(job_id) for job_id in await queued_ids(server)]
    assert len(queued) == 3
    kept = [keys.LOG, keys.QUEUE, keys.LEDGER, keys.LEASES, keys.DEAD, keys.DEAD_INDEX, keys.delivery_key(jobs[1].id)]
    assert {name.decode() for name in lasting} >= {*queued, *kept}


async def test_the_log_is_trimmed_by_age_and_the_queue_is_not(server: ArqRedis) -> None:
    """An event that waits longer than the log is kept is run all the same."""
    await server.xadd(keys.LOG, {"job": job_of(0).to_bytes()}, id="1-1")
    for number in range(1, 300):
        await server.xadd(keys.LOG, {"job": job_of(number).to_bytes()}, id=f"{number + 1}-1")
    await admit(server, [job_of(500)], POLICY)
    assert await server.xlen(keys.LOG) < 250
    await make_due(server, [job_of(500).id])
    assert len((await claimed(server, token="a")).jobs) == 1


async def test_concurrent_events_share_round_trips(server: ArqRedis) -> None:
    """As many as fit into a batch; some batches at a time, and none is lost behind them."""
    batches = BATCHES_IN_FLIGHT
    to_server = to_redis(server, POLICY)
    sizes: list[int] = []
    under_way = most_under_way = 0

    async def write(jobs: Sequence[Job]) -> list[bool]:
        """Write a batch, and note its size."""
        nonlocal under_way, most_under_way
        sizes.append(len(jobs))
        under_way += 1
        most_under_way = max(most_under_way, under_way)
        accepted = await to_server(jobs)
        under_way -= 1
        return accepted

    commit = GroupCommit(write)
    answers = await asyncio.gather(*(commit.admit(job_of(number)) for number in range(BATCH_EVENTS * batches - 1)))
    assert all(answers)
    assert sizes == [BATCH_EVENTS] * (batches - 1) + [BATCH_EVENTS - 1]
    assert most_under_way == BATCHES_IN_FLIGHT
    assert (await audit(server)).accepted == BATCH_EVENTS * batches - 1


async def test_events_gather_only_while_batches_are_under_way(server: ArqRedis) -> None:
    """Each turn's events go out at once; with some batches on their way the next ones share one."""
    to_server = to_redis(server, POLICY)
    arrived: asyncio.Queue[int] = asyncio.Queue()
    let_through = asyncio.Event()

    async def write(jobs: Sequence[Job]) -> list[bool]:
        """Write a batch, once it may."""
        arrived.put_nowait(len(jobs))
        await let_through.wait()
        return await to_server(jobs)

    commit = GroupCommit(write)
    callers = []
    for number in range(BATCHES_IN_FLIGHT):
        callers.append(asyncio.create_task(commit.admit(job_of(number))))
        assert await arrived.get() == 1
    for number in range(BATCHES_IN_FLIGHT, BATCHES_IN_FLIGHT + 10):
        callers.append(asyncio.create_task(commit.admit(job_of(number))))
        await asyncio.sleep(0)
    assert arrived.empty()
    let_through.set()
    assert await arrived.get() == 10
    assert await asyncio.gather(*callers) == [True] * (BATCHES_IN_FLIGHT + 10)


async def test_what_is_more_than_the_server_takes_goes_elsewhere(server: ArqRedis) -> None:
    """Those that have waited longest; and when that is not fast enough either, the next are told so."""
    to_server = to_redis(server, POLICY)
    let_through = asyncio.Event()
    elsewhere: list[Job] = []

    async def write(jobs: Sequence[Job]) -> list[bool]:
        """Write a batch, once it may."""
        await let_through.wait()
        return await to_server(jobs)

    async def overflow(jobs: Sequence[Job]) -> list[bool]:
        """Keep a batch elsewhere, once it may."""
        elsewhere.extend(jobs)
        await let_through.wait()
        return [True] * len(jobs)

    commit = GroupCommit(write, overflow=overflow)
    verdicts: list[bool | Exception] = []
    under_way = BATCHES_IN_FLIGHT * BATCH_EVENTS
    jobs = [job_of(number) for number in range(MAX_WAITING_EVENTS + under_way)]
    for job in jobs[:MAX_WAITING_EVENTS]:
        commit.submit(job, verdicts.append)
    await asyncio.sleep(0)  # as many batches as may be are under way
    for job in jobs[MAX_WAITING_EVENTS:]:
        commit.submit(job, verdicts.append)
    assert not verdicts
    for number in range(BATCH_EVENTS + 1):
        commit.submit(job_of(10_000 + number), verdicts.append)
    await asyncio.sleep(0)
    (refusal,) = verdicts
    assert isinstance(refusal, BrokerUnavailableError)
    assert elsewhere == jobs[under_way : under_way + BATCH_EVENTS]
    let_through.set()
    await commit.drain()
    assert verdicts[1:] == [True] * (len(jobs) + BATCH_EVENTS)
    assert (await audit(server)).accepted == len(jobs)


async def test_a_batch_is_bounded_in_bytes(server: ArqRedis) -> None:
    """So that a few large events do not keep the server busy, or take up the memory, that one batch may."""
    sizes: list[int] = []
    to_server = to_redis(server, POLICY)

    async def write(jobs: Sequence[Job]) -> list[bool]:
        """Write a batch, and note its size."""
        sizes.append(len(jobs))
        return await to_server(jobs)

    commit = GroupCommit(write)
    jobs = [job_of(number, subject="x" * size) for number, size in enumerate([BATCH_BYTES // 2] * 3 + [BATCH_BYTES])]
    assert await asyncio.gather(*map(commit.admit, jobs)) == [True] * 4
    assert sizes == [1, 1, 1, 1]


async def test_a_group_commit_tells_each_caller_its_own_verdict(server: ArqRedis) -> None:
    """Accepted or duplicate, in whatever order they came."""
    commit = GroupCommit(to_redis(server, POLICY))
    numbers = [1, 2, 1, 3, 2, 1]
    answers = await asyncio.gather(*(commit.admit(job_of(number)) for number in numbers))
    assert answers == [True, True, False, True, False, False]
    assert await commit.admit(job_of(4))
    assert not await commit.admit(job_of(4))


async def test_a_caller_that_goes_away_takes_nobody_with_it(server: ArqRedis) -> None:
    """Its event is written all the same, and the others of the batch are answered."""
    commit = GroupCommit(to_redis(server, POLICY))
    callers = [asyncio.create_task(commit.admit(job_of(number))) for number in range(3)]
    await asyncio.sleep(0)
    callers[1].cancel()
    answers = await asyncio.gather(*callers, return_exceptions=True)
    assert [answers[0], answers[2]] == [True, True]
    assert isinstance(answers[1], asyncio.CancelledError)
    assert (await audit(server)).accepted == 3


async def test_drain_waits_for_all_that_was_handed_in(server: ArqRedis) -> None:
    """What the receiver does before it ends."""
    commit = GroupCommit(to_redis(server, POLICY))
    callers = [asyncio.create_task(commit.admit(job_of(number))) for number in range(700)]
    await asyncio.sleep(0)
    await commit.drain()
    assert (await audit(server)).accepted == 700
    assert all(await asyncio.gather(*callers))
    await commit.drain()


@pytest.mark.parametrize("policy", [POLICY, CONFIRMED], ids=["run", "run_and_confirm"])
async def test_scripts_are_loaded_again_when_the_server_forgot_them(server: ArqRedis, policy: AdmissionPolicy) -> None:
    """After SCRIPT FLUSH, a restart or a failover."""
    for number in range(3):
        await server.script_flush()
        assert await admit(server, [job_of(number)], policy) == [True]
    await server.script_flush()
    claims = await claimed(server, token="a")
    await server.script_flush()
    assert await settle(server, map(delivered, claims.jobs), retention_ms=1000) == set()
    ledger = await audit(server)
    assert (ledger.accepted, ledger.duplicates, ledger.delivered, ledger.balanced) == (3, 0, 3, True)
