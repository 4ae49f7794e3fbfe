"""The failover writer and its disk: batches share an fsync, and a disk that fails or hangs is given up in time."""

from __future__ import annotations

import asyncio
import os
import threading
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import pytest

from broker.errors import BrokerUnavailableError
from broker.records import Job
from receiver import failover as failover_module
from receiver.errors import SpoolError, SpoolFullError
from receiver.failover import FailoverWriter
from receiver.spool import Spool, SpoolBatch
from receiver.spool import spool as spool_module
from tests.support.events import ids_of, jobs_of
from tests.support.failover import Bench, Store
from tests.support.logwatch import LogWatch, watching
from tests.support.spooling import closed_spool


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


class SlowDisk:
    """A spool whose appends a test lets through, one by one.

    Attributes:
        appended: the events of each append, in order.
    """

    def __init__(self) -> None:
        self.appended: list[list[str]] = []
        self.count = self.used_bytes = 0
        self.fault: SpoolError | None = None
        self.gate = asyncio.Semaphore(0)

    async def append(self, jobs: Sequence[Job]) -> list[bool]:
        """Take a batch when it is let through; every second event is a duplicate."""
        self.appended.append([job.id for job in jobs])
        await self.gate.acquire()
        if self.fault is not None:
            raise self.fault
        return [index % 2 == 0 for index in range(len(jobs))]


def failover_on(disk: SlowDisk) -> FailoverWriter:
    """A writer that spools to it."""
    spool: Any = disk
    return FailoverWriter(Store().write, spool)


async def test_batches_that_wait_for_the_disk_are_appended_together() -> None:
    """Batches that wait for the disk share one fsync, and each gets its own verdicts."""
    disk = SlowDisk()
    failover = failover_on(disk)
    first = asyncio.create_task(failover.spool(jobs_of(1)))
    await asyncio.sleep(0)
    others = [asyncio.create_task(failover.spool(jobs_of(*numbers))) for numbers in ((2, 3), (4,), (5, 6, 7))]
    await asyncio.sleep(0)
    assert disk.appended == [ids_of(1)]
    disk.gate.release()
    assert await first == [True]
    disk.gate.release()
    assert await asyncio.gather(*others) == [[True, False], [True], [False, True, False]]
    assert disk.appended == [ids_of(1), ids_of(2, 3, 4, 5, 6, 7)]


async def test_batches_behind_one_that_failed_do_not_try_once_more() -> None:
    """Batches that waited behind a time-out of the disk fail with it, and those that come later do try."""
    disk = SlowDisk()
    disk.fault = SpoolError("the disk did not answer within 4 s")
    failover = failover_on(disk)
    tasks = [asyncio.create_task(failover.spool(jobs_of(number))) for number in (1, 2, 3)]
    await asyncio.sleep(0)
    late = asyncio.create_task(failover.spool(jobs_of(4)))
    await asyncio.sleep(0)
    disk.gate.release()
    outcomes = await asyncio.gather(*tasks, late, return_exceptions=True)
    assert {type(outcome) for outcome in outcomes} == {BrokerUnavailableError}
    assert not failover.ready or failover.state == "direct"
    disk.fault = None
    disk.gate.release()
    assert await failover.spool(jobs_of(5)) == [True]
    assert disk.appended[-1] == ids_of(5)


async def test_a_batch_behind_one_that_was_too_large_is_kept() -> None:
    """A batch that waits behind one that was too large is tried on its own."""
    disk = SlowDisk()
    disk.fault = SpoolFullError("full")
    failover = failover_on(disk)
    first = asyncio.create_task(failover.spool(jobs_of(1)))
    await asyncio.sleep(0)
    second = asyncio.create_task(failover.spool(jobs_of(2)))
    await asyncio.sleep(0)
    disk.gate.release()
    with pytest.raises(BrokerUnavailableError):
        await first
    disk.fault = None
    disk.gate.release()
    assert await second == [True]


@pytest.fixture
def hung_disk(monkeypatch: pytest.MonkeyPatch) -> Iterator[threading.Event]:
    """A disk that answers, until the event is cleared; it is given little time."""
    answers = threading.Event()
    answers.set()
    fdatasync = os.fdatasync

    def sync(descriptor: int) -> None:
        answers.wait()
        fdatasync(descriptor)

    monkeypatch.setattr(os, "fdatasync", sync)
    monkeypatch.setattr(spool_module, "DISK_SECONDS", 0.1)
    yield answers
    answers.set()


@pytest.mark.usefixtures("impatient")
async def test_a_disk_that_never_answers_is_given_up_in_time(
    bench: Bench, log: LogWatch, hung_disk: threading.Event
) -> None:
    """If the disk never answers, readiness is red, live events still go to Redis, and the writer stops in time."""
    failover = await bench.open()
    bench.store.away = True
    await failover.write(jobs_of(1))
    hung_disk.clear()
    async with asyncio.timeout(2):
        for _ in range(3):
            with pytest.raises(BrokerUnavailableError, match="the disk did not answer"):
                await failover.write(jobs_of(2))
    assert not failover.ready
    bench.store.away = False
    await log.until("drain.started")
    async with asyncio.timeout(2):
        assert await failover.write(jobs_of(3)) == [True]
        await bench.close()


async def test_a_batch_that_cannot_be_taken_out_in_time_does_not_end_the_draining(
    bench: Bench, log: LogWatch, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A batch that Redis has and the disk does not let go is drained once more, and Redis knows it."""
    monkeypatch.setattr(failover_module, "_LONGEST_WAIT_SECONDS", 0.01)
    await closed_spool(bench.folder, jobs_of(1, 2))
    faults = [SpoolError("the disk did not answer within 4 s")]
    remove = Spool.remove

    async def remove_later(spool: Spool, batch: SpoolBatch) -> None:
        if faults:
            raise faults.pop()
        await remove(spool, batch)

    monkeypatch.setattr(Spool, "remove", remove_later)
    await bench.open()
    await log.until("drain.finished")
    assert log.of("drain.not_recorded")[0]["reason"] == "the disk did not answer within 4 s"
    assert set(bench.store.ids) == set(ids_of(1, 2))
    assert log.of("failover.failed") == []
