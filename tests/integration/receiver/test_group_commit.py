"""Group commit: the events of concurrent requests share batches, and each request hears of its own event."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from broker.admission import BATCH_BYTES, BATCH_EVENTS, AdmissionPolicy, to_redis
from broker.audit import audit
from broker.errors import BrokerUnavailableError
from broker.records import Job
from broker.redis.client import close
from receiver.group_commit import BATCHES_IN_FLIGHT, MAX_WAITING_EVENTS, GroupCommit
from tests.support.events import job_of
from tests.support.store import RedisClient, connect
from tests.support.valkey import ValkeyServer

POLICY = AdmissionPolicy()


async def test_concurrent_events_share_round_trips(server: RedisClient) -> None:
    """Concurrent events fill whole batches, of which a few are in flight at a time, and none is lost behind them."""
    batches = BATCHES_IN_FLIGHT
    to_server = to_redis(server, POLICY)
    sizes: list[int] = []
    in_flight = most_in_flight = 0

    async def write(jobs: Sequence[Job]) -> list[bool]:
        """Write a batch, and note its size."""
        nonlocal in_flight, most_in_flight
        sizes.append(len(jobs))
        in_flight += 1
        most_in_flight = max(most_in_flight, in_flight)
        accepted = await to_server(jobs)
        in_flight -= 1
        return accepted

    commit = GroupCommit(write)
    answers = await asyncio.gather(*(commit.admit(job_of(number)) for number in range(BATCH_EVENTS * batches - 1)))
    assert all(answers)
    assert sizes == [BATCH_EVENTS] * (batches - 1) + [BATCH_EVENTS - 1]
    assert most_in_flight == BATCHES_IN_FLIGHT
    assert (await audit(server)).accepted == BATCH_EVENTS * batches - 1


async def test_events_gather_only_while_batches_are_in_flight(server: RedisClient) -> None:
    """The events of a turn go out at once, until so many batches are in flight that the next events share one."""
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


async def test_what_the_server_is_too_slow_for_overflows(server: RedisClient) -> None:
    """When too many events wait, the oldest overflow; when that is too slow as well, further events fail."""
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
    in_flight = BATCHES_IN_FLIGHT * BATCH_EVENTS
    jobs = [job_of(number) for number in range(MAX_WAITING_EVENTS + in_flight)]
    for job in jobs[:MAX_WAITING_EVENTS]:
        commit.submit(job, verdicts.append)
    await asyncio.sleep(0)  # as many batches as may be are in flight
    for job in jobs[MAX_WAITING_EVENTS:]:
        commit.submit(job, verdicts.append)
    assert not verdicts
    for number in range(BATCH_EVENTS + 1):
        commit.submit(job_of(10_000 + number), verdicts.append)
    await asyncio.sleep(0)
    (refusal,) = verdicts
    assert isinstance(refusal, BrokerUnavailableError)
    assert elsewhere == jobs[in_flight : in_flight + BATCH_EVENTS]
    let_through.set()
    await commit.drain()
    assert verdicts[1:] == [True] * (len(jobs) + BATCH_EVENTS)
    assert (await audit(server)).accepted == len(jobs)


async def test_a_batch_is_bounded_in_bytes(server: RedisClient) -> None:
    """A batch of large events is cut before it has more bytes than a batch may have."""
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


async def test_each_caller_hears_of_its_own_event(server: RedisClient) -> None:
    """Each caller hears whether its own event was accepted or is a duplicate, in whatever order they came."""
    commit = GroupCommit(to_redis(server, POLICY))
    numbers = [1, 2, 1, 3, 2, 1]
    answers = await asyncio.gather(*(commit.admit(job_of(number)) for number in numbers))
    assert answers == [True, True, False, True, False, False]
    assert await commit.admit(job_of(4))
    assert not await commit.admit(job_of(4))


async def test_a_caller_that_goes_away_takes_nobody_with_it(server: RedisClient) -> None:
    """The event of a caller that is cancelled is written all the same, and the others of the batch are answered."""
    commit = GroupCommit(to_redis(server, POLICY))
    callers = [asyncio.create_task(commit.admit(job_of(number))) for number in range(3)]
    await asyncio.sleep(0)
    callers[1].cancel()
    answers = await asyncio.gather(*callers, return_exceptions=True)
    assert [answers[0], answers[2]] == [True, True]
    assert isinstance(answers[1], asyncio.CancelledError)
    assert (await audit(server)).accepted == 3


async def test_drain_waits_for_all_that_was_submitted(server: RedisClient) -> None:
    """`drain` returns when everything submitted before it has been answered."""
    commit = GroupCommit(to_redis(server, POLICY))
    callers = [asyncio.create_task(commit.admit(job_of(number))) for number in range(700)]
    await asyncio.sleep(0)
    await commit.drain()
    assert (await audit(server)).accepted == 700
    assert all(await asyncio.gather(*callers))
    await commit.drain()


async def test_an_outage_is_heard_by_all_who_wait(own_valkey: ValkeyServer) -> None:
    """All events that wait when Redis goes away fail, and the same group commit works again when it is back."""
    server = connect(own_valkey.url())
    commit = GroupCommit(to_redis(server, POLICY))
    assert await commit.admit(job_of(1))
    own_valkey.kill()
    answers = await asyncio.gather(*(commit.admit(job_of(number)) for number in (2, 3, 4)), return_exceptions=True)
    assert [type(answer) for answer in answers] == [BrokerUnavailableError] * 3
    own_valkey.start()
    assert await asyncio.gather(*(commit.admit(job_of(number)) for number in (1, 2))) == [False, True]
    await close(server)
