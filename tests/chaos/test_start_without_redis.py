"""A role that starts while Redis is away, or finds one that would lose events, as real processes."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import aiohttp
import pytest

from broker.redis.client import close
from tests.support.events import body_of
from tests.support.processes import OurProcess
from tests.support.refusals import lacks_replicas
from tests.support.store import KEYS, RedisClient, connect
from tests.support.valkey import ValkeyServer
from tests.support.workers import until

TOKEN = "a-token-for-the-tests-of-starting-alone"
BACK_SECONDS = 5.0


@pytest.fixture
def env(tmp_path: Path) -> dict[str, str]:
    """The settings of a role whose Redis is not there yet."""
    (tmp_path / "redis").mkdir()
    return {
        "KONVOX_REDIS_URL": ValkeyServer(tmp_path / "redis").url(),
        "KONVOX_HOOK_TOKENS": TOKEN,
        "KONVOX_PORT": "0",
        "KONVOX_ADMIN_PORT": "0",
    }


@pytest.fixture
async def http() -> AsyncIterator[aiohttp.ClientSession]:
    """A client."""
    async with aiohttp.ClientSession(headers={"Content-Type": "application/json"}) as session:
        yield session


async def status_of(http: aiohttp.ClientSession, url: str) -> int:
    """The status that a URL answers with."""
    async with http.get(url) as answer:
        return answer.status


async def is_ready(http: aiohttp.ClientSession, admin: str) -> bool:
    """Whether readiness is green."""
    return await status_of(http, f"{admin}/readyz") == 200


class Sender:
    """Delivers events to a receiver; each must be answered with 200."""

    def __init__(self, http: aiohttp.ClientSession, url: str) -> None:
        self._http = http
        self._url = f"{url}/hooks/konvox/{TOKEN}"
        self.ids: set[str] = set()

    async def deliver(self, *numbers: int) -> None:
        """Deliver events by number."""
        for number in numbers:
            async with self._http.post(self._url, data=body_of(number)) as answer:
                assert answer.status == 200
                self.ids.add((await answer.json())["id"])


async def queued(url: str) -> set[str]:
    """What waits in Redis."""
    server: RedisClient = connect(url)
    try:
        return {job_id.decode() for job_id in await server.zrange(KEYS.queue, 0, -1)}
    finally:
        await close(server)


async def test_a_receiver_takes_events_before_redis_is_there(
    env: dict[str, str], http: aiohttp.ClientSession, tmp_path: Path
) -> None:
    """Until Redis is there, a receiver spools events and is not ready; it is back within seconds of Redis.

    It is not ready either while Redis answers and takes no writes, although no event has come that would have found
    it out. The log has one line for each change.
    """
    async with await OurProcess.start("receiver", env=env, cwd=tmp_path) as receiver:
        admin, public = await receiver.listening("receiver.admin"), await receiver.listening("receiver")
        sender = Sender(http, public)
        await sender.deliver(1, 2, 3)
        assert not await is_ready(http, admin)
        assert await status_of(http, f"{admin}/healthz") == await status_of(http, f"{public}/healthz") == 200
        with ValkeyServer(tmp_path / "redis") as valkey:
            async with _in_time():
                await receiver.logged("drain.finished", events=3)
            assert await is_ready(http, admin)
            await sender.deliver(4)
            assert await queued(valkey.url()) == sender.ids
            with lacks_replicas(valkey):
                assert not await is_ready(http, admin)
            async with _in_time():
                await until(lambda: is_ready(http, admin))
            assert await receiver.terminate() == 0
    changes = [line["event"] for line in receiver.log if line["event"].startswith(("spooling.", "drain.", "redis."))]
    assert changes == ["spooling.started", "drain.started", "drain.finished"] * 2


async def test_a_redis_that_would_lose_events_is_refused_at_the_start(env: dict[str, str], tmp_path: Path) -> None:
    """A Redis without an append-only file leads to exit code 2 and a hint, and no receiver listens."""
    with ValkeyServer(tmp_path / "redis", appendonly="no"):
        for role in ("receiver", "worker"):
            async with await OurProcess.start(role, env=env, cwd=tmp_path) as process:
                assert await process.ended() == 2
            assert "no append-only file" in process.stderr
            assert "Set `appendonly yes`" in process.stderr
            assert not any(line.get("listener") == "receiver" for line in process.log)


async def test_eviction_is_refused_unless_allowed(
    env: dict[str, str], http: aiohttp.ClientSession, tmp_path: Path
) -> None:
    """A receiver refuses a Redis that evicts, but starts with a warning if KONVOX_ALLOW_EVICTION is set."""
    with ValkeyServer(tmp_path / "redis", maxmemory="100mb", maxmemory_policy="allkeys-lru"):
        async with await OurProcess.start("receiver", env=env, cwd=tmp_path) as refused:
            assert await refused.ended() == 2
        assert "KONVOX_ALLOW_EVICTION=true" in refused.stderr
        told = {**env, "KONVOX_ALLOW_EVICTION": "true"}
        async with await OurProcess.start("receiver", env=told, cwd=tmp_path) as receiver:
            await Sender(http, await receiver.listening("receiver")).deliver(1)
            assert await receiver.terminate() == 0
        [warning] = [line for line in receiver.log if line["event"] == "redis.unverified"]
        assert warning["level"] == "warning"
        assert "events would disappear" in warning["what"]


async def test_a_redis_that_would_lose_events_is_not_written_to_later_either(
    env: dict[str, str], http: aiohttp.ClientSession, tmp_path: Path
) -> None:
    """If the Redis that comes back after an outage would lose events, they stay in the spool until it is fixed."""
    with ValkeyServer(tmp_path / "redis") as good:
        async with await OurProcess.start("receiver", env=env, cwd=tmp_path) as receiver:
            admin = await receiver.listening("receiver.admin")
            sender = Sender(http, await receiver.listening("receiver"))
            await sender.deliver(1)
            good.kill()
            await sender.deliver(2)
            with ValkeyServer(tmp_path / "redis", appendonly="no") as unsafe:
                fault = await receiver.logged("redis.refused")
                assert (fault["level"], fault["hint"][:20]) == ("error", "Set `appendonly yes`")
                await sender.deliver(3)
                assert await queued(unsafe.url()) == set()
                assert not await is_ready(http, admin)
            good.start()
            async with _in_time():
                await receiver.logged("redis.approved")
                await receiver.logged("drain.finished", events=2)
            assert await is_ready(http, admin)
            assert await queued(good.url()) == sender.ids
            assert await receiver.terminate() == 0
    assert [line["event"] for line in receiver.log].count("redis.refused") == 1


async def test_a_worker_that_starts_without_redis_waits_for_it(
    env: dict[str, str], http: aiohttp.ClientSession, tmp_path: Path
) -> None:
    """A worker without Redis is alive but not ready; it starts once Redis is there, and stops on SIGTERM meanwhile."""
    async with await OurProcess.start("worker", env=env, cwd=tmp_path) as worker:
        admin = await worker.listening("worker.admin")
        await worker.logged("redis.lost")
        assert await status_of(http, f"{admin}/healthz") == 200
        assert not await is_ready(http, admin)
        with ValkeyServer(tmp_path / "redis"):
            async with _in_time():
                await worker.logged("worker.started")
                await until(lambda: is_ready(http, admin))
            assert await worker.terminate() == 0
    async with await OurProcess.start("worker", env=env, cwd=tmp_path) as worker:
        await worker.logged("redis.lost")
        assert await worker.terminate() == 0


def _in_time() -> asyncio.Timeout:
    """In the time within which a role must be back."""
    return asyncio.timeout(BACK_SECONDS)
