"""The spools of a folder: what is in them, whose they are, and what happens to those that nobody has any more."""

from __future__ import annotations

import asyncio
import errno
import fcntl
import os
import shutil
import stat
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from broker.records import Job
from receiver.errors import SpoolError, SpoolFullError
from receiver.spool import Spool, spooled_events
from receiver.spool.folder import take_lock
from receiver.spool.spool import BATCH_BYTES
from tests.support.events import ids_of, job_of, jobs_of
from tests.support.logwatch import LogWatch, watching
from tests.support.spooling import ROOM, closed_spool, crashed_spool, drain, files_in, image_of, taken_up


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Where the spools are; it does not exist yet."""
    return tmp_path / "data" / "spool"


@pytest.fixture
async def spool(folder: Path) -> AsyncIterator[Spool]:
    """A process's view of the folder."""
    async with Spool(folder, max_bytes=ROOM) as opened:
        yield opened


@pytest.fixture
async def log() -> AsyncIterator[LogWatch]:
    """The log."""
    with watching() as watch:
        yield watch


async def test_events_come_out_as_they_went_in(spool: Spool) -> None:
    """Events come out in order and with all that belongs to them, small and large."""
    jobs = [
        job_of(1),
        Job.replay(job_of(1).record),
        job_of(2, subject="naïve ☃ " * 5_000),
        job_of(3, subject="x" * 1_000_000),
        job_of(4).for_handler("handlers.slack", attempt=3),
    ]
    assert await spool.append(jobs) == [True] * 5
    batch = await spool.oldest(10)
    assert batch is not None
    assert batch.jobs == jobs
    await spool.remove(batch)
    assert await spool.oldest(10) is None


async def test_a_batch_to_drain_is_bounded_in_bytes(spool: Spool) -> None:
    """A batch to drain is bounded in bytes, although a single event may be larger than the bound."""
    large = [job_of(number, subject="x" * (BATCH_BYTES // 3)) for number in range(4)]
    await spool.append([*large, job_of(5, subject="x" * 2 * BATCH_BYTES), job_of(6)])
    sizes = []
    while (batch := await spool.oldest(100)) is not None:
        sizes.append(len(batch.jobs))
        await spool.remove(batch)
    assert sizes == [2, 2, 1, 1]


async def test_the_count_and_the_bytes_are_those_of_what_waits(spool: Spool) -> None:
    """Count and bytes of a spool follow what is added and taken out, and are zero at first and in the end."""
    assert (spool.count, spool.used_bytes) == (0, 0)
    await spool.append([job_of(number) for number in range(100)])
    assert spool.count == 100
    assert 50_000 < spool.used_bytes < 200_000
    batch = await spool.oldest(60)
    assert batch is not None
    await spool.remove(batch)
    assert spool.count == 40
    await drain(spool)
    assert (spool.count, spool.used_bytes) == (0, 0)


async def test_an_event_may_come_again_once_it_has_been_drained(spool: Spool) -> None:
    """An event is a duplicate until it has been drained; afterwards it is for Redis to know it."""
    await spool.append(jobs_of(1, 2))
    assert await spool.append(jobs_of(1)) == [False]
    batch = await spool.oldest(1)
    assert batch is not None
    await spool.remove(batch)
    assert await spool.append(jobs_of(1, 2)) == [True, False]
    assert await drain(spool) == ids_of(2, 1)


@pytest.mark.parametrize("umask", [0o000, 0o077, 0o777])
async def test_only_the_owner_may_read_what_is_spooled(umask: int, folder: Path) -> None:
    """Only the owner may read a spool, under any umask, because events are about people."""
    folder.parent.mkdir(parents=True)
    usual = os.umask(umask)
    try:
        async with Spool(folder, max_bytes=ROOM) as spool:
            await spool.append(jobs_of(1))
            assert stat.S_IMODE(folder.stat().st_mode) == 0o700
            assert {stat.S_IMODE(path.stat().st_mode) for path in folder.iterdir()} == {0o600}
            assert len(files_in(folder)) == 2
    finally:
        os.umask(usual)


async def test_a_bound_holds_for_all_spools_of_the_folder(folder: Path) -> None:
    """One bound holds for all spools of a folder: a batch is kept as a whole or not, and draining makes room."""
    await closed_spool(folder, [job_of(number) for number in range(200)])
    async with Spool(folder, max_bytes=300_000) as spool:

        async def fill() -> None:
            for number in range(1000, 2000, 10):
                await spool.append([job_of(number + index) for index in range(10)])

        with pytest.raises(SpoolFullError, match="KONVOX_SPOOL_MAX_BYTES"):
            await fill()
        added = spool.count
        assert added > 0
        assert added % 10 == 0
        assert sum(path.stat().st_size for path in folder.glob("*.segment")) < 300_000
        with pytest.raises(SpoolFullError):
            await spool.append([job_of(5000, subject="x" * 300_000)])
        await spool.adopt()
        assert len(await drain(spool)) == 200 + added
        assert await spool.append([job_of(number) for number in range(200)]) == [True] * 200


async def test_a_spool_that_is_drained_leaves_no_file(spool: Spool, folder: Path) -> None:
    """All files of a drained spool are removed, and the next event makes new ones."""
    await spool.append(jobs_of(1))
    await drain(spool)
    assert files_in(folder) == []
    await spool.append(jobs_of(2))
    assert await drain(spool) == ids_of(2)


async def test_processes_on_one_folder_leave_each_others_spools_alone(spool: Spool, folder: Path) -> None:
    """A process drains only its own events as long as the other lives."""
    await spool.append(jobs_of(1))
    async with Spool(folder, max_bytes=ROOM) as other:
        await other.append(jobs_of(2))
        for process, expected in ((other, ids_of(2)), (spool, ids_of(1))):
            await process.adopt()
            assert await drain(process) == expected


async def test_left_over_spools_are_drained_oldest_first(folder: Path) -> None:
    """Events of stopped and of killed processes are drained before one's own, and each of them once."""
    await closed_spool(folder, jobs_of(1, 2))
    await crashed_spool(folder.with_name("crashed"), jobs_of(3), jobs_of(4))
    for path in folder.with_name("crashed").iterdir():
        shutil.move(path, folder)
    async with Spool(folder, max_bytes=ROOM) as spool, Spool(folder, max_bytes=ROOM) as other:
        await asyncio.gather(spool.append(jobs_of(6)), other.append(jobs_of(5)))
        await asyncio.gather(spool.adopt(), other.adopt())
        assert spool.count + other.count == 6
        ids = await drain(spool), await drain(other)
    assert sorted(ids[0] + ids[1]) == sorted(ids_of(1, 2, 3, 4, 5, 6))
    assert [job_id for job_id in ids[0] if job_id in ids_of(1, 2, 3, 4, 6)] == ids[0]
    assert ids[0][-1] == ids_of(6)[0]
    assert files_in(folder) == []


async def test_a_spool_that_was_drained_halfway_goes_on_from_there(folder: Path, log: LogWatch) -> None:
    """After a stop or a crash, draining begins behind what was drained, and that is no damage."""
    async with Spool(folder, max_bytes=ROOM) as spool:
        await spool.append(jobs_of(*range(10)))
        batch = await spool.oldest(4)
        assert batch is not None
        await spool.remove(batch)
        image_of(folder, folder.with_name("crashed"))
    assert await taken_up(folder.with_name("crashed")) == await taken_up(folder) == ids_of(*range(4, 10))
    assert log.names("spool.") == ["spool.adopted"] * 2


async def test_the_name_of_a_segment_says_what_waits_first(spool: Spool, folder: Path) -> None:
    """A segment's name says what waits first, because a full disk would refuse a write to the file."""
    await spool.append(jobs_of(*range(10)))
    for drained in (0, 3, 7):
        assert [path.name.split(".")[1] for path in folder.glob("*.segment")] == [f"{drained + 1:012d}"]
        batch = await spool.oldest(3 if drained == 0 else 4)
        assert batch is not None
        await spool.remove(batch)
    assert files_in(folder) == []


async def test_what_is_drained_and_could_not_be_recorded_is_known_as_long_as_the_process_lives(
    spool: Spool, folder: Path, log: LogWatch, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A drained event that could not be recorded is drained again only by a process that adopts the segment."""
    await spool.append(jobs_of(*range(10)))
    batch = await spool.oldest(4)
    assert batch is not None
    with monkeypatch.context() as patched:
        patched.setattr(Path, "rename", no_rename)
        await spool.remove(batch)
    assert log.of("drain.not_recorded")[0]["reason"] == "Read-only file system"
    image_of(folder, folder.with_name("crashed"))
    assert await drain(spool) == ids_of(*range(4, 10))
    assert await taken_up(folder.with_name("crashed")) == ids_of(*range(10))


def no_rename(path: Path, target: Path) -> Path:
    """What a file system does that has been made read-only by a fault."""
    raise OSError(errno.EROFS, os.strerror(errno.EROFS), str(path), None, str(target))


async def test_what_holds_nothing_is_cleared_away(folder: Path, log: LogWatch) -> None:
    """The files of a process that was killed before it could write are removed."""
    folder.mkdir(parents=True)
    (folder / "0000000000001-1-aa.lock").touch()
    (folder / "0000000000002-1-aa.000000000001.segment").touch()
    async with Spool(folder, max_bytes=ROOM) as spool:
        image_of(folder, folder.with_name("crashed"))
        await spool.adopt()
    assert files_in(folder) == []
    assert await taken_up(folder.with_name("crashed")) == []
    assert files_in(folder.with_name("crashed")) == []
    assert log.entries == []


async def test_a_folder_that_is_removed_is_made_again(spool: Spool, folder: Path, log: LogWatch) -> None:
    """If the folder is removed, what was in it can still be drained, and what comes is safe again."""
    await spool.append(jobs_of(1))
    shutil.rmtree(folder)
    await spool.append(jobs_of(2))
    assert log.of("spool.removed")[0]["events"] == 1
    assert len(files_in(folder, "*.segment")) == 1
    assert await drain(spool) == ids_of(1, 2)


async def test_a_folder_that_cannot_be_made_is_reported_at_once(tmp_path: Path) -> None:
    """A folder that cannot be made fails the start, and not only the first write in an outage."""
    (tmp_path / "file").touch()
    with pytest.raises(SpoolError, match=r"Not a directory|File exists"):
        async with Spool(tmp_path / "file" / "spool", max_bytes=ROOM):
            pytest.fail("there is no such folder")


async def test_a_spool_of_version_0_1_is_left_alone_and_reported(folder: Path, log: LogWatch) -> None:
    """A spool of version 0.1, which only that version can drain, is left alone; log and audit say that it is there."""
    folder.mkdir(parents=True)
    (folder / "0000000000001-1-aa.spool").write_bytes(b"SQLite format 3")
    assert await taken_up(folder) == []
    (line,) = log.of("spool.outdated")
    assert (line["file"], line["log_level"]) == ("0000000000001-1-aa.spool", "error")
    assert "0.1" in line["hint"]
    assert files_in(folder) == ["0000000000001-1-aa.spool"]
    assert spooled_events(folder).damaged == ("0000000000001-1-aa.spool",)


def test_a_lock_that_is_removed_while_it_is_taken_locks_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A lock file that its owner removes while it is being taken does not count as taken."""
    flock = fcntl.flock

    def flock_too_late(descriptor: int, operation: int) -> None:
        (tmp_path / "1-2-3.lock").unlink()
        flock(descriptor, operation)

    with monkeypatch.context() as patched:
        patched.setattr(fcntl, "flock", flock_too_late)
        assert take_lock(tmp_path, "1-2-3") is None
    lock = take_lock(tmp_path, "1-2-3")
    assert lock is not None
    assert take_lock(tmp_path, "1-2-3") is None
    os.close(lock)
