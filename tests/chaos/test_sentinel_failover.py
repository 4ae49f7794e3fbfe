"""The master killed under load, with a real Sentinel set-up and real processes: nothing is lost, nothing is refused."""

from __future__ import annotations

import asyncio
import itertools
import time
from collections import Counter
from functools import partial
from pathlib import Path

import aiohttp
import redis.asyncio

from broker.audit import audit
from broker.redis.client import close
from konvox.samples import sample_body
from tests.support.processes import OurProcess
from tests.support.sentinel import SentinelSet
from tests.support.store import RedisClient, connect
from tests.support.workers import until

TOKEN = "a-token-for-the-tests-of-failovers"
SENDERS = 2
EVENTS_BEFORE, EVENTS_AFTER = 50, 20
CONCURRENCY = 20
BACK_SECONDS = 5.0

HANDLERS = """
from handlers import on


@on("*")
async def tell(event, ctx):
    ctx.log.info("seen", id=event.id)
"""


class Load:
    """Senders that deliver one event after the other, as Konvox would, until they are stopped.

    Attributes:
        acked: the ids of what was answered with 200.
        refused: every other answer.
    """

    def __init__(self, url: str) -> None:
        self.acked: list[str] = []
        self.refused: list[int] = []
        self._url = url
        self._stopping = False
        self._numbers = itertools.count()

    def stop(self) -> None:
        """Let each sender finish what it has sent."""
        self._stopping = True

    async def send(self, session: aiohttp.ClientSession) -> None:
        """One of the senders."""
        while not self._stopping:
            data = {"contactId": f"c{next(self._numbers)}", "channel": "email"}
            async with session.post(self._url, data=sample_body("contact.replied", data=data)) as answer:
                if answer.status == 200:
                    self.acked.append(str((await answer.json())["id"]))
                else:
                    self.refused.append(answer.status)


async def test_the_master_is_killed_under_load(tmp_path: Path) -> None:
    """Every event is answered with 200 and handled, and both roles are back within 5 s of the promotion.

    The new master has no replica at first, so that it cannot confirm anything: the events stay in the spool until the
    old master has come back as one.
    """
    (tmp_path / "mine.py").write_text(HANDLERS)
    with SentinelSet(tmp_path / "redis") as redis_set:
        env = {
            "KONVOX_REDIS_URL": redis_set.url(),
            "KONVOX_DURABILITY": "replicas",
            "KONVOX_HOOK_TOKENS": TOKEN,
            "KONVOX_HANDLERS": "./mine.py",
            "KONVOX_CONCURRENCY": str(CONCURRENCY),
            "KONVOX_PORT": "0",
            "KONVOX_ADMIN_PORT": "0",
        }
        async with (
            await OurProcess.start("receiver", env=env, cwd=tmp_path) as receiver,
            await OurProcess.start("worker", env=env, cwd=tmp_path) as worker,
            aiohttp.ClientSession(headers={"Content-Type": "application/json"}) as session,
            asyncio.TaskGroup() as tasks,
        ):
            load = Load(f"{await receiver.listening('receiver')}/hooks/konvox/{TOKEN}")
            for _ in range(SENDERS):
                tasks.create_task(load.send(session))
            await until(partial(_acked, load, EVENTS_BEFORE))
            await worker.logged("seen", id=load.acked[-1])

            promoted_at = await _fail_over(redis_set)
            await asyncio.gather(worker.logged("redis.restored"), receiver.logged("drain.started"))
            assert time.monotonic() - promoted_at < BACK_SECONDS
            await receiver.logged("drain.finished")
            await until(partial(_acked, load, len(load.acked) + EVENTS_AFTER))
            load.stop()

            server = connect(redis_set.url())
            await until(lambda: _all_delivered(server))
            ledger = await audit(server)
            await close(server)
            assert await receiver.terminate() == 0
            assert await worker.terminate() == 0
    runs = Counter(line["id"] for line in worker.log if line["event"] == "seen")
    assert load.refused == []
    assert set(load.acked) - set(runs) == set()
    assert runs.total() - len(runs) <= CONCURRENCY
    assert (ledger.dead, ledger.pending, ledger.balanced) == (0, 0, True)


async def _fail_over(redis_set: SentinelSet) -> float:
    """Kill the master, wait until the replica is promoted, bring the old one back; returns when it was promoted."""
    old_port = redis_set.master_port()
    async with redis.asyncio.Redis.from_url(redis_set.sentinel_url()) as sentinel, sentinel.pubsub() as news:
        await news.subscribe("+switch-master")
        redis_set.servers[old_port].kill()
        async for message in news.listen():
            if message["type"] == "message":
                break
    promoted_at = time.monotonic()
    new_port = int(message["data"].split()[-1])
    await asyncio.to_thread(redis_set.start_as_replica, old_port, of=new_port)
    return promoted_at


async def _all_delivered(server: RedisClient) -> bool:
    ledger = await audit(server)
    return bool(ledger.accepted == ledger.delivered)


async def _acked(load: Load, count: int) -> bool:
    return len(load.acked) >= count
