"""The handlers of one event: they run at once, and nothing that one of them does goes beyond its own run."""

from __future__ import annotations

import asyncio
import sys
import threading
from collections.abc import Callable
from typing import Any

import pytest
import structlog

from broker.queue import Claimed
from handlers import Drop, Retry
from handlers.registry import Handler
from konvox.errors import EventDoesNotFitError
from konvox.events import ContactReplied, Event
from tests.support.events import job_of
from tests.support.workers import dispatcher_of, handler
from worker.running.verdicts import HandlerRun, settlement_of


async def run(function: Callable[..., Any], **options: Any) -> HandlerRun:
    """How a handler's run for an event ends; whatever it is, it can be written down."""
    job = job_of(1)
    runs = await dispatcher_of(handler(function, **options)).dispatch(job)
    settlement_of(Claimed(job.id, "a:1", 0, None), job, runs, now_ms=0)
    return runs[0]


async def test_all_that_match_run_at_once() -> None:
    """All handlers that match run at the same time: one after the other they would wait for each other for ever."""
    barrier = asyncio.Barrier(3)

    async def meet(event: Event, ctx: Any) -> None:
        async with asyncio.timeout(10):
            await barrier.wait()

    async def other(event: Event, ctx: Any) -> None:
        raise AssertionError

    names = ["a", "b", "c"]
    handlers = [handler(meet, name=name) for name in names]
    runs = await dispatcher_of(*handlers, handler(other, "contact.bounced")).dispatch(job_of(1))
    assert [(run.handler, run.ended) for run in runs] == [(name, "done") for name in names]


async def test_plain_functions_run_in_threads_at_once() -> None:
    """Plain functions run at the same time, each in a thread that is not the event loop's."""
    barrier = threading.Barrier(3)

    def meet(event: Event, ctx: Any) -> None:
        assert threading.current_thread() is not threading.main_thread()
        barrier.wait(10)

    runs = await dispatcher_of(*(handler(meet, name=name) for name in "abc")).dispatch(job_of(1))
    assert [run.ended for run in runs] == ["done"] * 3


async def test_without_a_handler_there_is_a_hint_once() -> None:
    """For each type of event without a handler, one that is ready to paste is logged once."""
    dispatcher = dispatcher_of()
    with structlog.testing.capture_logs() as lines:
        assert await dispatcher.dispatch(job_of(1, "a.b")) == []
        assert await dispatcher.dispatch(job_of(2, "a.b")) == []
        assert await dispatcher.dispatch(job_of(3, "a.c")) == []
    assert [line["event_type"] for line in lines] == ["a.b", "a.c"]
    assert '@on("a.b")' in lines[0]["handler_to_paste"]


async def test_when_decides_before_the_handler_runs() -> None:
    """`when` sees the event in the handler's own form, and the handler runs only if it is true."""
    seen: list[str | None] = []

    async def tell(event: ContactReplied, ctx: Any) -> None:
        seen.append(event.data.subject)

    wanted = handler(
        tell, name="wanted", takes_plain_event=False, when=lambda event: event.data.subject.startswith("Re:")
    )
    unwanted = handler(tell, name="unwanted", when=lambda event: event.data["channel"] == "linkedin")
    runs = await dispatcher_of(wanted, unwanted).dispatch(job_of(1, subject="Re: you"))
    assert {run.handler: run.ended for run in runs} == {"wanted": "done", "unwanted": "skipped"}
    assert seen == ["Re: you"]


async def test_a_when_that_raises_is_a_failure() -> None:
    """`when` is a part of the handler, and what it raises is a failure of the handler."""
    run_ = await run(_nothing, when=lambda event: event.data["no such field"])
    assert (run_.ended, run_.error) == ("failed", "KeyError: 'no such field'")


async def test_an_event_that_does_not_fit_is_unfit_for_typed_handlers_only() -> None:
    """An event that does not fit its model is unfit for typed handlers, and plain handlers still see it."""
    seen: list[Any] = []

    async def plain(event: Event, ctx: Any) -> None:
        seen.append(event.data["contactId"])

    async def typed(event: ContactReplied, ctx: Any) -> None:
        seen.append(event)

    job = job_of(1, contactId=["pigeon"])
    runs = await dispatcher_of(handler(plain), handler(typed, takes_plain_event=False)).dispatch(job)
    assert {run.handler: run.ended for run in runs} == {"plain": "done", "typed": "unfit"}
    assert seen == [["pigeon"]]
    assert "data.contactId" in runs[1].error


async def test_an_event_knows_what_the_wire_does_not_say() -> None:
    """An event tells its id, its exact body, and whether it is a replay."""
    seen: list[Event] = []

    async def keep(event: Event, ctx: Any) -> None:
        seen.append(event)

    job = job_of(1)
    both = (handler(keep, name="a"), handler(keep, name="b", takes_plain_event=False))
    await dispatcher_of(*both).dispatch(type(job).replay(job.record))
    assert [type(event) for event in seen] == [Event, ContactReplied]
    assert {(event.id, event.raw, event.replayed) for event in seen} == {(job.record.id, job.record.raw, True)}


def _raise(error: BaseException) -> None:
    raise error


async def _nothing(event: Any, ctx: Any) -> None:
    pass


class WickedError(Exception):
    """An exception that cannot even be shown."""

    def __str__(self) -> str:
        raise RuntimeError

    __repr__ = __str__


class Undocumented(Drop):
    """A Drop whose author did not call the constructor above."""

    def __init__(self) -> None:
        pass


class Hasty(Retry):
    """A Retry whose author did not call the constructor above."""

    def __init__(self) -> None:
        pass


ERRORS: list[tuple[BaseException, str]] = [
    (ValueError("no"), "failed"),
    (ValueError("a lone surrogate \ud800"), "failed"),
    (SystemExit(3), "failed"),
    (KeyboardInterrupt(), "failed"),
    (GeneratorExit(), "failed"),
    (BaseException("bare"), "failed"),
    (asyncio.CancelledError(), "failed"),
    (TimeoutError("its own"), "failed"),
    (StopIteration(), "failed"),
    (StopAsyncIteration(), "failed"),
    (BaseExceptionGroup("many", [SystemExit(), ValueError()]), "failed"),
    (WickedError(), "failed"),
    (Retry(after=5), "failed"),
    (Retry(), "failed"),
    (Hasty(), "failed"),
    (Drop("a test contact \ud800"), "dropped"),
    (Drop(ValueError("no text")), "dropped"),  # type: ignore[arg-type]
    (Undocumented(), "dropped"),
    (EventDoesNotFitError("a.b", ["\ud800"]), "unfit"),
]


@pytest.mark.parametrize("in_thread", [False, True], ids=["async", "thread"])
@pytest.mark.parametrize(("error", "ended"), ERRORS, ids=lambda value: type(value).__name__)
async def test_what_a_handler_raises_ends_that_run_only(error: BaseException, ended: str, in_thread: bool) -> None:
    """What a handler raises ends its own attempt with that outcome, and the other handlers are done."""

    async def hostile(event: Any, ctx: Any) -> None:
        _raise(error)

    def hostile_thread(event: Any, ctx: Any) -> None:
        _raise(error)

    job = job_of(1)
    both = handler(hostile_thread if in_thread else hostile, name="hostile"), handler(_nothing, name="innocent")
    runs = await dispatcher_of(*both).dispatch(job)
    assert {run.handler: run.ended for run in runs} == {"hostile": ended, "innocent": "done"}
    settlement_of(Claimed(job.id, "a:1", 0, None), job, runs, now_ms=0)
    alone = await dispatcher_of(both[0]).dispatch(job)
    assert [run.ended for run in alone] == [ended]


async def test_exit_is_a_failure_with_a_traceback() -> None:
    """A handler cannot end the worker with sys.exit; the dead letter shows where it tried."""

    async def leave(event: Any, ctx: Any) -> None:
        sys.exit("bye")

    run_ = await run(leave)
    assert (run_.ended, run_.error) == ("failed", "SystemExit: bye")
    assert "sys.exit(" in run_.traceback


async def test_an_error_of_many_lines_is_kept_as_one() -> None:
    """An error has a single line, because listings show one line for each dead letter."""

    async def fail(event: Any, ctx: Any) -> None:
        raise ValueError("one\ntwo\n\n  three")

    assert (await run(fail)).error == "ValueError: one two three"


async def test_retry_says_when() -> None:
    """`Retry` keeps the wait that it asks for, and `Drop` its reason."""

    async def later(event: Any, ctx: Any) -> None:
        raise Retry(after=90)

    async def drop(event: Any, ctx: Any) -> None:
        raise Drop("a test contact")

    assert (await run(later)).retry_after_seconds == 90
    assert (await run(drop)).error == "a test contact"


async def test_an_async_handler_is_stopped_at_its_time_limit() -> None:
    """An async handler is cancelled at its time limit, and the attempt has failed."""
    cancelled = asyncio.Event()

    async def slow(event: Any, ctx: Any) -> None:
        try:
            await asyncio.Event().wait()
        finally:
            cancelled.set()

    run_ = await run(slow, timeout_seconds=0.01)
    assert run_.ended == "failed"
    assert "longer than its 0.01 s" in run_.error
    assert cancelled.is_set()


async def test_a_dead_letter_shows_what_a_slow_handler_was_waiting_for() -> None:
    """The traceback of a handler that was too slow shows the line that it waited at."""

    async def slow(event: Any, ctx: Any) -> None:
        await asyncio.Event().wait()

    trace = (await run(slow, timeout_seconds=0.01)).traceback
    assert "await asyncio.Event().wait()" in trace
    assert trace.rstrip().endswith("TimeoutError: the handler took longer than its 0.01 s")


async def test_a_plain_handler_is_abandoned_at_its_time_limit() -> None:
    """A plain handler that is too slow has failed, and the error says that its thread cannot be stopped."""
    go_on = threading.Event()

    def slow(event: Any, ctx: Any) -> None:
        go_on.wait(10)

    run_ = await run(slow, timeout_seconds=0.01)
    go_on.set()
    assert run_.ended == "failed"
    assert "cannot be stopped" in run_.error


async def test_a_time_limit_of_the_handlers_own_is_its_own() -> None:
    """A TimeoutError that the handler raises itself is not taken for our time limit."""

    async def impatient(event: Any, ctx: Any) -> None:
        async with asyncio.timeout(0):
            await asyncio.Event().wait()

    assert (await run(impatient)).error.startswith("TimeoutError")


@pytest.mark.parametrize("value", [object(), False, float("nan"), "\ud800", NotImplemented])
async def test_what_a_handler_returns_is_ignored(value: object) -> None:
    """A handler may return anything, and is done."""

    async def talkative(event: Any, ctx: Any) -> object:
        return value

    def talkative_thread(event: Any, ctx: Any) -> object:
        return value

    assert (await run(talkative)).ended == "done"
    assert (await run(talkative_thread)).ended == "done"


async def test_a_coroutine_that_a_plain_function_returns_is_run() -> None:
    """A decorator may turn an async function into a plain one: what that returns is awaited, and not lost."""
    seen: list[str] = []

    async def tell(event: Any, ctx: Any) -> None:
        seen.append(event.id)

    def wrapped(event: Any, ctx: Any) -> Any:
        return tell(event, ctx)

    assert (await run(wrapped)).ended == "done"
    assert seen == [job_of(1).record.id]


async def test_a_job_for_one_handler_runs_that_alone() -> None:
    """A job that names a handler runs only that one, because the others were done before."""
    ran: list[str] = []

    def named(name: str) -> Handler:
        async def note(event: Any, ctx: Any) -> None:
            ran.append(f"{name} {ctx.attempt}")

        return handler(note, name=name)

    await dispatcher_of(named("a"), named("b")).dispatch(job_of(1).for_handler("b", attempt=3))
    assert ran == ["b 3"]


async def test_a_handler_that_is_no_longer_there_is_a_failure() -> None:
    """A handler that is not loaded has failed, and the error names it: it may come back with the next deploy."""
    (missing,) = await dispatcher_of().dispatch(job_of(1).for_handler("mine.tell", attempt=2))
    assert (missing.handler, missing.ended) == ("mine.tell", "failed")
    assert "mine.tell" in missing.error


@pytest.mark.parametrize("count", [1, 2])
async def test_when_the_worker_stops_dispatch_is_cancelled(count: int) -> None:
    """A dispatch that is cancelled raises that, and counts no failure of the handlers."""
    started = asyncio.Barrier(count + 1)

    async def wait(event: Any, ctx: Any) -> None:
        await started.wait()
        await asyncio.Event().wait()

    dispatcher = dispatcher_of(*(handler(wait, name=f"h{number}") for number in range(count)))
    task = asyncio.create_task(dispatcher.dispatch(job_of(1)))
    await started.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


async def test_a_context_that_cannot_be_made_is_a_failure() -> None:
    """A fault in making the context is a failure of each handler, and does not end the worker."""

    def make(job: Any, handler_: Any) -> Any:
        raise RuntimeError("no context")

    (failed,) = await dispatcher_of(handler(_nothing), make=make).dispatch(job_of(1))
    assert (failed.ended, failed.error) == ("failed", "RuntimeError: no context")
