"""Torn and corrupt spools: what is intact survives and is drained, the damage is said, the file is kept."""

from __future__ import annotations

import random
import shutil
import sqlite3
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest

from broker.records import Job
from receiver.spool import SpoolFolder
from tests.support.events import job_of
from tests.support.logwatch import LogWatch, watching
from tests.support.spooling import ROOM, closed_spool, crashed_spool, drain, files_in, taken_up

JOBS = [job_of(number, subject="x" * (20_000 if number % 7 == 0 else 50)) for number in range(40)]
IDS = [job.id for job in JOBS]

FLIPS = 40
"""How many flipped bytes are tried in each file."""

Damage = Callable[[bytearray, random.Random], None]


@pytest.fixture
async def log() -> AsyncIterator[LogWatch]:
    """The log."""
    with watching() as watch:
        yield watch


@pytest.fixture
async def crashed(tmp_path: Path) -> Path:
    """A folder as a crash leaves it: all events are in the write-ahead log, in batches of five and of one."""
    batches = [JOBS[first : first + 5] for first in range(0, 20, 5)]
    return await crashed_spool(tmp_path / "crashed", *batches, *([job] for job in JOBS[20:]))


@pytest.fixture
async def closed(tmp_path: Path) -> Path:
    """A folder as an ordered stop leaves it: all events are in the main file."""
    return await closed_spool(tmp_path / "closed", JOBS[:20], JOBS[20:])


def only(folder: Path, pattern: str) -> Path:
    """The one file of that pattern."""
    (path,) = folder.glob(pattern)
    return path


def assert_damage_is_said_and_kept(log: LogWatch, folder: Path, *, intact: int) -> None:
    """There is a line about it, and the file is there under another name, and nothing else is."""
    (line,) = log.of("spool.damaged")
    assert line["log_level"] == "error"
    assert line["intact"] == intact
    assert [entry["kept_as"] for entry in log.of("spool.set_aside")] == files_in(folder, "*.damaged")
    assert set(files_in(folder)) <= {line["file"] + suffix for suffix in (".damaged", ".damaged-wal")}
    assert files_in(folder, "*.damaged") == [line["file"] + ".damaged"]


async def test_what_is_whole_is_not_said_to_be_damaged(crashed: Path, closed: Path, log: LogWatch) -> None:
    """A crash alone damages nothing."""
    assert await taken_up(crashed) == await taken_up(closed) == IDS
    assert log.of("spool.damaged") == []
    assert files_in(crashed) == files_in(closed) == []


@pytest.mark.parametrize(
    ("kind", "pattern"), [("crashed", "*.spool"), ("crashed", "*.spool-wal"), ("closed", "*.spool")]
)
async def test_a_flipped_byte_costs_one_event_at_most(
    kind: str, pattern: str, crashed: Path, closed: Path, tmp_path: Path, log: LogWatch
) -> None:
    """Wherever it is; and if it costs one, that is said. Places in headers are tried more often than others."""
    whole = crashed if kind == "crashed" else closed
    places = random.Random(f"{kind} {pattern}")
    for flip in range(FLIPS):
        folder = tmp_path / f"flipped-{flip}"
        shutil.copytree(whole, folder)
        path = only(folder, pattern)
        image = bytearray(path.read_bytes())
        header = places.randrange(0, len(image), 8192 if pattern == "*.spool" else 24 + 8192)
        place = min(
            places.choice([places.randrange(120), header + places.randrange(60), header + 4000]), len(image) - 1
        )
        image[place] ^= places.randrange(1, 256)
        path.write_bytes(image)
        log.entries.clear()
        ids = await taken_up(folder)
        assert len(IDS) - 1 <= len(ids) <= len(IDS), place
        assert ids == [job_id for job_id in IDS if job_id in ids], place
        if log.of("spool.damaged") or len(ids) < len(IDS):
            assert_damage_is_said_and_kept(log, folder, intact=len(ids))


def truncate(image: bytearray, places: random.Random) -> None:
    """Cut off the end."""
    del image[places.randrange(len(image)) :]


def zero_a_sector(image: bytearray, places: random.Random) -> None:
    """As a disk gives back what it cannot read."""
    start = places.randrange(0, len(image), 4096)
    image[start : start + 4096] = bytes(min(4096, len(image) - start))


def scribble(image: bytearray, places: random.Random) -> None:
    """Write anything anywhere, for a good part of the file."""
    start = places.randrange(len(image))
    length = min(places.randrange(20_000), len(image) - start)
    image[start : start + length] = places.randbytes(length)


def empty(image: bytearray, places: random.Random) -> None:
    """Leave nothing."""
    image.clear()


@pytest.mark.parametrize("damage", [truncate, zero_a_sector, scribble, empty])
@pytest.mark.parametrize(
    ("kind", "pattern"), [("crashed", "*.spool"), ("crashed", "*.spool-wal"), ("closed", "*.spool")]
)
async def test_whatever_can_be_found_in_the_files_is_drained(
    damage: Damage, kind: str, pattern: str, crashed: Path, closed: Path, tmp_path: Path, log: LogWatch
) -> None:
    """Each event of which all bytes are there, by a search of the files that knows nothing of spools."""
    whole = crashed if kind == "crashed" else closed
    places = random.Random(f"{damage.__name__} {kind} {pattern}")
    small = [job for job in JOBS if len(job.to_bytes()) < 1_000]
    for attempt in range(12):
        folder = tmp_path / f"damaged-{attempt}"
        shutil.copytree(whole, folder)
        path = only(folder, pattern)
        image = bytearray(path.read_bytes())
        damage(image, places)
        path.write_bytes(image)
        everything = b"".join(path.read_bytes() for path in folder.iterdir())
        there = {job.id for job in small if job.to_bytes() in everything}
        log.entries.clear()
        ids = await taken_up(folder)
        # What stands behind the end of a torn log was never acknowledged, as far as anybody can know.
        if pattern != "*.spool-wal" or damage is not truncate:
            assert there <= set(ids)
        assert ids == [job_id for job_id in IDS if job_id in ids]
        if log.of("spool.damaged"):
            assert_damage_is_said_and_kept(log, folder, intact=len(ids))
        elif pattern != "*.spool-wal" and image:
            assert ids == IDS


@pytest.mark.parametrize("place", [0, 16, 18, 19, 20, 21, 44, 56, 100, 105])
async def test_a_damaged_header_costs_nothing(place: int, closed: Path, log: LogWatch) -> None:
    """Whatever SQLite says about it: not a database, of a later version, read-only, of another encoding."""
    path = only(closed, "*.spool")
    image = bytearray(path.read_bytes())
    image[place : place + 4] = bytes([99] * 4)
    path.write_bytes(image)
    assert await taken_up(closed) == IDS
    assert_damage_is_said_and_kept(log, closed, intact=len(IDS))


async def test_a_log_torn_at_its_end_is_no_damage(crashed: Path, tmp_path: Path, log: LogWatch) -> None:
    """That is a commit that was under way when the process was killed: what was committed before is whole."""
    size = only(crashed, "*.spool-wal").stat().st_size
    for attempt in range(20):
        folder = tmp_path / f"torn-{attempt}"
        shutil.copytree(crashed, folder)
        with only(folder, "*.spool-wal").open("rb+") as file:
            file.truncate(size - attempt * 613)
        ids = await taken_up(folder)
        assert ids == IDS[: len(ids)]
        assert len(ids) >= len(IDS) - 3
        assert files_in(folder) == []
    assert log.of("spool.damaged") == []


async def test_garbage_is_kept_aside(tmp_path: Path, log: LogWatch) -> None:
    """Byte for byte: it may have been something."""
    folder = tmp_path / "spool"
    folder.mkdir()
    garbage = random.Random("garbage").randbytes(100_000)
    (folder / "0000000000001-1-aa.spool").write_bytes(garbage)
    assert await taken_up(folder) == []
    assert_damage_is_said_and_kept(log, folder, intact=0)
    assert only(folder, "*.damaged").read_bytes() == garbage


async def test_somebody_elses_database_is_kept_aside(tmp_path: Path, log: LogWatch) -> None:
    """It is whole, but it is no spool."""
    folder = tmp_path / "spool"
    folder.mkdir()
    connection = sqlite3.connect(folder / "0000000000001-1-aa.spool")
    connection.execute("CREATE TABLE precious (content TEXT)")
    connection.close()
    assert await taken_up(folder) == []
    assert_damage_is_said_and_kept(log, folder, intact=0)


async def test_a_log_without_its_main_file_is_drained(crashed: Path, log: LogWatch) -> None:
    """SQLite would throw it away."""
    only(crashed, "*.spool").unlink()
    assert await taken_up(crashed) == IDS
    assert len(log.of("spool.damaged")) == 1
    assert files_in(crashed) == [log.of("spool.damaged")[0]["file"] + ".damaged-wal"]


async def test_what_was_drained_before_the_damage_does_not_come_again(tmp_path: Path, log: LogWatch) -> None:
    """Old versions of pages still hold it, in the log and in the free pages."""
    folder = tmp_path / "spool"
    async with SpoolFolder(folder, max_bytes=ROOM) as spool:
        await spool.append(JOBS)
        batch = await spool.oldest(15)
        assert batch is not None
        await spool.remove(batch)
        shutil.copytree(folder, tmp_path / "crashed", ignore=shutil.ignore_patterns("*-shm"))
    path = only(tmp_path / "crashed", "*.spool-wal")
    image = bytearray(path.read_bytes())
    image[40_000] ^= 1
    path.write_bytes(image)
    ids = await taken_up(tmp_path / "crashed")
    assert set(ids) <= set(IDS[15:])
    assert len(ids) >= len(IDS) - 16
    assert_damage_is_said_and_kept(log, tmp_path / "crashed", intact=len(ids))


async def test_how_much_is_lost_at_least_is_said(closed: Path, log: LogWatch) -> None:
    """Known from the numbers that are missing."""
    path = only(closed, "*.spool")
    image = path.read_bytes()
    gone = [JOBS[number].to_bytes() for number in (3, 4, 30)]
    for payload in gone:
        assert image.count(payload) == 1
        image = image.replace(payload, payload[:-1] + b"!")
    path.write_bytes(image)
    ids = await taken_up(closed)
    assert [IDS.index(job_id) for job_id in IDS if job_id not in ids] == [3, 4, 30]
    assert log.of("spool.damaged")[0]["lost_at_least"] == 3


@pytest.mark.parametrize("then", ["drain", "append"])
async def test_damage_to_a_spool_in_use_is_met_as_well(then: str, tmp_path: Path, log: LogWatch) -> None:
    """Its own process salvages it, goes on in a new file, and nothing is asked of anybody."""
    folder = tmp_path / "spool"
    async with SpoolFolder(folder, max_bytes=ROOM) as spool:
        await spool.append(JOBS[:39])
        for pattern in ("*.spool", "*.spool-wal"):
            path = only(folder, pattern)
            image = bytearray(path.read_bytes())
            for place in range(0, len(image), 24 + 8192 if "wal" in pattern else 8192):
                image[place : place + 60] = bytes(len(image[place : place + 60]))  # the head of each page
            path.write_bytes(image)
        if then == "append":
            # SQLite need not look at what is damaged to add to it; in the end it must not matter.
            await spool.append(JOBS[39:])
        ids = await drain(spool, at_once=10)
        assert set(ids) >= set(IDS[:39])
        await spool.append([JOBS[0]])
        assert await drain(spool) == IDS[:1]


async def test_an_event_that_cannot_be_read_does_not_hold_up_the_others(tmp_path: Path, log: LogWatch) -> None:
    """Its frame is intact, its contents are from a version that we do not know: the file is kept."""

    class Foreign:
        """An event of another version."""

        record = job_of(1).record
        replayed = False

        def to_bytes(self) -> bytes:
            """Bytes that are no job of ours."""
            return b'{"version": 99}'

    folder = tmp_path / "spool"
    foreign: Job = Foreign()  # type: ignore[assignment] # what another version would have written
    await closed_spool(folder, [JOBS[0], foreign, JOBS[2]])
    assert await taken_up(folder) == [IDS[0], IDS[2]]
    assert [entry["file"] for entry in log.of("spool.unreadable")] == [log.of("spool.damaged")[0]["file"]]
    assert len(files_in(folder, "*.damaged")) == 1
