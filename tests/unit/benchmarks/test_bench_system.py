"""The load generator, and what a service of ours says about itself."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

from benchmarks.harness.figures import NotMeasuredError
from benchmarks.harness.store import Store
from benchmarks.harness.system import Service, read_metrics
from benchmarks.harness.workload import PATH, bodies, read_marks


@asynccontextmanager
async def receiving(
    folder: Path, bodies: list[bytes], *, status: int = 200, ten: asyncio.Event | None = None
) -> AsyncIterator[Service]:
    """A server that keeps the bodies that it gets, says when they are ten, and answers with this status."""

    async def receive(request: web.Request) -> web.Response:
        bodies.append(await request.read())
        if ten is not None and len(bodies) == 10:
            ten.set()
        return web.json_response({}, status=status)

    app = web.Application()
    app.router.add_post(PATH, receive)
    async with TestServer(app) as server:
        assert server.port is not None
        yield Service({}, Store(folder), server.port, folder, {})


async def test_every_request_of_a_closed_loop_is_answered(tmp_path: Path) -> None:
    """The server gets the events of the warm-up and then those of the load, each of them once."""
    received: list[bytes] = []
    async with (
        receiving(tmp_path, received) as service,
        service.load(requests=50, warm_up=5, connections=4) as sending,
    ):
        outcome = await sending.run()
    assert outcome.answered == 50
    assert 0 < outcome.p50_ms <= outcome.p99_ms <= outcome.max_ms < outcome.seconds * 1000
    assert sorted(received) == sorted([*bodies(50), *bodies(5, series="warmup")])


async def test_an_open_loop_sends_at_its_rate(tmp_path: Path) -> None:
    """Twenty requests at 100 a second take 0.19 s, and each has its line in the file of times."""
    sent = tmp_path / "sent"
    async with (
        receiving(tmp_path, []) as service,
        service.load(requests=20, warm_up=0, connections=4, rate=100, sent=str(sent)) as sending,
    ):
        outcome = await sending.run()
    times = [at_ns for [at_ns] in read_marks(sent).values()]
    assert (outcome.answered, len(times)) == (20, 20)
    assert times == sorted(times)
    assert 0.19 <= (times[-1] - times[0]) / 1e9 < outcome.seconds


async def test_an_open_loop_ends_when_enough_is_sent(tmp_path: Path) -> None:
    """A load that should send no more waits for the answers to what it has sent."""
    received: list[bytes] = []
    ten = asyncio.Event()
    async with (
        receiving(tmp_path, received, ten=ten) as service,
        service.load(requests=100_000, warm_up=0, connections=4, rate=200) as sending,
    ):
        sending.start()
        await ten.wait()
        sending.send_no_more()
        outcome = await sending.outcome()
    assert 10 <= outcome.answered == len(received) < 100_000


async def test_an_answer_other_than_200_is_not_measured(tmp_path: Path) -> None:
    """A load whose requests are refused has no outcome, and the error shows the answer."""
    async with receiving(tmp_path, [], status=503) as service:
        with pytest.raises(NotMeasuredError, match=r"not a 200 with Content-Length: b'HTTP/1\.1 503"):
            await service.load(requests=1, warm_up=1, connections=1).__aenter__()


def test_metrics_are_read_by_name() -> None:
    """The metrics of an admin listener are numbers by their names, without their types."""
    text = "# TYPE konvox_redis_up gauge\nkonvox_redis_up 1\n# TYPE a_b gauge\na_b 0.5\n"
    assert read_metrics(text) == {"konvox_redis_up": 1, "a_b": 0.5}
