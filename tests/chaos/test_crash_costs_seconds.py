"""A crash costs seconds: all that a killed or stopped worker held runs again at once and before a backlog.

On real processes, and counted as in the matrix of faults: what runs again was in flight at a kill. An event that kills
its worker is run three times; another one runs again at most twice for it.
"""

from __future__ import annotations

import asyncio
import os
import signal
import time
from collections import Counter
from pathlib import Path

import pytest

from broker.admission import AdmissionPolicy, admit
from broker.audit import audit
from broker.dead_letters import list_dead_letters
from broker.records import Job
from tests.support.events import record_of
from tests.support.processes import OurProcess
from tests.support.store import KEYS, RedisClient
from tests.support.workers import until

LEASE_SECONDS = 2
BACKLOG = 25_000

HANDLERS = """
import asyncio
import os

from handlers import on


def note(name, event):
    with open(name, "ab") as file:
        file.write(f"{event.id}\\n".encode())
        file.flush()
        os.fsync(file.fileno())


@on("test.fast", attempts=1)
async def fast(event, ctx):
    await asyncio.sleep(0.05)


@on("test.slow", attempts=1)
async def slow(event, ctx):
    note("entered", event)
    await asyncio.sleep(float(os.environ["SLOW_SECONDS"]))
    note("done", event)


@on("test.poison", attempts=1)
async def poison(event, ctx):
    note("entered", event)
    await asyncio.sleep(float(os.environ["POISON_SECONDS"]))
    os._exit(1)
"""


def environment(folder: Path, redis_url: str, **settings: str) -> dict[str, str]:
    """Of a worker with the handlers above."""
    (folder / "mine.py").write_text(HANDLERS)
    usual = {"KONVOX_ADMIN_PORT": "0", "KONVOX_LEASE_SECONDS": str(LEASE_SECONDS), "POISON_SECONDS": "0.05"}
    return {"KONVOX_REDIS_URL": redis_url, "KONVOX_HANDLERS": "./mine.py", "SLOW_SECONDS": "2", **usual, **settings}


def noted(folder: Path, name: str) -> Counter[str]:
    """How often each event was noted there."""
    path = folder / name
    return Counter(path.read_text().splitlines()) if path.exists() else Counter()


async def come_in(server: RedisClient, event_type: str, count: int, first: int = 0) -> list[Job]:
    """Admit so many events."""
    record = record_of(0, event_type)
    jobs = [Job.first(record._replace(id=f"evt_{number:026}")) for number in range(first, first + count)]
    for start in range(0, count, 500):
        assert all(await admit(server, jobs[start : start + 500], AdmissionPolicy()))
    return jobs


async def all_noted(folder: Path, name: str, jobs: list[Job], times: int = 1) -> None:
    """Wait until each of these was noted so often."""
    ids = [job.record.id for job in jobs]

    async def are_noted() -> bool:
        counts = noted(folder, name)
        return all(counts[event_id] >= times for event_id in ids)

    await until(are_noted)


@pytest.mark.parametrize(("slow", "how"), [(1, "killed"), (60, "killed"), (100, "killed"), (60, "stopped")])
async def test_what_a_worker_held_is_done_within_the_lease_whatever_waits(
    server: RedisClient, redis_url: str, tmp_path: Path, slow: int, how: str
) -> None:
    """25,000 events wait; all that were in flight run again at once, before the first of those."""
    env = environment(tmp_path, redis_url, KONVOX_CONCURRENCY=str(slow), KONVOX_STOP_SECONDS="0.1")
    held = await come_in(server, "test.slow", slow)
    async with await OurProcess.start("worker", env={**env, "SLOW_SECONDS": "60"}, cwd=tmp_path) as victim:
        await all_noted(tmp_path, "entered", held)
        await come_in(server, "test.fast", BACKLOG, first=slow)
        if how == "killed":
            await victim.kill()
        else:
            os.kill(victim.process.pid, signal.SIGTERM)
            assert await victim.ended() == 0, victim.stderr
    ended_at = time.monotonic()
    async with await OurProcess.start("worker", env={**env, "KONVOX_CONCURRENCY": "100"}, cwd=tmp_path) as other:
        await all_noted(tmp_path, "entered", held, times=2)
        started_seconds = time.monotonic() - ended_at
        await all_noted(tmp_path, "done", held)
        done_seconds = time.monotonic() - ended_at
        assert await other.terminate() == 0
    spare = 4  # for the start of a process on a loaded machine
    assert started_seconds < (LEASE_SECONDS + 2 if how == "killed" else 2) + spare
    assert done_seconds < LEASE_SECONDS + 6 + spare
    assert noted(tmp_path, "entered") == {job.record.id: 2 for job in held}
    ledger = await audit(server)
    assert (ledger.accepted, ledger.dead_letters, ledger.balanced) == (slow + BACKLOG, 0, True)


async def _delivered(server: RedisClient, count: int) -> bool:
    return (await audit(server)).delivered == count


@pytest.mark.parametrize("poison", [1, 3])
async def test_poison_among_others_is_convicted_alone(
    server: RedisClient, redis_url: str, tmp_path: Path, poison: int
) -> None:
    """It is run three times and no more; the others are delivered, each run again at most twice for each poison."""
    env = environment(tmp_path, redis_url, KONVOX_CONCURRENCY="100", KONVOX_LEASE_SECONDS="1", SLOW_SECONDS="0.1")
    others = await come_in(server, "test.slow", 60)
    guilty = await come_in(server, "test.poison", poison, first=60)
    late = await come_in(server, "test.slow", 20, first=100)
    letters: list[str] = []
    while len(letters) < poison:
        async with await OurProcess.start("worker", env=env, cwd=tmp_path) as worker:
            ended = asyncio.create_task(worker.process.wait())
            while not ended.done() and len(letters) < poison:
                letters = [letter.event_id async for letter in list_dead_letters(server)]
                await asyncio.wait([ended], timeout=0.05)
            if not ended.done():
                await until(lambda: _delivered(server, 80))
                await worker.terminate()
            await ended
    assert set(letters) == {job.record.id for job in guilty}
    runs = noted(tmp_path, "entered")
    assert {runs[job.record.id] for job in guilty} == {3}
    assert max(runs[job.record.id] for job in (*others, *late)) <= 1 + 2 * poison
    assert runs.total() - 80 - 3 * poison <= 3 * poison * 99
    ledger = await audit(server)
    assert (ledger.delivered, ledger.dead, ledger.balanced) == (80, poison, True)
    assert not await server.exists(KEYS.crashes, KEYS.suspects, KEYS.leases)
