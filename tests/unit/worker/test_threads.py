"""Plain functions in threads: what they return, raise and see, and what happens when nobody listens any more."""

from __future__ import annotations

import asyncio
import contextvars
import threading

import pytest
import structlog

from worker.running.threads import Threads

setting: contextvars.ContextVar[str] = contextvars.ContextVar("setting", default="unset")


async def test_it_returns_what_the_function_returns() -> None:
    """The function is called with the arguments in another thread, which does not keep the process from ending."""

    def function(left: int, right: int) -> tuple[int, bool, bool]:
        thread = threading.current_thread()
        return left + right, thread is threading.main_thread(), thread.daemon

    assert await Threads().run("h", function, 1, 2) == (3, False, True)


@pytest.mark.parametrize("error", [ValueError("no"), SystemExit(3), KeyboardInterrupt(), asyncio.CancelledError()])
async def test_it_raises_what_the_function_raises(error: BaseException) -> None:
    """Any error of the function is raised again, also one that would end a process or a task."""

    def function() -> None:
        raise error

    with pytest.raises(type(error)) as caught:
        await Threads().run("h", function)
    assert type(caught.value) is type(error)


async def test_a_stop_iteration_arrives_as_an_error() -> None:
    """A StopIteration arrives as another error, because raising it into a coroutine would hang the event loop."""

    def function() -> None:
        next(iter(()))

    with pytest.raises(RuntimeError, match="StopIteration"):
        await Threads().run("h", function)


async def test_it_sees_the_context_and_changes_only_its_own() -> None:
    """Plain handlers see the caller's context variables, such as structlog's bound values, and change a copy."""
    seen: list[str] = []

    def function() -> None:
        seen.append(setting.get())
        setting.set("changed")

    setting.set("given")
    await Threads().run("h", function)
    assert (seen, setting.get()) == (["given"], "given")


async def test_a_hundred_run_at_once() -> None:
    """A hundred functions run at once, because no pool has a size of its own."""
    barrier = threading.Barrier(100)
    await asyncio.gather(*(Threads().run("h", barrier.wait, 10) for _ in range(100)))


async def test_the_caller_can_be_cancelled() -> None:
    """The thread keeps running, is counted, and disturbs nothing when it ends."""
    started, go_on = threading.Event(), threading.Event()

    def function() -> None:
        started.set()
        go_on.wait(10)

    threads = Threads()
    waiting = asyncio.create_task(threads.run("of one that waits", function))
    await asyncio.to_thread(started.wait, 10)
    (thread,) = (thread for thread in threading.enumerate() if thread.name == "handler of one that waits")
    waiting.cancel()
    with structlog.testing.capture_logs() as lines:
        with pytest.raises(asyncio.CancelledError):
            await waiting
        assert (threads.abandoned, threads.still_running) == (1, 1)
        go_on.set()
        await asyncio.to_thread(thread.join, 10)
        await asyncio.sleep(0)  # its answer is delivered here, to nobody
    assert (threads.abandoned, threads.still_running) == (1, 0)
    assert [(line["event"], line["handler"]) for line in lines] == [
        ("thread.abandoned", "of one that waits"),
        ("thread.ended_late", "of one that waits"),
    ]


async def test_one_that_raises_a_cancellation_is_not_abandoned() -> None:
    """A thread that raises CancelledError has ended, and is not counted as abandoned."""

    def function() -> None:
        raise asyncio.CancelledError

    threads = Threads()
    with pytest.raises(asyncio.CancelledError):
        await threads.run("h", function)
    assert (threads.abandoned, threads.still_running) == (0, 0)


def test_the_loop_may_be_gone_before_the_thread() -> None:
    """A thread that ends after the loop raises no error, as when the worker stops."""
    go_on = threading.Event()
    threads: list[threading.Thread] = []

    async def leave_early() -> None:
        task = asyncio.create_task(Threads().run("h", go_on.wait, 10))
        await asyncio.sleep(0)
        threads.extend(thread for thread in threading.enumerate() if thread.name.startswith("handler"))
        task.cancel()

    asyncio.run(leave_early())
    go_on.set()
    for thread in threads:
        thread.join(10)
    assert threads
