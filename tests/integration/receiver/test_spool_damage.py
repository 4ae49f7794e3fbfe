"""Torn and corrupt segments: what is intact survives and is drained, the damage is reported, the file is kept."""

from __future__ import annotations

import os
import random
import shutil
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest

from broker.records import Job
from receiver.spool import Spool, spooled_events
from receiver.spool import spool as spool_module
from tests.support.events import job_of
from tests.support.logwatch import LogWatch, watching
from tests.support.spooling import ROOM, closed_spool, crashed_spool, drain, files_in, image_of, taken_up

JOBS = [job_of(number, subject="x" * (20_000 if number % 7 == 0 else 50)) for number in range(40)]
IDS = [job.id for job in JOBS]

FLIPS = 40
"""How many flipped bytes are tried in each folder."""

Damage = Callable[[bytearray, random.Random], None]


@pytest.fixture
async def log() -> AsyncIterator[LogWatch]:
    """The log."""
    with watching() as watch:
        yield watch


@pytest.fixture
async def crashed(tmp_path: Path) -> Path:
    """A folder as a crash leaves it: all events are in one segment, in batches of five and of one."""
    batches = [JOBS[first : first + 5] for first in range(0, 20, 5)]
    return await crashed_spool(tmp_path / "crashed", *batches, *([job] for job in JOBS[20:]))


@pytest.fixture
async def closed(tmp_path: Path) -> Path:
    """A folder as an ordered stop leaves it: behind the segment there is an empty one."""
    return await closed_spool(tmp_path / "closed", JOBS[:20], JOBS[20:])


def first_segment(folder: Path) -> Path:
    """The oldest segment."""
    return min(folder.glob("*.segment"))


def damaged_copy(whole: Path, folder: Path, damage: Damage, places: random.Random) -> bytes:
    """A copy of a folder whose first segment is damaged; returns what is left of it."""
    shutil.copytree(whole, folder)
    image = bytearray(first_segment(folder).read_bytes())
    damage(image, places)
    first_segment(folder).write_bytes(image)
    return bytes(image)


def assert_damage_is_reported_and_kept(log: LogWatch, folder: Path, *, intact: int) -> None:
    """There is a line about it, and the file is there under another name, and nothing else is."""
    (line,) = log.of("spool.damaged")
    assert line["log_level"] == "error"
    assert line["intact"] == intact
    kept = [entry["kept_as"] for entry in log.of("spool.quarantined")]
    assert kept == files_in(folder) == list(spooled_events(folder).damaged)
    assert len(kept) == 1


async def test_what_is_whole_is_not_called_damaged(crashed: Path, closed: Path, log: LogWatch) -> None:
    """A spool that a crash has left whole is not called damaged."""
    assert await taken_up(crashed) == await taken_up(closed) == IDS
    assert log.of("spool.damaged") == []
    assert files_in(crashed) == files_in(closed) == []


@pytest.mark.parametrize("kind", ["crashed", "closed"])
async def test_a_flipped_byte_costs_one_event(
    kind: str, crashed: Path, closed: Path, tmp_path: Path, log: LogWatch
) -> None:
    """A flipped byte costs one event wherever it is, and is reported; places in heads are tried more often."""
    places = random.Random(kind)
    heads: list[int] = []

    def flip(image: bytearray, places: random.Random) -> None:
        if not heads:
            heads.extend(place for place in range(len(image)) if image.startswith(b"\xffKVX2", place))
        place = places.choice([places.randrange(len(image)), places.choice(heads[1:]) + places.randrange(37)])
        image[max(place, heads[1])] ^= places.randrange(1, 256)

    for attempt in range(FLIPS):
        folder = tmp_path / f"flipped-{attempt}"
        damaged_copy(crashed if kind == "crashed" else closed, folder, flip, places)
        log.entries.clear()
        ids = await taken_up(folder)
        assert len(ids) == len(IDS) - 1
        assert ids == [job_id for job_id in IDS if job_id in ids]
        assert_damage_is_reported_and_kept(log, folder, intact=len(ids))


def truncate(image: bytearray, places: random.Random) -> None:
    """Cut off the end."""
    del image[places.randrange(len(image)) :]


def zero_a_sector(image: bytearray, places: random.Random) -> None:
    """Give back zeros, as a disk does that cannot read."""
    start = places.randrange(0, len(image), 4096)
    image[start : start + 4096] = bytes(min(4096, len(image) - start))


def scribble(image: bytearray, places: random.Random) -> None:
    """Write anything anywhere, for a good part of the file."""
    start = places.randrange(len(image))
    length = min(places.randrange(1, 20_000), len(image) - start)
    image[start : start + length] = places.randbytes(length)


def empty(image: bytearray, places: random.Random) -> None:
    """Leave nothing."""
    image.clear()


@pytest.mark.parametrize("damage", [truncate, zero_a_sector, scribble, empty])
@pytest.mark.parametrize("kind", ["crashed", "closed"])
async def test_what_can_be_found_in_the_file_is_drained(
    damage: Damage, kind: str, crashed: Path, closed: Path, tmp_path: Path, log: LogWatch
) -> None:
    """Each event is drained of which all bytes are in the file, and the damage is reported.

    A search of the file that knows nothing of spools finds those events. Only an end that is cut off passes for a
    crash, if the process did not stop in order.
    """
    places = random.Random(f"{damage.__name__} {kind}")
    for attempt in range(12):
        folder = tmp_path / f"damaged-{attempt}"
        image = damaged_copy(crashed if kind == "crashed" else closed, folder, damage, places)
        there = [job.id for job in JOBS if job.to_bytes() in image]
        log.entries.clear()
        ids = await taken_up(folder)
        assert ids == there or (set(ids) < set(there) and len(there) - len(ids) <= 1)  # a head may be gone alone
        if kind == "crashed" and damage in {truncate, empty}:
            assert log.of("spool.damaged") == []
            assert files_in(folder) == []
        else:
            assert_damage_is_reported_and_kept(log, folder, intact=len(ids))
            assert log.of("spool.damaged")[0]["lost_at_least"] == len(IDS) - len(ids) or kind == "crashed"


async def test_a_segment_torn_at_its_end_is_no_damage(crashed: Path, tmp_path: Path, log: LogWatch) -> None:
    """A kill in the middle of a write leaves a torn frame, and what was acknowledged before is whole."""
    size = first_segment(crashed).stat().st_size
    for attempt in range(20):
        folder = tmp_path / f"torn-{attempt}"
        shutil.copytree(crashed, folder)
        os.truncate(first_segment(folder), size - attempt * 113)
        ids = await taken_up(folder)
        assert ids == IDS[: len(ids)]
        assert len(ids) >= len(IDS) - 4
        assert files_in(folder) == []
    assert log.of("spool.damaged") == []


async def test_garbage_is_kept_aside(tmp_path: Path, log: LogWatch) -> None:
    """Garbage is kept byte for byte, because it may have been something."""
    folder = tmp_path / "spool"
    folder.mkdir()
    garbage = random.Random("garbage").randbytes(100_000)
    (folder / "0000000000001-1-aa.000000000001.segment").write_bytes(garbage)
    assert await taken_up(folder) == []
    assert_damage_is_reported_and_kept(log, folder, intact=0)
    (kept,) = folder.iterdir()
    assert kept.read_bytes() == garbage


async def test_files_that_are_not_the_spools_are_left_alone(tmp_path: Path, log: LogWatch) -> None:
    """Files with other names are neither read nor removed."""
    folder = tmp_path / "spool"
    folder.mkdir()
    for name in ("notes.txt", "1-2.segment", "a-b-c.000000000001.segment", "1-2-3.x.segment"):
        (folder / name).write_text("precious")
    assert await taken_up(folder) == []
    assert {path.read_text() for path in folder.iterdir()} == {"precious"}
    assert len(files_in(folder)) == 4
    assert log.entries == []


async def test_a_segment_that_is_missing_is_noticed(
    tmp_path: Path, log: LogWatch, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A missing segment is noticed, and the names of the others say how many events it held."""
    monkeypatch.setattr(spool_module, "SEGMENT_BYTES", 10_000)
    folder = await closed_spool(tmp_path / "spool", *([job] for job in JOBS))
    segments = sorted(folder.glob("*.segment"))
    assert len(segments) > 3
    lost = int(segments[2].name.split(".")[1]) - int(segments[1].name.split(".")[1])
    segments[1].unlink()
    assert len(await taken_up(folder)) == len(IDS) - lost
    assert log.of("spool.damaged")[0]["lost_at_least"] == lost


async def test_what_was_drained_before_the_damage_does_not_come_again(tmp_path: Path, log: LogWatch) -> None:
    """What was drained before the damage does not come again, because the segment's newest name says how far it was."""
    folder = tmp_path / "spool"
    async with Spool(folder, max_bytes=ROOM) as spool:
        await spool.append(JOBS)
        for most in (5, 10):
            batch = await spool.oldest(most)
            assert batch is not None
            await spool.remove(batch)
        image_of(folder, tmp_path / "crashed")
    path = first_segment(tmp_path / "crashed")
    image = bytearray(path.read_bytes())
    image[-10] ^= 1
    path.write_bytes(image)
    assert await taken_up(tmp_path / "crashed") == IDS[15:-1]
    assert_damage_is_reported_and_kept(log, tmp_path / "crashed", intact=24)


async def test_how_much_is_lost_at_least_is_reported(crashed: Path, closed: Path, log: LogWatch) -> None:
    """The report says how many events are lost, by the numbers that are missing."""
    for folder in (crashed, closed):
        log.entries.clear()
        path = first_segment(folder)
        image = path.read_bytes()
        for payload in (JOBS[number].to_bytes() for number in (3, 4, 39)):
            assert image.count(payload) == 1
            image = image.replace(payload, payload[:-1] + b"!")
        path.write_bytes(image)
        ids = await taken_up(folder)
        assert [IDS.index(job_id) for job_id in IDS if job_id not in ids] == [3, 4, 39]
        assert log.of("spool.damaged")[0]["lost_at_least"] == 3


@pytest.mark.parametrize("then", ["drain", "append"])
async def test_damage_to_a_segment_in_use_is_met_as_well(then: str, tmp_path: Path, log: LogWatch) -> None:
    """The process drains what is left of its damaged segment and spools into a new one."""
    folder = tmp_path / "spool"
    async with Spool(folder, max_bytes=ROOM) as spool:
        await spool.append(JOBS[:39])
        path = first_segment(folder)
        image = bytearray(path.read_bytes())
        image[30_000] ^= 1
        path.write_bytes(image)
        if then == "append":
            await spool.append(JOBS[39:])
        ids = await drain(spool, at_once=10)
        lost = sorted(set(IDS[: 39 + (then == "append")]) - set(ids))
        assert len(lost) == 1
        assert len(files_in(folder, "*.damaged")) == 1
        assert await spool.append([JOBS[0]]) == [True]
        assert await drain(spool) == IDS[:1]


async def test_an_event_that_was_lost_is_no_duplicate_when_it_is_sent_again(tmp_path: Path) -> None:
    """A lost event that is sent again is spooled again, or it would be lost for good."""
    async with Spool(tmp_path, max_bytes=ROOM) as spool:
        await spool.append(JOBS)
        path = first_segment(tmp_path)
        image = path.read_bytes().replace(JOBS[1].to_bytes(), b"!" * len(JOBS[1].to_bytes()))
        path.write_bytes(image)
        assert await spool.oldest(1) is not None
        assert await spool.append([JOBS[1]]) == [True]
        assert await drain(spool) == [*IDS[:1], *IDS[2:], IDS[1]]


async def test_a_sector_that_cannot_be_read_costs_what_is_in_it(
    crashed: Path, log: LogWatch, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A sector that cannot be read costs the events in it, and the rest of the file is read all the same."""
    pread = os.pread

    def failing_pread(descriptor: int, length: int, start: int) -> bytes:
        if start <= 30_000 < start + length:
            raise OSError(5, "Input/output error")
        return pread(descriptor, length, start)

    monkeypatch.setattr(os, "pread", failing_pread)
    ids = await taken_up(crashed)
    assert len(IDS) - 8 <= len(ids) < len(IDS)
    assert_damage_is_reported_and_kept(log, crashed, intact=len(ids))


async def test_an_event_that_cannot_be_read_does_not_hold_up_the_others(tmp_path: Path, log: LogWatch) -> None:
    """An event of an unknown version is left out, and its file is kept."""

    class Foreign:
        """An event of another version."""

        record = job_of(1).record
        replayed = False

        def to_bytes(self) -> bytes:
            """Bytes that are no job of ours."""
            return b'{"version": 99}'

    folder = tmp_path / "spool"
    foreign: Job = Foreign()  # type: ignore[assignment] # what another version would have written
    for jobs in ([JOBS[0], foreign, JOBS[2]], [foreign]):
        log.entries.clear()
        await closed_spool(folder, jobs)
        assert await taken_up(folder) == [job.record.id for job in jobs if job is not foreign]
        assert [entry["number"] for entry in log.of("frame.not_decoded")] == [jobs.index(foreign) + 1]
        assert [entry["kept_as"] for entry in log.of("spool.quarantined")] == files_in(folder)[-1:]
