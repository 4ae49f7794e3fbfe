"""Counting what is spooled, for the audit: of everybody, without touching anything."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest

from receiver.errors import SpoolError
from receiver.spool import Spool, spooled_events
from receiver.spool import spool as spool_module
from tests.support.events import job_of
from tests.support.spooling import ROOM, closed_spool, crashed_spool, drain

LeftOver = Callable[..., Awaitable[Path]]

JOBS = [job_of(number) for number in range(20)]
IDS = [job.id for job in JOBS]


def contents(folder: Path) -> dict[str, bytes]:
    """All files of a folder."""
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def test_no_folder_is_no_events(tmp_path: Path) -> None:
    """A folder that does not exist holds no events."""
    found = spooled_events(tmp_path / "spool")
    assert (found.ids, found.count, found.damaged) == ((), 0, ())


async def test_spools_of_the_living_and_the_dead_are_counted(tmp_path: Path) -> None:
    """The spools of living and of dead processes are counted, also while one is being filled and drained."""
    folder = await crashed_spool(tmp_path / "spool", JOBS[:3], JOBS[3:5])
    await closed_spool(folder, JOBS[5:8])
    before = contents(folder)
    assert spooled_events(folder).ids == tuple(IDS[:8])
    assert contents(folder) == before
    async with Spool(folder, max_bytes=ROOM) as spool:
        await spool.append(JOBS[8:12])
        before = contents(folder)
        assert spooled_events(folder).ids == tuple(IDS[:12])
        assert contents(folder) == before
        batch = await spool.oldest(3)
        assert batch is not None
        await spool.remove(batch)
        assert spooled_events(folder).ids == (*IDS[:8], *IDS[11:12])
        await spool.adopt()
        assert spooled_events(folder).ids == (*IDS[:8], *IDS[11:12])
        await drain(spool)
        assert spooled_events(folder).count == 0


@pytest.mark.parametrize("left_over", [closed_spool, crashed_spool])
async def test_damage_is_counted_as_it_will_be_drained(left_over: LeftOver, tmp_path: Path) -> None:
    """A damaged segment is named before a receiver meets it and afterwards."""
    folder = await left_over(tmp_path / "spool", JOBS[:10], JOBS[10:])
    path = min(folder.glob("*.segment"))
    image = path.read_bytes().replace(JOBS[4].to_bytes(), bytes(len(JOBS[4].to_bytes())))
    path.write_bytes(image)
    before = contents(folder)
    found = spooled_events(folder)
    assert found.ids == (*IDS[:4], *IDS[5:])
    assert found.damaged == (path.name,)
    assert contents(folder) == before
    async with Spool(folder, max_bytes=ROOM) as spool:
        await spool.adopt()
        assert tuple(await drain(spool)) == found.ids
    found = spooled_events(folder)
    assert (found.count, found.damaged) == (0, (f"{path.name}.damaged",))


async def test_a_count_beside_a_drain_misses_nothing_that_waits(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A count beside a drain, which renames and removes segments, looks again and misses nothing that waits."""
    monkeypatch.setattr(spool_module, "SEGMENT_BYTES", 5_000)
    async with Spool(tmp_path, max_bytes=ROOM) as spool:
        for job in JOBS:
            await spool.append([job])
        loop = asyncio.get_running_loop()
        read_bytes = Path.read_bytes

        def drain_first(path: Path) -> bytes:
            """Something is drained between the look at the folder and the look into the file."""
            asyncio.run_coroutine_threadsafe(drain_one(), loop).result()
            return read_bytes(path)

        async def drain_one() -> None:
            if spool.count > 8 and (batch := await spool.oldest(1)) is not None:
                await spool.remove(batch)

        monkeypatch.setattr(Path, "read_bytes", drain_first)
        found = await asyncio.to_thread(spooled_events, tmp_path)
        monkeypatch.undo()
        left = tuple(await drain(spool))
    assert left
    assert found.damaged == ()
    assert set(found.ids) >= set(left)
    assert list(found.ids) == sorted(found.ids, key=IDS.index)


async def test_a_spool_that_cannot_be_opened_is_an_error(tmp_path: Path) -> None:
    """A segment that cannot be opened makes the count fail, because it would be wrong."""
    (tmp_path / "0000000000001-1-aa.000000000001.segment").mkdir()
    with pytest.raises(SpoolError):
        spooled_events(tmp_path)
