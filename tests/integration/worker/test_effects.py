"""A call that a handler makes through its context and nobody awaits makes its attempt fail, and says so."""

from __future__ import annotations

import asyncio
import gc
import sys
import threading
from collections.abc import AsyncIterator, Callable
from typing import Any

import aiohttp
import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

from handlers import Context, Drop, Retry
from handlers.loader import LoadedHandlers
from handlers.once import InMemoryOnce
from handlers.registry import Registry
from konvox.events import Event
from tests.support.events import job_of
from tests.support.logwatch import watching
from tests.support.workers import dispatcher_of, handler
from worker.running.context import KonvoxAccess, handler_contexts
from worker.running.dispatcher import ContextFactory
from worker.running.verdicts import HandlerRun

Crm = list[str]
"""The paths that were asked."""

url = ""


@pytest.fixture
async def crm() -> AsyncIterator[Crm]:
    """A server that notes what it is asked."""
    global url  # noqa: PLW0603 - handlers are plain functions, and find it here
    asked: Crm = []

    async def answer(request: web.Request) -> web.Response:
        asked.append(request.path)
        if request.path == "/busy":
            return web.json_response({}, status=429, headers={"Retry-After": "7"})
        return web.json_response({"path": request.path})

    app = web.Application()
    app.router.add_route("*", "/{path:.*}", answer)
    async with TestServer(app) as server:
        url = str(server.make_url("")).rstrip("/")
        yield asked


@pytest.fixture
async def make(crm: Crm) -> AsyncIterator[ContextFactory]:
    """The worker's own contexts, with `ctx.once` in memory."""
    access = {"": KonvoxAccess(url, "kvx_live_test")}
    async with handler_contexts(LoadedHandlers(Registry(), {}), access, lambda *_: InMemoryOnce()) as made:
        yield made


async def ran(make: ContextFactory, function: Callable[[Any, Any], Any], **options: Any) -> HandlerRun:
    """How a handler's run ends with the worker's own context."""
    (run,) = await dispatcher_of(handler(function, **options), make=make).dispatch(job_of(1))
    return run


kept: list[object] = []


def _forget(made: object) -> None:
    """Do nothing with it, which type checkers would point out."""


def _def_http(event: Event, ctx: Context) -> None:
    ctx.http.post(url)


async def _async_http(event: Event, ctx: Context) -> None:
    ctx.http.post(url)


async def _async_returned(event: Event, ctx: Context) -> object:
    return ctx.http.post(url)


async def _async_kept(event: Event, ctx: Context) -> None:
    kept.append(ctx.http.post(url))


async def _async_websocket(event: Event, ctx: Context) -> None:
    ctx.http.ws_connect(url)


async def _async_attribute(event: Event, ctx: Context) -> None:
    answer: Any = ctx.http.post(url)
    answer.raise_for_status()


async def _async_dropped(event: Event, ctx: Context) -> None:
    ctx.http.post(url)
    raise Drop("told the CRM")


async def _async_retried(event: Event, ctx: Context) -> None:
    ctx.http.post(url)
    raise Retry(after=5)


def _def_konvox(event: Event, ctx: Context) -> None:
    _forget(ctx.konvox.contacts.create(email="a@example.com"))


async def _async_konvox(event: Event, ctx: Context) -> None:
    _forget(ctx.konvox.contacts.create(email="a@example.com"))


def _def_konvox_list(event: Event, ctx: Context) -> None:
    ctx.konvox.contacts.list()


def _def_once(event: Event, ctx: Context) -> None:
    gate: Any = ctx.once("crm")
    if gate:
        pass


def _def_once_with(event: Event, ctx: Context) -> None:
    gate: Any = ctx.once("crm")
    with gate:
        pass


FORGOTTEN = [
    (_def_http, "ctx.http.post"),
    (_async_http, "ctx.http.post"),
    (_async_returned, "ctx.http.post"),
    (_async_kept, "ctx.http.post"),
    (_async_websocket, "ctx.http.ws_connect"),
    (_async_attribute, "ctx.http.post"),
    (_async_dropped, "ctx.http.post"),
    (_async_retried, "ctx.http.post"),
    (_def_konvox, "ctx.konvox.contacts.create"),
    (_async_konvox, "ctx.konvox.contacts.create"),
    (_def_konvox_list, "ctx.konvox.contacts.list"),
    (_def_once, "ctx.once"),
    (_def_once_with, "ctx.once"),
]


@pytest.mark.parametrize(
    ("function", "call"), FORGOTTEN, ids=[function.__name__.strip("_") for function, _ in FORGOTTEN]
)
async def test_a_call_that_nobody_awaits_fails_the_attempt(
    make: ContextFactory, crm: Crm, function: Callable[[Any, Any], Any], call: str
) -> None:
    """The attempt has failed, its error names the call, and Python has nothing left to complain about."""
    run = await ran(make, function)
    kept.clear()
    gc.collect()
    assert run.ended == "failed"
    assert f"{call}(…) was never awaited" in run.error
    assert crm == []


async def test_a_call_that_a_task_makes_is_awaited(make: ContextFactory, crm: Crm) -> None:
    """Calls that were given to tasks are done, also where a task has not begun when the handler ends."""
    tasks: list[asyncio.Task[Any]] = []

    async def in_tasks(event: Event, ctx: Context) -> None:
        await asyncio.gather(ctx.http.get(f"{url}/1"), ctx.http.get(f"{url}/2"))
        async with asyncio.TaskGroup() as group:
            call: Any = ctx.http.get(f"{url}/3")
            group.create_task(call)
        later: Any = ctx.http.get(f"{url}/4")
        tasks.append(asyncio.create_task(later))
        tasks.append(asyncio.create_task(asyncio.wait_for(asyncio.shield(ctx.http.get(f"{url}/5")), 10)))

    run = await ran(make, in_tasks)
    assert (run.ended, run.error) == ("done", "")
    for answer in await asyncio.gather(*tasks):
        answer.release()
    assert sorted(crm) == [f"/{number}" for number in range(1, 6)]


async def test_what_is_awaited_works_as_ever(make: ContextFactory, crm: Crm) -> None:
    """`await`, `async with`, `async for` and attributes of the session are as they are without us."""

    async def usual(event: Event, ctx: Context) -> None:
        async with ctx.http.post(f"{url}/a", json={}) as answer:
            assert await answer.json() == {"path": "/a"}
        answer = await ctx.http.get(f"{url}/b")
        answer.release()
        assert isinstance(ctx.http, aiohttp.ClientSession)
        assert not ctx.http.closed
        async with ctx.once("crm") as first:
            assert first
        async with ctx.once("crm") as first:
            assert not first
        ctx.http.get(url).close()  # given up on purpose

    run = await ran(make, usual)
    assert (run.ended, run.error) == ("done", "")
    assert crm == ["/a", "/b"]


async def test_a_plain_function_awaits_with_run(make: ContextFactory, crm: Crm) -> None:
    """`ctx.run` returns what an `await` would, raises what it would, and reads an answer in full."""

    def plain(event: Event, ctx: Context) -> None:
        answer = ctx.run(ctx.http.get(f"{url}/a"))
        assert (answer.status, ctx.run(answer.json())) == (200, {"path": "/a"})

        async def once() -> bool:
            async with ctx.once("crm") as first:
                return first

        assert [ctx.run(once()), ctx.run(once())] == [True, False]
        with pytest.raises(aiohttp.ClientConnectorError):
            ctx.run(ctx.http.get("http://127.0.0.1:1/"))
        with pytest.raises(SystemExit):
            ctx.run(leave())

    async def leave() -> None:
        sys.exit(3)

    run = await ran(make, plain)
    assert (run.ended, run.error) == ("done", "")
    assert crm == ["/a"]


async def test_run_honours_the_time_limit(make: ContextFactory) -> None:
    """What still runs at the handler's time limit is cancelled, its thread goes on, and can begin nothing more."""
    cancelled = asyncio.Event()
    errors: list[str] = []
    over = threading.Event()

    async def for_ever() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            cancelled.set()

    def slow(event: Event, ctx: Context) -> None:
        for _ in range(2):
            try:
                ctx.run(for_ever())
            except TimeoutError as error:
                errors.append(str(error))
        over.set()

    run = await ran(make, slow, timeout_seconds=0.05)
    assert run.error.startswith("TimeoutError: the handler took longer")
    async with asyncio.timeout(10):
        await cancelled.wait()
        await asyncio.to_thread(over.wait, 10)
    assert len(errors) == 2
    assert all("the attempt has ended" in error for error in errors)


async def test_run_is_for_plain_functions(make: ContextFactory) -> None:
    """In an `async def` it would wait for itself for ever: the error says what to write."""

    async def wrong(event: Event, ctx: Context) -> None:
        ctx.run(ctx.http.get(url))

    def no_awaitable(event: Event, ctx: Context) -> None:
        what: Any = ctx.http.get
        ctx.run(what)

    assert "in an async def, write await" in (await ran(make, wrong)).error
    assert "something to await" in (await ran(make, no_awaitable)).error


async def test_an_answer_that_says_to_wait_uses_no_attempt(make: ContextFactory) -> None:
    """A 429 that the handler only raises is a wait, from plain functions as well."""

    async def asks(event: Event, ctx: Context) -> None:
        async with ctx.http.get(f"{url}/busy") as answer:
            answer.raise_for_status()

    def asks_plainly(event: Event, ctx: Context) -> None:
        ctx.run(ctx.http.get(f"{url}/busy")).raise_for_status()

    for function in (asks, asks_plainly):
        run = await ran(make, function)
        assert (run.told_to_wait, run.retry_after_seconds) == (True, 7.0)


async def test_any_coroutine_that_is_never_awaited_is_reported(make: ContextFactory) -> None:
    """The log names handler, event and coroutine, whether it was made in a task, a thread or the handler itself."""

    async def helper() -> None: ...

    async def in_handler(event: Event, ctx: Context) -> None:
        _forget(helper())

    async def in_task(event: Event, ctx: Context) -> None:
        async def forget() -> None:
            _forget(helper())

        await asyncio.create_task(forget())

    def in_thread(event: Event, ctx: Context) -> None:
        _forget(helper())

    job = job_of(1)
    with watching() as log:
        for function in (in_handler, in_task, in_thread):
            assert (await ran(make, function)).ended == "done"
        lines = log.of("coroutine.unawaited")
    assert [line["handler"] for line in lines] == ["in_handler", "in_task", "in_thread"]
    assert {(line["event_id"], line["delivery"]) for line in lines} == {(job.record.id, job.delivery)}
    assert all("helper" in line["coroutine"] and __file__ in line["source"] for line in lines)


async def _helper() -> None: ...


def test_coroutines_of_others_are_reported_by_python() -> None:
    """Outside of handlers everything is as it was."""
    dispatcher_of()
    with pytest.warns(RuntimeWarning, match="never awaited"):
        _forget(_helper())
