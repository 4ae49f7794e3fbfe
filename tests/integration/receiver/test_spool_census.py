"""Counting what is spooled, for the audit: of everybody, without touching anything."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest

from receiver.errors import SpoolError
from receiver.spool import SpoolFolder, spooled_events
from tests.support.events import job_of
from tests.support.spooling import ROOM, closed_spool, crashed_spool, drain, files_in

LeftOver = Callable[..., Awaitable[Path]]

JOBS = [job_of(number) for number in range(20)]
IDS = [job.id for job in JOBS]


def contents(folder: Path) -> dict[str, bytes]:
    """All files of a folder with something in them, but the index, which SQLite shares between processes."""
    files = {path.name: path.read_bytes() for path in folder.iterdir() if not path.name.endswith("-shm")}
    return {name: image for name, image in files.items() if image}


def test_no_folder_is_no_events(tmp_path: Path) -> None:
    """As where nothing was ever spooled."""
    found = spooled_events(tmp_path / "spool")
    assert (found.ids, found.count, found.damaged) == ((), 0, ())


async def test_spools_of_the_living_and_the_dead_are_counted(tmp_path: Path) -> None:
    """Also while one of them is being filled and drained."""
    folder = await crashed_spool(tmp_path / "spool", JOBS[:3], JOBS[3:5])
    await closed_spool(folder, JOBS[5:8])
    before = contents(folder)
    assert spooled_events(folder).ids == tuple(IDS[:8])
    assert contents(folder) == before
    async with SpoolFolder(folder, max_bytes=ROOM) as spool:
        await spool.append(JOBS[8:12])
        before = contents(folder)
        assert spooled_events(folder).ids == tuple(IDS[:12])
        assert contents(folder) == before
        batch = await spool.oldest(3)
        assert batch is not None
        await spool.remove(batch)
        assert spooled_events(folder).ids == (*IDS[:8], *IDS[11:12])
        await spool.take_up()
        assert spooled_events(folder).ids == (*IDS[:8], *IDS[11:12])
        await drain(spool)
        assert spooled_events(folder).count == 0


@pytest.mark.parametrize(("left_over", "pattern"), [(closed_spool, "*.spool"), (crashed_spool, "*.spool-wal")])
async def test_damage_is_counted_as_it_will_be_drained(left_over: LeftOver, pattern: str, tmp_path: Path) -> None:
    """And named, before it is met by a receiver and afterwards."""
    folder = await left_over(tmp_path / "spool", JOBS[:10], JOBS[10:])
    (path,) = folder.glob(pattern)
    image = bytearray(path.read_bytes())
    image[5:15] = bytes(10)
    path.write_bytes(image)
    before = contents(folder)
    found = spooled_events(folder)
    assert found.ids == tuple(IDS)
    assert found.damaged == tuple(files_in(folder, "*.spool"))
    assert contents(folder) == before
    async with SpoolFolder(folder, max_bytes=ROOM) as spool:
        await spool.take_up()
        assert tuple(await drain(spool)) == found.ids
    found = spooled_events(folder)
    assert (found.count, found.damaged) == (0, tuple(files_in(folder, "*.damaged")))


async def test_a_spool_that_cannot_be_opened_is_an_error(tmp_path: Path) -> None:
    """A count without it would be wrong."""
    (tmp_path / "0000000000001-1-aa.spool").mkdir()
    with pytest.raises(SpoolError):
        spooled_events(tmp_path)
