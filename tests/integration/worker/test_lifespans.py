"""A module's `lifespan` whose exit hangs: the worker ends all the same, and says whose it was."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from pathlib import Path

import pytest

from tests.support.logwatch import LogWatch, watching
from tests.support.processes import OurProcess, worker_environment
from worker.running import lifespans
from worker.running.lifespans import BoundedLifespan

MOMENT_SECONDS = 0.05

Exit = Callable[[asyncio.Event], Awaitable[None]]


@pytest.fixture(autouse=True)
def short_of_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """All that is waited for is a moment."""
    for name in ("LEAST_SECONDS", "CANCELLED_SECONDS", "LOOK_SECONDS"):
        monkeypatch.setattr(lifespans, name, MOMENT_SECONDS)


@pytest.fixture
async def log() -> AsyncIterator[LogWatch]:
    """The log."""
    with watching() as watch:
        yield watch


async def waits(let_go: asyncio.Event) -> None:
    """Wait for something that does not come."""
    await let_go.wait()


async def swallows(let_go: asyncio.Event) -> None:
    """Swallow every cancellation while waiting for something that does not come."""
    while not let_go.is_set():
        with suppress(asyncio.CancelledError):
            await let_go.wait()


async def blocks(_let_go: asyncio.Event) -> None:
    """Keep the loop."""
    time.sleep(6 * MOMENT_SECONDS)  # noqa: ASYNC251 - what users do by mistake is what this is about


async def breaks(let_go: asyncio.Event) -> None:
    """Answer a cancellation with an error."""
    try:
        await let_go.wait()
    except asyncio.CancelledError:
        raise RuntimeError("too early") from None


@pytest.mark.parametrize("leave", [waits, breaks, swallows, blocks], ids=["waits", "breaks", "swallows", "blocks"])
async def test_an_exit_that_hangs_is_cancelled(leave: Exit, log: LogWatch) -> None:
    """An exit that hangs is cancelled when no time is left, and the other exits run in order."""
    loop, let_go = asyncio.get_running_loop(), asyncio.Event()
    ends: list[int] = []
    left: list[str] = []

    def end(exit_code: int) -> None:
        ends.append(exit_code)
        loop.call_soon_threadsafe(let_go.set)

    @asynccontextmanager
    async def hanging() -> AsyncIterator[None]:
        yield
        await leave(let_go)

    @asynccontextmanager
    async def other() -> AsyncIterator[None]:
        yield
        left.append("other")

    async with (
        asyncio.timeout(5),
        BoundedLifespan("mine_other", other, lambda: 0.0, end=end),
        BoundedLifespan("mine_hanging", hanging, lambda: 0.0, end=end),
    ):
        pass
    assert ends == ([0] if leave in {swallows, blocks} else [])
    assert [line["module"] for line in log.of("lifespan.abandoned")] == ["mine_hanging"]
    assert left == ["other"]


async def test_an_exit_may_take_the_time_that_is_left(log: LogWatch) -> None:
    """An exit runs to its end while there is time, and what it raises by itself is raised."""
    left = asyncio.Event()

    @asynccontextmanager
    async def slow() -> AsyncIterator[None]:
        yield
        await asyncio.sleep(4 * MOMENT_SECONDS)
        left.set()
        raise TimeoutError("its own")

    with pytest.raises(TimeoutError, match="its own"):
        async with BoundedLifespan("mine", slow, lambda: 60.0):
            pass
    assert left.is_set()
    assert log.names("lifespan.") == []


HANGS = """
import asyncio
from contextlib import asynccontextmanager

from handlers import on


@asynccontextmanager
async def lifespan():
    yield
    await asyncio.Event().wait()


@on("*")
async def never(event, ctx):
    pass
"""


async def test_a_worker_with_such_a_module_ends_in_time(redis_url: str, tmp_path: Path) -> None:
    """A worker with an exit that hangs ends after KONVOX_STOP_SECONDS, or at a second signal, with exit code 0."""
    (tmp_path / "mine.py").write_text(HANGS)
    env = worker_environment(redis_url, KONVOX_STOP_SECONDS="60")
    async with await OurProcess.start("worker", env=env, cwd=tmp_path) as worker:
        await worker.logged("worker.started")
        worker.process.terminate()
        await worker.logged("worker.stopped")
        assert await worker.terminate() == 0
    [line] = [line for line in worker.log if line["event"] == "lifespan.abandoned"]
    assert line["module"].endswith("mine")
