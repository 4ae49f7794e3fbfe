"""Run a plain `def` handler in a thread of its own, without blocking the event loop or the end of the process.

Called by the dispatcher. A thread cannot be killed: a handler that overruns its time limit keeps running in its thread,
and nobody waits for it. That is why each run has a daemon thread of its own. A pool would wait at its exit for the last
of them, and those that hang would take its places, one by one.
"""

from __future__ import annotations

import asyncio
import contextvars
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import structlog

logger = structlog.get_logger("worker")


class Threads:
    """Runs plain functions, and counts the threads that were abandoned: they run, and nobody waits for them.

    Attributes:
        abandoned: how many were, in all.
        still_running: how many of those still run.
    """

    def __init__(self) -> None:
        self.abandoned = 0
        self.still_running = 0

    async def run(self, handler: str, function: Callable[..., Any], *arguments: Any) -> Any:
        """Call `function(*arguments)` in a new daemon thread and return what it returns or raise what it raises.

        Args:
            handler: its name, for the log.
            function: the handler.
            *arguments: what it is called with.
        """
        loop = asyncio.get_running_loop()
        future: asyncio.Future[Any] = loop.create_future()
        started_at = time.monotonic()

        def on_end(result: Any, error: BaseException | None) -> None:
            if future.done():  # timed out or stopped: nobody waits any more
                self.still_running -= 1
                seconds = round(time.monotonic() - started_at, 3)
                logger.warning("thread.ended_late", handler=handler, seconds=seconds, still_running=self.still_running)
            elif error is None:
                future.set_result(result)
            else:
                future.set_exception(error)

        _start(loop, handler, function, arguments, on_end)
        try:
            return await future
        finally:
            if future.cancelled():
                self.abandoned += 1
                self.still_running += 1
                logger.warning("thread.abandoned", handler=handler, still_running=self.still_running)


def _start(
    loop: asyncio.AbstractEventLoop,
    handler: str,
    function: Callable[..., Any],
    arguments: tuple[Any, ...],
    on_end: Callable[[Any, BaseException | None], None],
) -> None:
    context = contextvars.copy_context()

    def work() -> None:
        result: Any = None
        error: BaseException | None = None
        try:
            result = context.run(function, *arguments)
        except (StopIteration, GeneratorExit) as stop:
            error = RuntimeError(f"the handler raised {stop!r}")  # a future cannot carry these into a coroutine
        except BaseException as raised:  # noqa: BLE001 - the caller decides what follows from it, not this thread
            error = raised
        with suppress(RuntimeError):  # the loop is closed: the worker has ended meanwhile
            loop.call_soon_threadsafe(on_end, result, error)

    threading.Thread(target=work, name=f"handler {handler}", daemon=True).start()
