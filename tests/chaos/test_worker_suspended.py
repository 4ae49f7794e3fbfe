"""A worker that is suspended for longer than its lease, and wakes up again: what it settles does not count."""

from __future__ import annotations

import os
import signal
from collections import Counter
from pathlib import Path

from broker.audit import audit
from broker.dead_letters import list_dead_letters
from tests.support.events import admitted, queued_ids
from tests.support.processes import OurProcess, worker_environment
from tests.support.store import RedisClient

HANDLERS = """
import asyncio
import os
from pathlib import Path

from handlers import on


async def work(event, ctx):
    with open("effects", "a") as effects:
        effects.write(event.type + "\\n")
    ctx.log.info("entered", type=event.type)
    if os.environ.get("HOLD"):
        while not Path("let_go").exists():
            await asyncio.sleep(0.01)
        raise RuntimeError("too late")


@on("test.retries")
async def retry(event, ctx):
    await work(event, ctx)


@on("test.dies", attempts=1)
async def die(event, ctx):
    await work(event, ctx)


@on("test.completes")
async def complete(event, ctx):
    try:
        await work(event, ctx)
    except RuntimeError:
        pass
"""

TYPES = ("test.retries", "test.dies", "test.completes")


async def test_a_worker_that_lost_the_lease_settles_nothing(
    server: RedisClient, redis_url: str, tmp_path: Path
) -> None:
    """A worker that lost its leases while it was suspended can neither complete, retry nor bury their events."""
    (tmp_path / "mine.py").write_text(HANDLERS)
    env = worker_environment(redis_url)
    jobs = [job for event_type in TYPES for job in await admitted(server, 1, event_type)]
    async with await OurProcess.start("worker", env={**env, "HOLD": "1"}, cwd=tmp_path) as suspended:
        for event_type in TYPES:
            await suspended.logged("entered", type=event_type)
        os.kill(suspended.process.pid, signal.SIGSTOP)
        async with await OurProcess.start("worker", "--burst", env=env, cwd=tmp_path) as other:
            assert await other.ended() == 0, other.stderr
        before = await audit(server)
        (tmp_path / "let_go").touch()
        os.kill(suspended.process.pid, signal.SIGCONT)
        for job in jobs:
            await suspended.logged("job.fenced", job_id=job.id)
        assert not [line for line in suspended.log if line["event"] == "worker.aborted"]
        assert await suspended.terminate() == 0
    assert (before.delivered, before.balanced) == (3, True)
    assert await audit(server) == before
    assert await queued_ids(server) == set()
    assert [letter async for letter in list_dead_letters(server)] == []
    assert Counter((tmp_path / "effects").read_text().split()) == dict.fromkeys(TYPES, 2)
