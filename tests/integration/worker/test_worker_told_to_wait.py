"""A server that says when to come back: what waits for it uses up no attempt, and comes back spread out."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import AsyncIterator
from typing import Any

import aiohttp
import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

from broker.audit import audit
from broker.dead_letters import list_dead_letters
from handlers import Context, Drop, Retry
from handlers.registry import Handler
from handlers.testkit import make_context
from konvox.events import Event
from tests.support.events import admitted
from tests.support.store import RedisClient
from tests.support.workers import handler, run_burst

EVENTS, PER_WINDOW, WINDOW_SECONDS = 60, 10, 0.2


class Crm:
    """A server that takes ten calls in each window of time, and answers 429 to all others."""

    def __init__(self) -> None:
        self.answers: Counter[int] = Counter()
        self.taken: Counter[str] = Counter()
        self.url = ""
        self._windows: Counter[int] = Counter()

    async def answer(self, request: web.Request) -> web.Response:
        """Take a call, or say when to come back."""
        window = int(time.monotonic() / WINDOW_SECONDS)
        self._windows[window] += 1
        status = 200 if self._windows[window] <= PER_WINDOW else 429
        self.answers[status] += 1
        if status == 200:
            self.taken[request.query["event"]] += 1
        return web.json_response({}, status=status, headers={"Retry-After": str(WINDOW_SECONDS)})


@pytest.fixture
async def crm() -> AsyncIterator[Crm]:
    """The server."""
    server = Crm()
    app = web.Application()
    app.router.add_post("/", server.answer)
    async with TestServer(app) as test_server:
        server.url = str(test_server.make_url("/"))
        yield server


async def by_number(ctx: Context, answer: aiohttp.ClientResponse) -> None:
    """As a handler does that reads the header itself."""
    if answer.status == 429:
        raise Retry(after=float(answer.headers["Retry-After"]))


async def by_header(ctx: Context, answer: aiohttp.ClientResponse) -> None:
    """As a handler does that hands the header on."""
    if answer.status == 429:
        raise Retry(after=answer.headers.get("Retry-After"))


async def by_error(ctx: Context, answer: aiohttp.ClientResponse) -> None:
    """As a handler does that only looks whether it worked."""
    answer.raise_for_status()


async def by_group(ctx: Context, answer: aiohttp.ClientResponse) -> None:
    """As a task in a group does."""
    if answer.status == 429:
        raise ExceptionGroup("tasks", [Retry(after=answer.headers["Retry-After"]), Drop("of another task")])


@pytest.mark.parametrize("obey", [by_number, by_header, by_error, by_group])
async def test_a_rate_limit_kills_nothing(server: RedisClient, redis_url: str, crm: Crm, obey: Any) -> None:
    """Six times as many events as a window takes are all done once, by a handler with a single attempt."""
    await admitted(server, EVENTS)

    async with aiohttp.ClientSession() as http:

        async def opt_out(event: Event, ctx: Context) -> None:
            async with ctx.http.post(crm.url, params={"event": event.id}) as answer:
                await obey(ctx, answer)
                answer.raise_for_status()

        def make(_job: object, _handler: Handler) -> Context:
            return make_context(http=http)

        await run_burst(redis_url, handler(opt_out, attempts=1), make=make)
    assert [letter async for letter in list_dead_letters(server)] == []
    assert (len(crm.taken), crm.answers[200]) == (EVENTS, EVENTS)
    assert crm.answers[429] > 0
    ledger = await audit(server)
    assert (ledger.delivered, ledger.pending, ledger.balanced) == (EVENTS, 0, True)


async def test_after_retry_for_attempts_are_used(server: RedisClient, redis_url: str) -> None:
    """A server that never gives in is waited for no longer than `retry_for`, and then the attempts count."""
    await admitted(server, 1)
    attempts: list[int] = []

    async def told(event: Event, ctx: Context) -> None:
        attempts.append(ctx.attempt)
        raise Retry(after=0.01)

    told_to_wait = handler(told, attempts=3, retry_for_seconds=0.5)
    began = time.monotonic()
    await run_burst(redis_url, told_to_wait)
    assert time.monotonic() - began >= 0.4
    assert attempts == list(range(1, len(attempts) + 1))
    assert len(attempts) > 3
    (letter,) = [letter async for letter in list_dead_letters(server)]
    assert (letter.reason, letter.attempts) == ("attempts", len(attempts))
