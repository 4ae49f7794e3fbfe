"""The spools of a folder: what is in them, whose they are, and what happens to those that nobody has any more."""

from __future__ import annotations

import asyncio
import resource
import shutil
import stat
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from broker.records import Job
from receiver.errors import SpoolError, SpoolFullError
from receiver.spool import SpoolFolder
from receiver.spool.folder import BATCH_BYTES
from receiver.spool.spool import Spool
from tests.support.events import job_of
from tests.support.logwatch import LogWatch, watching
from tests.support.spooling import ROOM, closed_spool, crashed_spool, drain, files_in, image_of, taken_up


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Where the spools are; it does not exist yet."""
    return tmp_path / "data" / "spool"


@pytest.fixture
async def spool(folder: Path) -> AsyncIterator[SpoolFolder]:
    """A process's view of the folder."""
    async with SpoolFolder(folder, max_bytes=ROOM) as opened:
        yield opened


@pytest.fixture
async def log() -> AsyncIterator[LogWatch]:
    """The log."""
    with watching() as watch:
        yield watch


def jobs_of(*numbers: int) -> list[Job]:
    """Events by number."""
    return [job_of(number) for number in numbers]


def ids_of(*numbers: int) -> list[str]:
    """Their ids."""
    return [job.id for job in jobs_of(*numbers)]


async def test_events_come_out_as_they_went_in(spool: SpoolFolder) -> None:
    """In order, whatever their size, with all that belongs to them."""
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


async def test_a_batch_to_drain_is_bounded_in_bytes(spool: SpoolFolder) -> None:
    """A single event may be larger than the bound."""
    large = [job_of(number, subject="x" * (BATCH_BYTES // 3)) for number in range(4)]
    await spool.append([*large, job_of(5, subject="x" * 2 * BATCH_BYTES), job_of(6)])
    sizes = []
    while (batch := await spool.oldest(100)) is not None:
        sizes.append(len(batch.jobs))
        await spool.remove(batch)
    assert sizes == [2, 2, 1, 1]


async def test_the_count_and_the_bytes_are_those_of_what_waits(spool: SpoolFolder) -> None:
    """Nothing at first and nothing in the end."""
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


async def test_an_event_may_come_again_once_it_has_been_drained(spool: SpoolFolder) -> None:
    """Before that it is a duplicate; afterwards it is for Redis to know it."""
    await spool.append(jobs_of(1, 2))
    assert await spool.append(jobs_of(1)) == [False]
    batch = await spool.oldest(1)
    assert batch is not None
    await spool.remove(batch)
    assert await spool.append(jobs_of(1, 2)) == [True, False]
    assert await drain(spool) == ids_of(2, 1)


def test_a_commit_is_on_disk_before_it_is_acknowledged(tmp_path: Path) -> None:
    """SQLite says that it syncs each: 2 is FULL. That the disk keeps its word cannot be tested."""
    spool = Spool.create(tmp_path)
    asked = [spool._connection.execute(f"PRAGMA {name}").fetchone()[0] for name in ("journal_mode", "synchronous")]
    spool.finish()
    assert asked == ["wal", 2]


async def test_only_the_owner_may_read_the_folder(spool: SpoolFolder, folder: Path) -> None:
    """Events are about people."""
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700


async def test_a_bound_holds_for_all_spools_of_the_folder(folder: Path) -> None:
    """All or nothing of a batch is kept; what is drained makes room."""
    await closed_spool(folder, [job_of(number) for number in range(200)])
    async with SpoolFolder(folder, max_bytes=300_000) as spool:

        async def fill() -> None:
            for number in range(1000, 2000, 10):
                await spool.append([job_of(number + index) for index in range(10)])

        with pytest.raises(SpoolFullError, match="KONVOX_SPOOL_MAX_BYTES"):
            await fill()
        added = spool.count
        assert added > 0
        assert added % 10 == 0
        assert sum(path.stat().st_size for path in folder.glob("*.spool")) < 300_000
        with pytest.raises(SpoolFullError):
            await spool.append([job_of(5000, subject="x" * 300_000)])
        await spool.take_up()
        assert len(await drain(spool)) == 200 + added
        assert await spool.append([job_of(number) for number in range(200)]) == [True] * 200


async def test_a_spool_that_is_drained_leaves_nothing_behind(spool: SpoolFolder, folder: Path) -> None:
    """And the next event makes a new one."""
    await spool.append(jobs_of(1))
    await drain(spool)
    assert files_in(folder) == []
    await spool.append(jobs_of(2))
    assert await drain(spool) == ids_of(2)


async def test_processes_on_one_folder_leave_each_others_spools_alone(spool: SpoolFolder, folder: Path) -> None:
    """As long as they live."""
    await spool.append(jobs_of(1))
    async with SpoolFolder(folder, max_bytes=ROOM) as other:
        await other.append(jobs_of(2))
        for process, expected in ((other, ids_of(2)), (spool, ids_of(1))):
            await process.take_up()
            assert await drain(process) == expected


async def test_left_over_spools_are_drained_oldest_first(folder: Path) -> None:
    """Of stopped and of killed processes, before one's own; each of them once, whoever looks."""
    await closed_spool(folder, jobs_of(1, 2))
    await crashed_spool(folder.with_name("crashed"), jobs_of(3), jobs_of(4))
    for path in folder.with_name("crashed").iterdir():
        shutil.move(path, folder)
    async with SpoolFolder(folder, max_bytes=ROOM) as spool, SpoolFolder(folder, max_bytes=ROOM) as other:
        await asyncio.gather(spool.append(jobs_of(6)), other.append(jobs_of(5)))
        await asyncio.gather(spool.take_up(), other.take_up())
        assert spool.count + other.count == 6
        ids = await drain(spool), await drain(other)
    assert sorted(ids[0] + ids[1]) == sorted(ids_of(1, 2, 3, 4, 5, 6))
    assert [job_id for job_id in ids[0] if job_id in ids_of(1, 2, 3, 4, 6)] == ids[0]
    assert ids[0][-1] == ids_of(6)[0]
    assert files_in(folder) == []


async def test_a_spool_that_was_drained_halfway_goes_on_from_there(folder: Path, log: LogWatch) -> None:
    """After a stop, and after a crash. That it begins in the middle is no damage."""
    async with SpoolFolder(folder, max_bytes=ROOM) as spool:
        await spool.append(jobs_of(*range(10)))
        batch = await spool.oldest(4)
        assert batch is not None
        await spool.remove(batch)
        image_of(folder, folder.with_name("crashed"))
    assert await taken_up(folder.with_name("crashed")) == await taken_up(folder) == ids_of(*range(4, 10))
    assert log.names("spool.") == ["spool.taken_up"] * 2


async def test_what_is_drained_and_could_not_be_taken_out_is_known_as_long_as_the_process_lives(
    spool: SpoolFolder, folder: Path
) -> None:
    """And no longer: whoever takes the spool up then drains it again, and Redis knows what it has seen."""
    await spool.append(jobs_of(*range(10)))
    batch = await spool.oldest(4)
    assert batch is not None
    with files_limited_to(8_192):
        await spool.remove(batch)
    image_of(folder, folder.with_name("crashed"))
    assert await drain(spool) == ids_of(*range(4, 10))
    assert await taken_up(folder.with_name("crashed")) == ids_of(*range(10))


async def test_what_holds_nothing_is_cleared_away(folder: Path, log: LogWatch) -> None:
    """Of a process that was killed before it could write, or when all was drained."""
    folder.mkdir(parents=True)
    (folder / "0000000000001-1-aa.lock").touch()
    (folder / "0000000000002-1-aa.spool").touch()
    async with SpoolFolder(folder, max_bytes=ROOM) as spool:
        image_of(folder, folder.with_name("crashed"))
        await spool.take_up()
    assert files_in(folder) == []
    assert await taken_up(folder.with_name("crashed")) == []
    assert files_in(folder.with_name("crashed")) == []
    assert log.entries == []


async def test_a_folder_that_is_removed_is_made_again(spool: SpoolFolder, folder: Path, log: LogWatch) -> None:
    """What was in it can be drained all the same, and what comes is safe again."""
    await spool.append(jobs_of(1))
    shutil.rmtree(folder)
    await spool.append(jobs_of(2))
    assert log.of("spool.removed")[0]["events"] == 1
    assert len(files_in(folder, "*.spool")) == 1
    assert await drain(spool) == ids_of(1, 2)


async def test_a_folder_that_cannot_be_made_is_said_at_once(tmp_path: Path) -> None:
    """Not only when Redis is away."""
    (tmp_path / "file").touch()
    with pytest.raises(SpoolError, match=r"Not a directory|File exists"):
        async with SpoolFolder(tmp_path / "file" / "spool", max_bytes=ROOM):
            pytest.fail("there is no such folder")


@contextmanager
def files_limited_to(size_bytes: int) -> Iterator[None]:
    """A disk on which no file can grow beyond a size: writes fail as they do on a full one."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size_bytes, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


async def test_a_disk_that_takes_no_more_is_an_error_and_loses_nothing(spool: SpoolFolder) -> None:
    """A batch that was not acknowledged is not there, and once there is room all goes on."""
    await spool.append(jobs_of(*range(10)))
    with files_limited_to(200_000):
        with pytest.raises(SpoolError):
            await spool.append([job_of(number, subject="x" * 3_000) for number in range(10, 110)])
        with pytest.raises(SpoolError):
            await spool.append([job_of(number, subject="x" * 3_000) for number in range(10, 110)])
        assert spool.count == 10
    await spool.append(jobs_of(10, 11))
    assert await drain(spool) == ids_of(*range(12))


async def test_a_full_disk_does_not_stop_the_draining(spool: SpoolFolder, folder: Path, log: LogWatch) -> None:
    """The events cannot be taken out of the file then, but each is drained once, and the file is removed in the end."""
    await spool.append(jobs_of(*range(10)))
    with files_limited_to(8_192):
        with pytest.raises(SpoolError):
            await spool.check_writable()
        assert await drain(spool, at_once=3) == ids_of(*range(10))
    assert files_in(folder) == []
    assert log.of("spool.not_trimmed")
    await spool.check_writable()
