"""Tests of Ctrl-C: every command ends within a second, with exit code 130, and says how far it got."""

from __future__ import annotations

import asyncio
import itertools
import os
import re
import signal
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import psutil
import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

from broker.admission import AdmissionPolicy, admit
from konvox.samples import sample_body
from tests.support.events import job_of
from tests.support.processes import OurProcess
from tests.support.store import KEYS, RedisClient

ServerFor = Callable[[web.Application], Awaitable[TestServer]]

_SECONDS = 1.5
"""A second, and half of one for a busy machine to start and end processes."""

HANDLERS = """
import asyncio, sys, time
from konvox_hooks import on

seen = 0


def begin(event):
    global seen
    seen += 1
    if seen > 2:
        print("stuck", file=sys.stderr, flush=True)
        return True


@on("blocking")
async def blocking(event, ctx):
    if begin(event):
        time.sleep(60)


@on("thread")
def thread(event, ctx):
    if begin(event):
        time.sleep(60)


@on("stubborn", timeout=600)
async def stubborn(event, ctx):
    while begin(event):
        try:
            await asyncio.sleep(60)
        except BaseException:
            pass
"""


@asynccontextmanager
async def running(*arguments: str, folder: Path, env: dict[str, str] | None = None) -> AsyncIterator[OurProcess]:
    """Run a command in this folder."""
    async with await OurProcess.start(*arguments, env=env or {}, cwd=folder) as process:
        yield process


async def wrote(process: OurProcess, text: str) -> None:
    """Wait until it has written this."""

    async def written() -> int:
        """Whether it is there."""
        return (process.stdout + process.stderr).count(text)

    await until(written, 1)


async def until(count: Callable[[], Awaitable[int]], least: int) -> None:
    """Wait until there are so many: neither Redis nor a folder says when it changes."""
    async with asyncio.timeout(30):
        while await count() < least:  # noqa: ASYNC110
            await asyncio.sleep(0.01)


async def interrupted(process: OurProcess) -> str:
    """Press Ctrl-C; returns what it wrote to stderr. It must end in time."""
    began = time.monotonic()
    process.process.send_signal(signal.SIGINT)
    assert await process.ended() == 130, process.stderr
    assert time.monotonic() - began < _SECONDS
    assert "Traceback" not in process.stderr
    return process.stderr


@pytest.mark.parametrize("kind", ["blocking", "thread", "stubborn"])
async def test_a_replay_ends_whatever_its_handler_does(tmp_path: Path, kind: str) -> None:
    """A replay ends although a handler blocks, sleeps in a thread or swallows its cancellation."""
    (tmp_path / "mine.py").write_text(HANDLERS)
    (tmp_path / "in.jsonl").write_bytes(b"\n".join(sample_body(kind, timestamp=str(n)) for n in range(5)))
    env = {"KONVOX_HANDLERS": "./mine.py"}
    async with running("replay", "in.jsonl", folder=tmp_path, env=env) as process:
        await wrote(process, "stuck")
        assert re.search("stopped by Ctrl-C: [23] events replayed: 2 done", await interrupted(process))


@pytest.mark.parametrize("arguments", [["events", "import", "fifo"], ["replay", "fifo", "--to", "queue"]])
async def test_reading_what_does_not_come_ends(
    tmp_path: Path, server: RedisClient, redis_url: str, arguments: list[str]
) -> None:
    """A command that waits for more of its input ends, and says what it has done before."""
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo)
    async with running(*arguments, folder=tmp_path, env={"KONVOX_REDIS_URL": redis_url}) as process:
        with await asyncio.to_thread(fifo.open, "wb") as stream:
            stream.writelines(sample_body("a.b", timestamp=str(n)) + b"\n" for n in range(1100))
            stream.flush()
            await until(lambda: server.execute_command("XLEN", KEYS.log), 1024)
            said = await interrupted(process)
    assert re.search("(accepted|Ctrl-C:) (512|1024)", said)


async def test_an_export_leaves_the_file_as_it_was(server: RedisClient, redis_url: str, tmp_path: Path) -> None:
    """An export ends while Redis does not answer, says how many events came, and leaves the old file and no other."""
    await admit(server, [job_of(number) for number in range(500)], AdmissionPolicy())
    await server.execute_command("CLIENT", "PAUSE", "5000", "ALL")
    (tmp_path / "out").write_text("before")
    arguments = ("events", "export", "--output", "out")
    async with running(*arguments, folder=tmp_path, env={"KONVOX_REDIS_URL": redis_url}) as process:
        await until(lambda: _files(tmp_path), 2)
        said = await interrupted(process)
    assert "0 exported; out is as it was before" in said
    assert [(path.name, path.read_text()) for path in tmp_path.iterdir()] == [("out", "before")]


async def _files(folder: Path) -> int:
    return len(list(folder.iterdir()))


@pytest.mark.parametrize("what", ["trigger", "api"])
async def test_a_server_that_does_not_answer(what: str, tmp_path: Path, aiohttp_server: ServerFor) -> None:
    """Sending copies, and fetching all pages, end while a server does not answer, and say how far they came."""
    asked = itertools.count()

    async def answer(request: web.Request) -> web.Response:
        """Answer twice, and never again."""
        number = next(asked)
        if number >= 2:
            hanging.set()
            await asyncio.sleep(60)
        people = [{"id": f"c{number}-{n}", "email": f"{n}@example.com"} for n in range(200)]
        return web.json_response({"data": people, "total": 1000, "error": None})

    hanging = asyncio.Event()
    app = web.Application()
    app.router.add_route("*", "/{path:.*}", answer)
    server = await aiohttp_server(app)
    url = str(server.make_url("/")).rstrip("/")
    env = {"KONVOX_API_URL": url, "KONVOX_API_KEY": "kvx_live_x", "KONVOX_HOOK_TOKENS": "a-token-0123456789abcdef"}
    arguments = {
        "trigger": ["trigger", "contact.replied", "--url", url, "--copies", "5"],
        "api": ["api", "contacts", "list", "--all"],
    }[what]
    async with running(*arguments, folder=tmp_path, env=env) as process:
        async with asyncio.timeout(20):
            await hanging.wait()
        said = await interrupted(process)
    assert {"trigger": "2 of 5 sent", "api": "400 contacts were fetched"}[what] in said


async def test_the_demo_leaves_nothing_running(tmp_path: Path) -> None:
    """The demo ends with all its processes, and says how many of its steps were done."""
    async with running("demo", folder=tmp_path) as process:
        await wrote(process, " 2  Konvox sends")
        children = psutil.Process(process.process.pid).children(recursive=True)
        assert len(children) >= 3
        assert "1 of 9 steps were done" in await interrupted(process)
    _, alive = psutil.wait_procs(children, timeout=3)
    assert alive == []


async def test_waiting_for_outcomes_ends(redis_url: str, tmp_path: Path) -> None:
    """`audit --watch` ends with 130, and an idle `serve` with 0, because Ctrl-C is its ordinary end."""
    env = {"KONVOX_REDIS_URL": redis_url, "KONVOX_HOOK_TOKENS": "a-token-0123456789abcdef", "KONVOX_PORT": "0"}
    async with running("audit", "--watch", folder=tmp_path, env=env) as process:
        await wrote(process, "balanced")
        assert "stopped by Ctrl-C" in await interrupted(process)
    async with running("serve", folder=tmp_path, env=env | {"KONVOX_ADMIN_PORT": "0"}) as process:
        await process.listening("receiver")
        await process.logged("worker.started")
        began = time.monotonic()
        process.process.send_signal(signal.SIGINT)
        assert await process.ended() == 0
        assert time.monotonic() - began < _SECONDS
