"""`ctx.run` of the test kit: plain handlers that use what has to be awaited can be called in any test."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable
from typing import Any

import pytest

from handlers import Context
from handlers.errors import ContextMisusedError
from handlers.run import ThreadRunner
from handlers.testkit import make_context, make_event
from konvox.events import Event


class Crm:
    """A stand-in for a session."""

    def __init__(self) -> None:
        self.posted: list[str] = []

    async def post(self, path: str) -> str:
        """Note what is posted."""
        await asyncio.sleep(0)
        if path == "/broken":
            raise OSError(path)
        self.posted.append(path)
        return f"posted {path}"


def tell(event: Event, ctx: Context) -> Any:
    """A plain handler."""
    call: Awaitable[Any] = ctx.http.post("/told")
    return ctx.run(call)


def test_in_a_plain_test() -> None:
    """Without an event loop, each awaitable has one of its own."""
    crm = Crm()
    assert tell(make_event("contact.replied"), make_context(http=crm)) == "posted /told"
    assert crm.posted == ["/told"]


async def test_in_an_async_test_from_a_thread() -> None:
    """In the test's own loop, as in the worker's."""
    crm = Crm()
    ctx = make_context(http=crm)
    assert await asyncio.to_thread(tell, make_event("contact.replied"), ctx) == "posted /told"
    with pytest.raises(OSError, match="/broken"):
        await asyncio.to_thread(ctx.run, crm.post("/broken"))


async def test_in_an_async_test_without_a_thread() -> None:
    """It would wait for itself: the error says so, and nothing is left that was never awaited."""
    crm = Crm()
    with pytest.raises(ContextMisusedError, match="write await"):
        tell(make_event("contact.replied"), make_context(http=crm))
    assert crm.posted == []


@pytest.mark.parametrize("what", [None, 5, print, [], "text"], ids=repr)
def test_what_cannot_be_awaited(what: Any) -> None:
    """A call without its parentheses is named for what it is."""
    with pytest.raises(ContextMisusedError, match="something to await"):
        make_context().run(what)


def test_a_loop_that_has_ended() -> None:
    """A thread that outlives the worker gets an error, not a wait for ever."""
    loop = asyncio.new_event_loop()
    loop.close()
    with pytest.raises(RuntimeError, match="closed"):
        ThreadRunner(loop)(asyncio.sleep(0))


async def test_what_is_cancelled_meanwhile() -> None:
    """A cancellation from elsewhere is an error in the thread as well."""
    task = asyncio.create_task(asyncio.Event().wait())
    waiting = asyncio.create_task(asyncio.to_thread(ThreadRunner(asyncio.get_running_loop()), task))
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(TimeoutError, match="was cancelled"):
        await waiting
