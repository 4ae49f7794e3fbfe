"""Handlers that will not end, in a real worker that is told to stop by real signals: it ends in order all the same."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path

import pytest

from broker.connection import Server
from broker.ledger import audit
from tests.support.events import admitted, claimed
from tests.support.processes import OurProcess

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


@pytest.mark.parametrize("signals", [1, 2])
@pytest.mark.parametrize("event_type", LEFT_BEHIND)
async def test_a_handler_that_will_not_end_does_not_keep_the_process(
    server: Server, redis_url: str, tmp_path: Path, event_type: str, signals: int
) -> None:
    """Its event is handed back without a crash, the log says where it was left, and the exit code is 0."""
    (tmp_path / "mine.py").write_text(HANDLERS)
    env = {
        "KONVOX_REDIS_URL": redis_url,
        "KONVOX_HANDLERS": "./mine.py",
        "KONVOX_ADMIN_PORT": "0",
        # One signal: it ends when this is over. Two: it does not wait for it.
        "KONVOX_STOP_SECONDS": "0.1" if signals == 1 else "60",
    }
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
    left = [line for line in worker.log if line["event"] == "process.left_behind"]
    place = LEFT_BEHIND[event_type]
    assert len(left) == (place is not None)
    assert all(str(place) in str(line) for line in left)
    assert "Traceback" not in worker.stderr
    (claim,) = (await claimed(server, token="next")).jobs
    assert claim.crashes == 0
    assert (await audit(server)).balanced
