"""Stopping a receiver, as a real process: what was begun is answered, what was answered is kept."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from broker.redis.client import close
from konvox_hooks.config.settings import SPOOL
from receiver.spool import spooled_events
from tests.support.events import body_of, record_of
from tests.support.http import http_request, read_answer
from tests.support.processes import OurProcess
from tests.support.store import KEYS, RedisClient, connect
from tests.support.valkey import ValkeyServer
from tests.support.workers import until

TOKEN = "a-token-for-the-tests-of-stopping"
PATH = f"/hooks/konvox/{TOKEN}"
AT_ONCE_SECONDS = 5.0


@asynccontextmanager
async def started(redis_url: str, folder: Path, **settings: str) -> AsyncIterator[tuple[OurProcess, int]]:
    """Start a receiver; yields it and the port that it listens on."""
    env = {
        "KONVOX_REDIS_URL": redis_url,
        "KONVOX_HOOK_TOKENS": TOKEN,
        "KONVOX_PORT": "0",
        "KONVOX_ADMIN_PORT": "0",
        **settings,
    }
    async with await OurProcess.start("receiver", env=env, cwd=folder) as receiver:
        yield receiver, urlsplit(await receiver.listening("receiver")).port or 0


@asynccontextmanager
async def half_sent(port: int, number: int) -> AsyncIterator[tuple[asyncio.StreamReader, asyncio.StreamWriter, bytes]]:
    """A delivery of which the last bytes are still to come."""
    request = http_request(PATH, body_of(number))
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        # A whole one before it on the same connection: once that is answered, the receiver reads what we send.
        writer.write(http_request(PATH, body_of(0)))
        assert (await read_answer(reader)).status == 200
        writer.write(request[:-10])
        await writer.drain()
        yield reader, writer, request[-10:]
    finally:
        writer.close()


async def queued(server: RedisClient) -> set[str]:
    """What waits in Redis."""
    return {job_id.decode() for job_id in await server.zrange(KEYS.queue, 0, -1)}


async def is_closed(port: int) -> bool:
    """Whether nobody listens there."""
    try:
        _, writer = await asyncio.open_connection("127.0.0.1", port)
    except ConnectionRefusedError:
        return True
    writer.close()
    return False


async def test_what_was_begun_is_answered(own_valkey: ValkeyServer, tmp_path: Path) -> None:
    """After SIGTERM new connections are refused, and a delivery that waits for Redis is kept and answered with 200."""
    assert own_valkey.process is not None
    async with started(own_valkey.url(), tmp_path) as (receiver, port), half_sent(port, 1) as (reader, writer, rest):
        own_valkey.process.send_signal(signal.SIGSTOP)
        try:
            writer.write(rest)
            receiver.process.terminate()
            await receiver.logged("receiver.stopping")
            await until(lambda: is_closed(port))
        finally:
            own_valkey.process.send_signal(signal.SIGCONT)
        assert (await read_answer(reader)).status == 200
        assert await receiver.ended() == 0
        await receiver.logged("receiver.stopped", accepted=2)
    server = connect(own_valkey.url())
    assert await queued(server) == {record_of(number).id for number in (0, 1)}
    await close(server)


async def test_the_batch_under_way_is_drained(own_valkey: ValkeyServer, tmp_path: Path) -> None:
    """A hanging Redis does not delay SIGTERM: the batch is spooled, answered, and drained by the next process."""
    assert own_valkey.process is not None
    async with started(own_valkey.url(), tmp_path) as (receiver, port), half_sent(port, 1) as (reader, writer, rest):
        own_valkey.process.send_signal(signal.SIGSTOP)
        try:
            writer.write(rest)
            receiver.process.terminate()
            assert (await read_answer(reader)).status == 200
            assert await receiver.ended() == 0
        finally:
            own_valkey.process.send_signal(signal.SIGCONT)
    assert spooled_events(tmp_path / ".konvox-hooks" / SPOOL).ids == (record_of(1).id,)
    async with started(own_valkey.url(), tmp_path) as (receiver, _):
        await receiver.logged("drain.finished")
        assert await receiver.terminate() == 0
    server = connect(own_valkey.url())
    assert await queued(server) == {record_of(number).id for number in (0, 1)}
    await close(server)


@pytest.mark.parametrize("second", [signal.SIGTERM, signal.SIGINT])
async def test_a_second_signal_ends_it_at_once(redis_url: str, tmp_path: Path, second: signal.Signals) -> None:
    """After a second signal a sender gets no answer, further signals do no harm, and the exit code is 0."""
    async with (
        started(redis_url, tmp_path, KONVOX_STOP_SECONDS="50") as (receiver, port),
        half_sent(port, 1) as (reader, _, _),
    ):
        receiver.process.terminate()
        await receiver.logged("receiver.stopping")
        await until(lambda: is_closed(port))
        assert receiver.process.returncode is None
        async with asyncio.timeout(AT_ONCE_SECONDS):
            for _ in range(2):
                receiver.process.send_signal(second)
            assert await receiver.ended() == 0
        assert await reader.read() == b""
        await receiver.logged("receiver.aborted")
    assert "Traceback" not in receiver.stderr
