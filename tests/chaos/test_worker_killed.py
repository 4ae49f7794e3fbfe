"""Workers that are killed, stopped, or killed by an event, while others run: nothing is lost, nobody else is blamed."""

from __future__ import annotations

import asyncio
import os
import random
import signal
import time
from collections import Counter
from contextlib import suppress
from pathlib import Path

import aiohttp
import pytest

from broker.audit import audit
from broker.dead_letters import list_dead_letters
from broker.redis.client import close
from broker.redis.embedded import url_of
from tests.support.events import admitted, body_of, record_of
from tests.support.processes import OurProcess
from tests.support.store import RedisClient, connect
from tests.support.workers import run_burst, until

TOKEN = "a-token-for-the-tests-of-killed-workers"
LEASE_SECONDS = 1

HANDLERS = """
import asyncio
import ctypes
import os
import signal

from handlers import on


@on("*", attempts=1)
async def work(event, ctx):
    with open("effects", "ab") as effects:
        effects.write(f"{event.id} {ctx.attempt}\\n".encode())
        effects.flush()
        os.fsync(effects.fileno())
    ctx.log.info("entered", id=event.id)
    if event.type == "test.exits":
        os._exit(1)
    if event.type == "test.segfaults":
        ctypes.string_at(0)
    if event.type == "test.runs_out_of_memory":
        os.kill(os.getpid(), signal.SIGKILL)  # as the kernel does
    await asyncio.sleep(float(os.environ.get("HOLD_SECONDS", "0")))
"""


def effects(folder: Path) -> Counter[str]:
    """How often each event was run in which attempt, from what the handlers wrote outside Redis."""
    return Counter((folder / "effects").read_text().splitlines())


def environment(folder: Path, **settings: str) -> dict[str, str]:
    """Of a process with the handler above, which takes as long as HOLD_SECONDS says."""
    (folder / "mine.py").write_text(HANDLERS)
    return {
        "KONVOX_HANDLERS": "./mine.py",
        "KONVOX_PORT": "0",
        "KONVOX_ADMIN_PORT": "0",
        "KONVOX_LEASE_SECONDS": str(LEASE_SECONDS),
        **settings,
    }


async def _delivered(server: RedisClient, count: int) -> bool:
    return bool((await audit(server)).delivered == count)


async def test_a_killed_workers_events_run_elsewhere_within_the_lease(
    server: RedisClient, redis_url: str, tmp_path: Path
) -> None:
    """A worker that is already running takes a killed worker's events as soon as their leases lapse."""
    env = environment(tmp_path, KONVOX_REDIS_URL=redis_url)
    async with await OurProcess.start("worker", env={**env, "HOLD_SECONDS": "60"}, cwd=tmp_path) as victim:
        jobs = await admitted(server, 3)
        for job in jobs:
            await victim.logged("entered", id=job.record.id)
        async with await OurProcess.start("worker", env=env, cwd=tmp_path) as other:
            await other.logged("worker.started")
            assert not any(line["event"] == "entered" for line in other.log)
            await victim.kill()
            killed = time.monotonic()
            await until(lambda: _delivered(server, 3))
            assert time.monotonic() - killed < LEASE_SECONDS + 4  # what is above the lease is for a loaded machine
            assert await other.terminate() == 0
    assert effects(tmp_path) == {f"{job.record.id} 1": 2 for job in jobs}
    ledger = await audit(server)
    assert (ledger.dead_letters, ledger.balanced) == (0, True)


async def test_kills_at_random_moments_lose_nothing(server: RedisClient, redis_url: str, tmp_path: Path) -> None:
    """Two kills at random moments lose nothing, and what runs twice was in flight when a worker was killed.

    There are only two kills, because an event that is in flight at three of them is taken for poison.
    """
    concurrency, kills, seed = 5, 2, random.randrange(2**32)
    chance = random.Random(seed)
    env = environment(tmp_path, KONVOX_REDIS_URL=redis_url, KONVOX_CONCURRENCY=str(concurrency), HOLD_SECONDS="0.02")
    jobs = await admitted(server, 400)
    for _ in range(kills):
        async with await OurProcess.start("worker", env=env, cwd=tmp_path) as victim:
            await victim.said(lambda line: line.get("event") == "entered", "run")
            await asyncio.sleep(chance.uniform(0, 0.3))  # the moment is what is random
            await victim.kill()
    async with await OurProcess.start("worker", "--burst", env=env, cwd=tmp_path) as last:
        assert await last.ended() == 0, last.stderr
    runs = effects(tmp_path)
    assert set(runs) == {f"{job.record.id} 1" for job in jobs}, f"seed {seed}"
    assert runs.total() - len(jobs) <= kills * concurrency, f"seed {seed}"
    ledger = await audit(server)
    assert (ledger.delivered, ledger.dead_letters, ledger.balanced) == (400, 0, True), f"seed {seed}"


async def test_sigterm_ten_times_in_a_row_costs_nothing(server: RedisClient, redis_url: str, tmp_path: Path) -> None:
    """Ten SIGTERMs in a row release what runs with its attempt, and the worker ends with exit code 0."""
    jobs = await admitted(server, 2)
    env = environment(tmp_path, KONVOX_REDIS_URL=redis_url, KONVOX_LEASE_SECONDS="60", HOLD_SECONDS="60")
    async with await OurProcess.start("worker", env=env, cwd=tmp_path) as worker:
        for job in jobs:
            await worker.logged("entered", id=job.record.id)
        os.kill(worker.process.pid, signal.SIGTERM)
        await worker.logged("worker.stopping")
        with suppress(ProcessLookupError):  # it may have ended by the third
            for _ in range(9):
                os.kill(worker.process.pid, signal.SIGTERM)
        assert await worker.ended() == 0, worker.stderr
    await run_burst(redis_url)
    assert effects(tmp_path) == {f"{job.record.id} 1": 1 for job in jobs}
    ledger = await audit(server)
    assert (ledger.delivered, ledger.dead_letters, ledger.balanced) == (2, 0, True)


@pytest.mark.parametrize("poison", ["test.exits", "test.segfaults", "test.runs_out_of_memory"])
async def test_an_event_that_kills_the_worker_ends_as_a_dead_letter(tmp_path: Path, poison: str) -> None:
    """An event that kills each new worker of `serve` becomes a dead letter, and all other events are delivered."""
    env = environment(tmp_path, KONVOX_HOOK_TOKENS=TOKEN)
    headers = {"Content-Type": "application/json"}
    async with (
        await OurProcess.start("serve", env=env, cwd=tmp_path) as serve,
        aiohttp.ClientSession(headers=headers) as session,
    ):
        url = f"{await serve.listening('receiver')}/hooks/konvox/{TOKEN}"

        async def send(number: int, event_type: str) -> None:
            async with session.post(url, data=body_of(number, event_type)) as answer:
                assert answer.status == 200

        await send(0, "test.fine")
        await send(1, poison)
        await send(2, "test.fine")
        for deaths in range(1, 4):
            await _died(serve, deaths)
            await send(2 + deaths, "test.fine")
        server = connect(url_of(tmp_path / ".konvox-hooks"))
        await until(lambda: _delivered(server, 5))
        await until(lambda: _is_dead(server))
        (letter,) = [letter async for letter in list_dead_letters(server)]
        ledger = await audit(server)
        await close(server)
        assert await serve.terminate() == 0
    assert (letter.event_id, letter.reason) == (record_of(1, poison).id, "poison")
    assert (ledger.delivered, ledger.dead, ledger.balanced) == (5, 1, True)
    assert effects(tmp_path)[f"{letter.event_id} 1"] == 3


async def _died(serve: OurProcess, times: int) -> None:
    """Wait until the worker has died so many times."""

    def died_so_often(_: object) -> bool:
        return [line["event"] for line in serve.log].count("child.died") >= times

    await serve.said(died_so_often, f"death number {times} of the worker")


async def _is_dead(server: RedisClient) -> bool:
    return bool((await audit(server)).dead == 1)
