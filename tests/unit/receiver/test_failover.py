"""The failover writer: where events go while Redis takes them, does not, and does again. Redis is a function here."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack
from pathlib import Path

import pytest

from broker.errors import BrokerUnavailableError
from broker.records import Job
from receiver import failover as failover_module
from receiver.failover import DRAIN_EVENTS, FailoverWriter
from receiver.spool import Spool
from tests.support.events import ids_of, job_of, jobs_of
from tests.support.failover import Bench
from tests.support.logwatch import LogWatch, watching
from tests.support.spooling import ROOM, closed_spool, files_in, taken_up


@pytest.fixture
async def log() -> AsyncIterator[LogWatch]:
    """The log."""
    with watching() as watch:
        yield watch


@pytest.fixture
async def bench(tmp_path: Path, log: LogWatch) -> AsyncIterator[Bench]:
    """A bench that is cleared in the end."""
    async with AsyncExitStack() as stack:
        yield Bench(tmp_path / "spool", stack)


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Waits are short."""
    monkeypatch.setattr(failover_module, "_LONGEST_WAIT_SECONDS", 0.01)


async def test_while_redis_takes_events_nothing_is_spooled(bench: Bench) -> None:
    """While Redis takes events its verdicts are the answers, and the spool stays empty."""
    failover = await bench.open()
    assert await failover.write(jobs_of(1, 2)) == [True, True]
    assert await failover.write(jobs_of(2, 3)) == [False, True]
    assert (failover.state, failover.ready, failover.spooled_events, failover.spooled_bytes) == ("direct", True, 0, 0)


async def test_what_redis_refuses_is_spooled_and_drained_in_order(bench: Bench, log: LogWatch) -> None:
    """What Redis refuses is spooled and drained in order, with one line of log for each change of state."""
    failover = await bench.open()
    bench.store.away = True
    for number in range(10):
        assert await failover.write(jobs_of(number)) == [True]
    assert (failover.state, failover.ready, failover.spooled_events) == ("spooling", True, 10)
    assert failover.spooled_bytes > 0
    bench.store.away = False
    drained = await log.until("drain.finished")
    assert bench.store.ids == ids_of(*range(10))
    assert drained["events"] == 10
    assert log.names("spooling.", "drain.") == ["spooling.started", "drain.started", "drain.finished"]
    assert (failover.state, failover.spooled_events, files_in(bench.folder)) == ("direct", 0, [])
    assert await failover.write(jobs_of(10)) == [True]
    assert bench.store.batches[-1] == ids_of(10)


async def test_a_batch_does_not_wait_for_a_redis_that_is_known_to_be_away(bench: Bench) -> None:
    """Once Redis is known to be away, batches do not ask it, but only the draining does."""
    failover = await bench.open(write_seconds=0.05)
    bench.store.gate.clear()
    await failover.write(jobs_of(1))
    tries = bench.store.tries
    for number in range(2, 12):
        async with asyncio.timeout(1):
            await failover.write(jobs_of(number))
    assert bench.store.tries <= tries + 2
    assert failover.spooled_events == 11


async def test_a_redis_that_does_not_answer_is_an_outage(bench: Bench, log: LogWatch) -> None:
    """If Redis does not answer within its time, events are spooled."""
    failover = await bench.open(write_seconds=0.05)
    bench.store.gate.clear()
    assert await failover.write(jobs_of(1)) == [True]
    assert "no answer within 0.05 s" in (await log.until("spooling.started"))["reason"]
    bench.store.gate.set()
    await log.until("drain.finished")
    assert set(bench.store.ids) == set(ids_of(1))


async def test_what_is_spooled_already_is_a_duplicate(bench: Bench) -> None:
    """An event is recognised in one batch and in the next, and a replay is always new."""
    failover = await bench.open()
    bench.store.away = True
    assert await failover.write(jobs_of(1, 2, 1)) == [True, True, False]
    assert await failover.write(jobs_of(2, 3)) == [False, True]
    replay = Job.replay(job_of(1).record)
    assert await failover.write([replay, replay]) == [True, True]
    assert failover.spooled_events == 5


async def test_live_events_go_first_while_the_spool_is_drained(bench: Bench, log: LogWatch) -> None:
    """Live events do not wait behind those that are spooled."""
    await closed_spool(bench.folder, [job_of(number) for number in range(3 * DRAIN_EVENTS)])
    slow = bench.store

    async def write_slowly(jobs: Sequence[Job]) -> list[bool]:
        if len(jobs) > 1:
            await asyncio.sleep(0.02)  # as a store takes longer over more
        return await slow.write(jobs)

    async with Spool(bench.folder, max_bytes=ROOM) as spool, FailoverWriter(write_slowly, spool) as failover:
        await log.until("drain.started")
        (late,) = jobs_of(999_999)
        assert await failover.write([late]) == [True]
        assert failover.state == "draining"
        assert failover.spooled_events > 0
        await log.until("drain.finished")
    assert slow.ids.index(late.id) < 3 * DRAIN_EVENTS
    assert [job_id for job_id in slow.ids if job_id != late.id] == ids_of(*range(3 * DRAIN_EVENTS))


async def test_the_drain_leaves_half_of_the_time_to_others(bench: Bench, log: LogWatch) -> None:
    """After each batch but the last, the draining pauses for as long as the batch took."""
    await closed_spool(bench.folder, [job_of(number) for number in range(4 * DRAIN_EVENTS)])

    async def write(jobs: Sequence[Job]) -> list[bool]:
        await asyncio.sleep(0.03)
        return [True] * len(jobs)

    loop = asyncio.get_running_loop()
    async with Spool(bench.folder, max_bytes=ROOM) as spool, FailoverWriter(write, spool):
        await log.until("drain.started")
        started = loop.time()  # the first batch is written
        await log.until("drain.finished")
    assert loop.time() - started >= 3 * 0.03 + 3 * 0.03


async def test_an_outage_in_the_middle_of_the_drain_is_one_more_change(bench: Bench, log: LogWatch) -> None:
    """An outage during the draining leaves out nothing, and what comes meanwhile is drained too."""
    await closed_spool(bench.folder, [job_of(number) for number in range(3 * DRAIN_EVENTS)])
    failover = await bench.open()
    await log.until("drain.started")
    bench.store.away = True
    await log.until("spooling.started")
    await failover.write(jobs_of(5000))
    bench.store.away = False
    await log.until("drain.finished")
    assert bench.store.ids == ids_of(*range(3 * DRAIN_EVENTS), 5000)
    assert log.names("spooling.", "drain.") == ["drain.started", "spooling.started", "drain.started", "drain.finished"]


@pytest.mark.usefixtures("impatient")
async def test_after_failures_the_drain_tries_fewer_at_a_time(bench: Bench, log: LogWatch) -> None:
    """The draining tries smaller batches after failures, and larger ones again after successes."""
    await closed_spool(bench.folder, [job_of(number) for number in range(2 * DRAIN_EVENTS)])
    most = 10

    async def write(jobs: Sequence[Job]) -> list[bool]:
        if len(jobs) > most:
            raise BrokerUnavailableError("too many")
        return await bench.store.write(jobs)

    async with Spool(bench.folder, max_bytes=ROOM) as spool, FailoverWriter(write, spool):
        await log.until("drain.started")
        most = 10_000
        await log.until("drain.finished")
    sizes = [len(batch) for batch in bench.store.batches]
    assert sizes[0] == 8
    assert max(sizes) > 64
    assert bench.store.ids == ids_of(*range(2 * DRAIN_EVENTS))


async def test_what_is_too_much_for_redis_can_be_spooled_at_once(bench: Bench, log: LogWatch) -> None:
    """Events that are too much for Redis are spooled without asking it, and drained as usual."""
    failover = await bench.open()
    assert await failover.spool(jobs_of(1, 2)) == [True, True]
    await log.until("drain.finished")
    assert bench.store.ids == ids_of(1, 2)


@pytest.mark.usefixtures("impatient")
async def test_when_the_spool_is_full_nothing_is_accepted(bench: Bench, log: LogWatch) -> None:
    """While the spool is full nothing is accepted, which is logged once, and readiness is red until Redis is back."""
    failover = await bench.open(max_bytes=100_000)
    bench.store.away = True
    kept = []

    async def fill() -> None:
        for number in range(1000):
            await failover.write([job_of(number)])
            kept.append(number)

    with pytest.raises(BrokerUnavailableError, match="KONVOX_SPOOL_MAX_BYTES"):
        await fill()
    with pytest.raises(BrokerUnavailableError):
        await failover.write(jobs_of(1000))
    assert (failover.state, failover.ready) == ("spooling", False)
    assert len(kept) > 20
    bench.store.away = False
    await log.until("drain.finished")
    assert bench.store.ids == ids_of(*kept)
    assert failover.ready
    assert log.names("storage.") == ["storage.lost"]


@pytest.mark.usefixtures("impatient")
async def test_a_spool_that_can_be_written_again_is_ready_again(bench: Bench, log: LogWatch) -> None:
    """A spool that can be written again is ready without another event, as none is sent to a red receiver."""
    failover = await bench.open(max_bytes=100_000)
    bench.store.away = True
    await failover.write(jobs_of(1))
    with pytest.raises(BrokerUnavailableError):
        await failover.write([job_of(2, subject="x" * 100_000)])
    assert not failover.ready
    await log.until("storage.restored")
    assert (failover.state, failover.ready, failover.spooled_events) == ("spooling", True, 1)


async def test_what_is_spooled_stays_when_the_receiver_stops(bench: Bench) -> None:
    """What is still spooled at a stop is drained by the next process."""
    failover = await bench.open()
    bench.store.away = True
    await failover.write(jobs_of(1, 2))
    await bench.close()
    assert await taken_up(bench.folder) == ids_of(1, 2)


async def test_the_batch_under_way_is_finished_when_the_receiver_stops(bench: Bench) -> None:
    """The batch is taken out of the spool before the writer is closed, or it would be drained twice."""
    await closed_spool(bench.folder, jobs_of(1, 2))
    bench.store.gate.clear()
    asked = asyncio.create_task(bench.store.until_asked())
    await bench.open()
    await asked
    closing = asyncio.create_task(bench.close())
    bench.store.gate.set()
    await closing
    assert bench.store.ids == ids_of(1, 2)
    assert files_in(bench.folder) == []


async def test_what_another_process_leaves_over_is_found_later_too(bench: Bench, log: LogWatch) -> None:
    """A writer adopts what others leave over, without an outage of its own."""
    failover = await bench.open(adopt_seconds=0.02)
    async with Spool(bench.folder, max_bytes=ROOM) as other:
        await other.append(jobs_of(1, 2))
        assert await failover.write(jobs_of(3)) == [True]
    await log.until("drain.finished")
    assert bench.store.ids == ids_of(3, 1, 2)
    assert log.of("spool.adopted")[0]["events"] == 2


@pytest.mark.usefixtures("impatient")
async def test_a_fault_of_ours_does_not_end_the_draining(bench: Bench, log: LogWatch) -> None:
    """A bug is logged with its traceback, and the draining is tried again."""
    await closed_spool(bench.folder, jobs_of(1, 2))
    faults = [RuntimeError("a bug")]

    async def write(jobs: Sequence[Job]) -> list[bool]:
        if faults:
            raise faults.pop()
        return await bench.store.write(jobs)

    async with Spool(bench.folder, max_bytes=ROOM) as spool, FailoverWriter(write, spool):
        assert (await log.until("failover.failed"))["exc_info"]
        await log.until("drain.finished")
    assert bench.store.ids == ids_of(1, 2)
