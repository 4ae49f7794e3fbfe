"""The spool and its disk: what is fsync'd before an acknowledgement, and what a full, failing or hanging disk does."""

from __future__ import annotations

import asyncio
import errno
import os
import resource
import threading
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from receiver.errors import SpoolError
from receiver.spool import Spool, spooled_events
from receiver.spool import spool as spool_module
from tests.support.events import ids_of, job_of, jobs_of
from tests.support.logwatch import LogWatch, watching
from tests.support.spooling import ROOM, crashed_spool, drain, files_in, image_of, taken_up


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Where the spool is; it does not exist yet."""
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


class Disk:
    """What was brought to stable storage, seen through the system calls; and how they fail, if a test wants that.

    Attributes:
        synced: for each file or folder that was synced, its path and the names or the bytes that it held then.
        fault: what the next sync of a file raises instead.
    """

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.synced: list[tuple[Path, list[str] | int]] = []
        self.fault: OSError | None = None
        self.answers = threading.Event()
        self.answers.set()
        monkeypatch.setattr(os, "fsync", self._sync)
        monkeypatch.setattr(os, "fdatasync", self._sync)

    def _sync(self, descriptor: int) -> None:
        path = Path(f"/proc/self/fd/{descriptor}").readlink()
        self.answers.wait()
        if path.is_dir():
            self.synced.append((path, files_in(path)))
            return
        if self.fault is not None:
            fault, self.fault = self.fault, None
            raise fault
        self.synced.append((path, os.fstat(descriptor).st_size))


@pytest.fixture
def disk(monkeypatch: pytest.MonkeyPatch) -> Iterator[Disk]:
    """The disk under the spool."""
    disk = Disk(monkeypatch)
    yield disk
    disk.answers.set()


def segment_in(folder: Path) -> Path:
    """The newest segment of a folder."""
    return max(folder.glob("*.segment"))


async def test_an_event_and_the_name_of_its_file_are_on_disk_before_it_is_acknowledged(
    spool: Spool, folder: Path, disk: Disk
) -> None:
    """All bytes of a batch, and the folder of a new segment, are fsync'd before the batch is acknowledged."""
    await spool.append(jobs_of(1))
    path = segment_in(folder)
    assert disk.synced == [(path, path.stat().st_size)]
    await drain(spool)
    disk.synced.clear()
    await spool.append(jobs_of(2, 3))
    path = segment_in(folder)
    assert disk.synced == [(folder, files_in(folder)), (path, path.stat().st_size)]
    assert path.name in files_in(folder)


async def test_a_folder_that_is_made_is_on_disk_before_anything_in_it_is_acknowledged(folder: Path, disk: Disk) -> None:
    """Each folder on the way to a new one is fsync'd."""
    async with Spool(folder, max_bytes=ROOM):
        assert {folder, folder.parent, folder.parent.parent} == {path for path, _ in disk.synced if path.is_dir()}


async def test_what_is_drained_is_recorded_on_disk(spool: Spool, folder: Path, disk: Disk) -> None:
    """The new name of a drained segment, and its removal, are fsync'd: a loss of power does not bring it back."""
    await spool.append(jobs_of(*range(10)))
    for most in (4, 10):
        disk.synced.clear()
        batch = await spool.oldest(most)
        assert batch is not None
        await spool.remove(batch)
        path, names = disk.synced[-1]
        assert isinstance(names, list)
        assert path == folder
        assert [name for name in names if name.endswith(".segment")] == files_in(folder, "*.segment")


async def test_a_damaged_file_has_its_new_name_on_disk(folder: Path, disk: Disk) -> None:
    """The folder is fsync'd after a damaged file was renamed, so a person finds it after a loss of power."""
    await crashed_spool(folder, jobs_of(1, 2))
    path = segment_in(folder)
    image = bytearray(path.read_bytes())
    image[100] ^= 1
    path.write_bytes(image)
    disk.synced.clear()
    assert await taken_up(folder) == ids_of(2)
    kept = f"{path.name}.damaged"
    assert files_in(folder) == [kept]
    assert any(path == folder and kept in names for path, names in disk.synced if isinstance(names, list))


async def test_after_a_failed_fsync_a_new_segment_is_begun(spool: Spool, folder: Path, disk: Disk) -> None:
    """A failed fsync begins a new segment, because a later fsync of the same file would prove nothing."""
    await spool.append(jobs_of(1, 2))
    first = segment_in(folder)
    disk.fault = OSError(errno.EIO, os.strerror(errno.EIO))
    with pytest.raises(SpoolError, match="Input/output error"):
        await spool.append(jobs_of(3))
    assert spool.count == 2
    disk.synced.clear()
    assert await spool.append(jobs_of(3, 4)) == [True, True]
    second = segment_in(folder)
    assert second != first
    assert first not in [path for path, _ in disk.synced]
    assert (second, second.stat().st_size) in disk.synced
    image_of(folder, folder.with_name("crashed"))
    assert await drain(spool) == await taken_up(folder.with_name("crashed")) == ids_of(1, 2, 3, 4)


async def test_a_failed_fsync_of_a_first_batch_leaves_nothing_in_the_way(
    spool: Spool, folder: Path, disk: Disk
) -> None:
    """After a failed fsync of its first batch a segment is removed, and the next one takes its name."""
    disk.fault = OSError(errno.EIO, os.strerror(errno.EIO))
    with pytest.raises(SpoolError):
        await spool.append(jobs_of(1))
    assert files_in(folder, "*.segment") == []
    await spool.append(jobs_of(1))
    assert await drain(spool) == ids_of(1)


async def test_a_short_write_leaves_nothing_that_counts(
    spool: Spool, folder: Path, log: LogWatch, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What a short write left is neither drained nor called damage, by this process or by one that adopts it."""
    write = os.write
    await spool.append(jobs_of(1, 2))
    for part in (10, 700, 1_000):
        with monkeypatch.context() as patched:
            patched.setattr(os, "write", lambda descriptor, data, part=part: write(descriptor, data[:part]))
            with pytest.raises(SpoolError, match="the disk is full"):
                await spool.append(jobs_of(3, 4))
        assert await spool.append(jobs_of(part)) == [True]
    image_of(folder, folder.with_name("crashed"))
    assert await drain(spool) == await taken_up(folder.with_name("crashed")) == ids_of(1, 2, 10, 700, 1_000)
    assert log.of("spool.damaged") == []


@pytest.fixture
def hanging(disk: Disk, monkeypatch: pytest.MonkeyPatch) -> Disk:
    """A disk that does not answer, and little patience."""
    monkeypatch.setattr(spool_module, "DISK_SECONDS", 0.1)
    disk.answers.clear()
    return disk


async def test_a_disk_that_never_answers_is_given_up_in_time(
    folder: Path, disk: Disk, monkeypatch: pytest.MonkeyPatch, log: LogWatch
) -> None:
    """Adding, reading, taking out, adopting and stopping fail in time, and work again when the disk answers."""
    async with Spool(folder, max_bytes=ROOM) as spool:
        await spool.append(jobs_of(1, 2, 3))
        batch = await spool.oldest(1)
        assert batch is not None
        monkeypatch.setattr(spool_module, "DISK_SECONDS", 0.1)
        disk.answers.clear()
        started = time.monotonic()
        for work in (spool.append(jobs_of(4)), spool.oldest(5), spool.remove(batch), spool.adopt()):
            with pytest.raises(SpoolError, match=r"the disk did not answer within 0\.1 s"):
                await work
        assert time.monotonic() - started < 2
        disk.answers.set()
        monkeypatch.setattr(spool_module, "DISK_SECONDS", 4.0)
        await spool.append(jobs_of(5))
        ids = await drain(spool)
        assert set(ids) >= set(ids_of(2, 3, 5))
        await spool.append(jobs_of(6))
        monkeypatch.setattr(spool_module, "DISK_SECONDS", 0.1)
        disk.answers.clear()
        await spool.append(jobs_of(6))  # a duplicate needs no disk
        started = time.monotonic()
    assert time.monotonic() - started < 2
    assert log.of("spool.not_closed")[0]["reason"] == "the disk did not answer within 0.1 s"


async def test_a_start_on_a_disk_that_never_answers_fails_in_time(folder: Path, hanging: Disk) -> None:
    """A start on a disk that never answers fails in time, because nothing could be kept there."""
    async with asyncio.timeout(2):
        with pytest.raises(SpoolError, match="the disk did not answer"):
            async with Spool(folder, max_bytes=ROOM):
                pytest.fail("the disk does not answer")


@contextmanager
def files_limited_to(size_bytes: int) -> Iterator[None]:
    """A disk on which no file can grow beyond a size: writes fail as they do on a full one."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size_bytes, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


async def test_a_disk_that_takes_no_more_is_an_error_and_loses_nothing(spool: Spool) -> None:
    """A batch that a full disk refused is not there, and once there is room events are spooled again."""
    await spool.append(jobs_of(*range(10)))
    with files_limited_to(200_000):
        with pytest.raises(SpoolError):
            await spool.append([job_of(number, subject="x" * 3_000) for number in range(10, 110)])
        with pytest.raises(SpoolError):
            await spool.append([job_of(number, subject="x" * 3_000) for number in range(10, 110)])
        assert spool.count == 10
    await spool.append(jobs_of(10, 11))
    assert await drain(spool) == ids_of(*range(12))


async def test_a_full_disk_does_not_stop_the_draining(spool: Spool, folder: Path, log: LogWatch) -> None:
    """On a full disk each event is still drained once, which is remembered on disk, and the file is removed."""
    await spool.append(jobs_of(*range(10)))
    with files_limited_to(10):
        with pytest.raises(SpoolError):
            await spool.append([])
        for left in (7, 4, 1, 0):
            batch = await spool.oldest(3)
            assert batch is not None
            await spool.remove(batch)
            assert (spool.count, len(spooled_events(folder).ids)) == (left, left)
    assert files_in(folder) == []
    assert log.entries == []
    await spool.append([])
