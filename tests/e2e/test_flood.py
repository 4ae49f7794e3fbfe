"""A stranger who opens every connection and sends fat heads: deliveries are answered, and memory stays bounded."""

from __future__ import annotations

import asyncio
import resource
import socket
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from pathlib import Path

import pytest

from tests.support.events import body_of
from tests.support.http import TOKEN, http_request, read_answer, send
from tests.support.processes import OurProcess

CONNECTIONS, FAT_HEADS = 5_000, 1_000
MOST_MEMORY_KB = 300_000
HOOK = f"/hooks/konvox/{TOKEN}"
FAT = http_request(HOOK, b"", headers=[(f"X-{number}", "a" * 8_000) for number in range(115)])
HELD = FAT[:15_000]


@pytest.fixture(autouse=True)
def enough_files() -> None:
    """The stranger of this test may have as many files open as the receiver."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(CONNECTIONS + FAT_HEADS + 1_000, hard), hard))


@asynccontextmanager
async def running(redis_url: str, folder: Path) -> AsyncIterator[tuple[OurProcess, int]]:
    """A receiver in a process of its own, and its port."""
    env = {
        "KONVOX_HOOK_TOKENS": TOKEN,
        "KONVOX_REDIS_URL": redis_url,
        "KONVOX_PORT": "0",
        "KONVOX_ADMIN_PORT": "0",
        "KONVOX_LOG_FORMAT": "json",
    }
    async with await OurProcess.start("receiver", env=env, cwd=folder) as receiver:
        url = await receiver.listening("receiver")
        yield receiver, int(url.rpartition(":")[2])


def memory_kb(pid: int) -> int:
    """How much memory a process has had at the most."""
    [line] = [line for line in Path(f"/proc/{pid}/status").read_text().splitlines() if line.startswith("VmHWM")]
    return int(line.split()[1])


async def connect(port: int) -> socket.socket:
    """A connection that is left open."""
    connection = socket.socket()
    connection.setblocking(False)
    await asyncio.get_running_loop().sock_connect(connection, ("127.0.0.1", port))
    return connection


async def dribble(connection: socket.socket) -> None:
    """Send a fat head in pieces, without its end, for as long as it is taken."""
    with suppress(ConnectionError):
        for start in range(0, len(FAT) - 10, 30_000):
            await asyncio.get_running_loop().sock_sendall(connection, FAT[start : min(start + 30_000, len(FAT) - 10)])


async def test_a_stranger_does_not_get_in_the_way(redis_url: str, tmp_path: Path) -> None:
    """With 5,000 of his connections open and 1,000 fat heads under way, each delivery gets a 200 and memory is bounded.

    His refusals are a few lines in the log, and none of them is a traceback.
    """
    async with running(redis_url, tmp_path) as (receiver, port), AsyncExitStack() as stack:
        for _ in range(CONNECTIONS):
            stack.enter_context(await connect(port))
        answers = [await send(port, http_request(HOOK, body_of(0)))]
        fat = [stack.enter_context(await connect(port)) for _ in range(FAT_HEADS)]
        dribbling = asyncio.gather(*(dribble(connection) for connection in fat))
        answers += [await send(port, http_request(HOOK, body_of(number))) for number in range(1, 101)]
        await dribbling
        answers.append(await send(port, http_request(HOOK, body_of(101))))
        used_kb = memory_kb(receiver.process.pid)
        assert await receiver.terminate() == 0
        lines = receiver.stderr.splitlines()
    assert {answer.status for answer in answers} == {200}
    assert used_kb < MOST_MEMORY_KB
    assert "Traceback" not in receiver.stderr
    assert len(lines) < 100


async def test_fat_heads_behind_good_beginnings_are_bounded(redis_url: str, tmp_path: Path) -> None:
    """1,000 connections that are aiohttp's, each with most of a head, cost 64 KiB each at the most."""
    async with running(redis_url, tmp_path) as (receiver, port), AsyncExitStack() as stack:
        before_kb = memory_kb(receiver.process.pid)
        for number in range(FAT_HEADS):
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            stack.callback(writer.close)
            writer.write(http_request("/healthz", method="GET"))
            assert (await read_answer(reader)).status == 200
            writer.write(FAT if number % 10 == 0 else HELD)
            if number % 10 == 0:
                assert (await read_answer(reader)).status == 431
        assert (await send(port, http_request(HOOK, body_of(1)))).status == 200
        used_kb = memory_kb(receiver.process.pid) - before_kb
    assert used_kb < FAT_HEADS * 64
