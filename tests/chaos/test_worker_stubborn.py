"""Handlers that will not end, in a real worker that real signals ask to stop: it ends in order all the same."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path

import aiohttp
import pytest

from broker.audit import audit
from broker.dead_letters import list_dead_letters
from tests.support.events import admitted, claimed
from tests.support.processes import OurProcess, worker_environment
from tests.support.store import RedisClient

HANDLERS = """
import asyncio
import threading
import time

from handlers import on


@on("test.swallows")
async def swallow(event, ctx):
    ctx.log.info("entered")
    while True:
        try:
            await asyncio.sleep(3600)
        except asyncio.CancelledError:
            pass


@on("test.swallows_everything")
async def swallow_everything(event, ctx):
    ctx.log.info("entered")
    while True:
        try:
            await asyncio.sleep(3600)
        except BaseException:
            pass


@on("test.hangs_in_thread")
def hang(event, ctx):
    ctx.log.info("entered")
    time.sleep(3600)


@on("test.hangs_in_executor")
async def hang_in_executor(event, ctx):
    ctx.log.info("entered")
    await asyncio.to_thread(time.sleep, 3600)


@on("test.hangs_in_thread_of_its_own")
async def hang_in_thread_of_its_own(event, ctx):
    threading.Thread(target=time.sleep, args=(3600,)).start()
    ctx.log.info("entered")
    await asyncio.sleep(3600)
"""

LEFT_BEHIND = {
    "test.swallows": "swallow (",
    "test.swallows_everything": "swallow_everything (",
    "test.hangs_in_thread": None,  # our own threads are daemons
    "test.hangs_in_executor": "threads of asyncio.to_thread",
    "test.hangs_in_thread_of_its_own": "Thread",
}


BLOCKERS = """
import os
import time

from handlers import on


@on("test.blocks", timeout=0.5)
async def block(event, ctx):
    ctx.log.info("entered", id=event.id)
    with open("effects", "a") as effects:
        effects.write(event.id + "\\n")
    time.sleep(3600)


@on("test.fine")
async def fine(event, ctx):
    ctx.log.info("fine", id=event.id)
"""


@pytest.mark.parametrize(
    ("event_type", "signals"), [("test.swallows", 1), *((event_type, 2) for event_type in LEFT_BEHIND)]
)
async def test_a_handler_that_will_not_end_does_not_keep_the_process(
    server: RedisClient, redis_url: str, tmp_path: Path, event_type: str, signals: int
) -> None:
    """An event whose handler does not end is released without a crash, the log says where it hangs, and exit is 0."""
    (tmp_path / "mine.py").write_text(HANDLERS)
    # One signal: it ends when this is over. Two: it does not wait for it.
    env = worker_environment(redis_url, KONVOX_STOP_SECONDS="0.1" if signals == 1 else "60")
    await admitted(server, 1, event_type)
    async with await OurProcess.start("worker", env=env, cwd=tmp_path) as worker:
        await worker.logged("entered")
        told = time.monotonic()
        for _ in range(signals):
            os.kill(worker.process.pid, signal.SIGTERM)
            await worker.logged("worker.stopping")
        assert await worker.ended() == 0, worker.stderr
        assert time.monotonic() - told < 15
    assert [line["event"] for line in worker.log].count("worker.stopped") == 1
    left = [line for line in worker.log if line["event"] == "exit.forced"]
    place = LEFT_BEHIND[event_type]
    assert len(left) == (place is not None)
    assert all(str(place) in str(line) for line in left)
    assert "Traceback" not in worker.stderr
    (claim,) = (await claimed(server, token="next")).jobs
    assert claim.crashes == 0
    assert (await audit(server)).balanced


@pytest.mark.parametrize("signals", [1, 2])
async def test_a_handler_that_blocks_the_loop_does_not_keep_the_process(
    server: RedisClient, redis_url: str, tmp_path: Path, signals: int
) -> None:
    """If a handler blocks the loop, a signal still stops the worker, and its jobs are released without a crash."""
    (tmp_path / "mine.py").write_text(BLOCKERS.replace("timeout=0.5", "timeout=60"))
    env = worker_environment(redis_url, KONVOX_STOP_SECONDS="0.1" if signals == 1 else "60")
    await admitted(server, 3, "test.blocks")
    async with await OurProcess.start("worker", env=env, cwd=tmp_path) as worker:
        await worker.logged("entered")
        os.kill(worker.process.pid, signal.SIGTERM)
        if signals == 2:
            await worker.logged("loop.blocked", handler="mine.block")  # by then the first has been taken in
            os.kill(worker.process.pid, signal.SIGTERM)
        assert await worker.ended() == 0, worker.stderr
    assert [line["released"] for line in worker.log if line["event"] == "worker.stopped_while_blocked"] == [3]
    claims = (await claimed(server, token="next")).jobs
    assert [claim.crashes for claim in claims] == [0, 0, 0]


async def test_an_event_that_blocks_the_loop_for_ever_ends_as_a_dead_letter(
    server: RedisClient, redis_url: str, tmp_path: Path
) -> None:
    """An event that blocks the loop for ever is a dead letter after three crashes, and what waited is delivered."""
    (tmp_path / "mine.py").write_text(BLOCKERS)
    jobs = await admitted(server, 1, "test.blocks") + await admitted(server, 5, "test.fine")
    codes: list[int] = []
    while not codes or codes[-1] != 0:
        async with await OurProcess.start(
            "worker", "--burst", env=worker_environment(redis_url), cwd=tmp_path
        ) as worker:
            codes.append(await worker.ended())
        assert len(codes) <= 4, worker.stderr
        assert "Traceback" not in worker.stderr
    assert codes == [1, 1, 1, 0]
    (letter,) = [letter async for letter in list_dead_letters(server)]
    assert (letter.reason, letter.event_id) == ("poison", jobs[0].record.id)
    assert (tmp_path / "effects").read_text().splitlines() == [jobs[0].record.id] * 3
    ledger = await audit(server)
    assert (ledger.delivered, ledger.dead, ledger.balanced) == (5, 1, True)


async def test_metrics_count_handlers_that_misbehave(server: RedisClient, redis_url: str, tmp_path: Path) -> None:
    """The metrics count the blocks of the loop, their seconds, and the threads that overran their time limit."""
    (tmp_path / "mine.py").write_text(
        BLOCKERS.replace("3600", "1.6") + "@on('test.hangs', timeout=0.1, attempts=1)\n"
        "def hang(event, ctx):\n    time.sleep(3600)\n"
    )
    async with await OurProcess.start("worker", env=worker_environment(redis_url), cwd=tmp_path) as worker:
        await admitted(server, 1, "test.blocks")
        await worker.logged("loop.unblocked", handler="mine.block")
        await admitted(server, 1, "test.hangs")
        await worker.logged("handler.dead_lettered")
        url = await worker.listening("worker.admin")
        async with aiohttp.ClientSession() as session, session.get(f"{url}/metrics") as answer:
            metrics = dict(line.split() for line in (await answer.text()).splitlines() if not line.startswith("#"))
        assert await worker.terminate() == 0
    counts = {name.removeprefix("konvox_worker_"): float(value) for name, value in metrics.items()}
    abandoned, still_running = counts["threads_abandoned_total"], counts["threads_still_running"]
    assert (counts["loop_blocks_total"], abandoned, still_running) == (1, 1, 1)
    assert 1 <= counts["loop_blocked_seconds_total"] < 4
