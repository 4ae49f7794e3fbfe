"""`ctx.once` in workers that are really killed: the effect is done again only where nobody can know that it was."""

from __future__ import annotations

from pathlib import Path

from broker.admission import AdmissionPolicy, admit
from broker.audit import audit
from broker.records import Job
from tests.support.events import admitted
from tests.support.processes import OurProcess, worker_environment
from tests.support.store import RedisClient

HANDLER = """
import asyncio
import os

from handlers import on


@on("*", attempts=1, timeout=60)
async def tell(event, ctx):
    async with ctx.once("crm") as first:
        with open("effects", "a") as effects:
            effects.write(f"{'first' if first else 'again'} {ctx.attempt}\\n")
        ctx.log.info("entered")
        if os.environ.get("HANG"):
            await asyncio.sleep(3600)
"""


async def test_a_crash_in_the_block_releases_the_key_with_the_lease(
    server: RedisClient, redis_url: str, tmp_path: Path
) -> None:
    """A key of `ctx.once` lapses with the crashed worker's lease, so the run that follows is first again."""
    (tmp_path / "mine.py").write_text(HANDLER)
    env = worker_environment(redis_url)
    (job,) = await admitted(server, 1)
    async with await OurProcess.start("worker", env={**env, "HANG": "1"}, cwd=tmp_path) as killed:
        await killed.logged("entered")
        await killed.kill()
    for _ in range(2):
        async with await OurProcess.start("worker", "--burst", env=env, cwd=tmp_path) as other:
            assert await other.ended() == 0, other.stderr
        await admit(server, [Job.replay(job.record)], AdmissionPolicy())
    assert (tmp_path / "effects").read_text().splitlines() == ["first 1", "first 1", "again 1"]
    ledger = await audit(server)
    assert (ledger.accepted, ledger.delivered, ledger.pending, ledger.dead_letters) == (3, 2, 1, 0)
