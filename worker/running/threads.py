"""Run a plain `def` handler in a thread of its own, without blocking the event loop or the end of the process.

Called by dispatch. A thread cannot be killed: a handler that overruns its time goes on in its thread, and nobody waits
for it. That is why these are daemon threads and no pool: its exit would wait for the last of them, and its places would
be taken, one by one, by those that hang.
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
    """Runs plain functions, and counts those that go on although nobody waits for them any more.

    Attributes:
        left_behind: how many did so, in all.
        going_on: how many of those still do.
    """

    def __init__(self) -> None:
        self.left_behind = 0
        self.going_on = 0

    async def run(self, handler: str, function: Callable[..., Any], *arguments: Any) -> Any:
        """Call `function(*arguments)` in a new daemon thread and return what it returns or raise what it raises.

        Args:
            handler: its name, for the log.
            function: the handler.
            *arguments: what it is called with.
        """
        loop = asyncio.get_running_loop()
        answer: asyncio.Future[Any] = loop.create_future()
        started_at = time.monotonic()

        def tell(result: Any, error: BaseException | None) -> None:
            if answer.done():  # timed out or stopped: nobody is listening any more
                self.going_on -= 1
                seconds = round(time.monotonic() - started_at, 3)
                logger.warning("thread.ended_late", handler=handler, seconds=seconds, still_going_on=self.going_on)
            elif error is None:
                answer.set_result(result)
            else:
                answer.set_exception(error)

        _start(loop, handler, function, arguments, tell)
        try:
            return await answer
        finally:
            if answer.cancelled():
                self.left_behind += 1
                self.going_on += 1
                logger.warning("thread.left_behind", handler=handler, going_on=self.going_on)


def _start(
    loop: asyncio.AbstractEventLoop,
    handler: str,
    function: Callable[..., Any],
    arguments: tuple[Any, ...],
    tell: Callable[[Any, BaseException | None], None],
) -> None:
    context = contextvars.copy_context()

    def work() -> None:
        result: Any = None
        error: BaseException | None = None
        try:
            result = context.run(function, *arguments)
        except (StopIteration, GeneratorExit) as stop:
            error = RuntimeError(f"the handler raised {stop!r}")  # a future cannot carry these into a coroutine
        except BaseException as raised:  # noqa: BLE001 - whatever it is belongs to the caller, not to this thread
            error = raised
        with suppress(RuntimeError):  # the loop is closed: the worker has ended meanwhile
            loop.call_soon_threadsafe(tell, result, error)

    threading.Thread(target=work, name=f"handler {handler}", daemon=True).start()
