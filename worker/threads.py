"""Run a plain `def` handler in a thread of its own, without blocking the event loop or the end of the process.

Called by dispatch. A thread cannot be killed: a handler that overruns its time goes on in its thread, and nobody waits
for it. That is why these are daemon threads and no pool, whose exit would wait for the last of them.
"""

from __future__ import annotations

import asyncio
import contextvars
import threading
from collections.abc import Callable
from contextlib import suppress
from typing import Any


async def run_in_thread(function: Callable[..., Any], *arguments: Any) -> Any:
    """Call `function(*arguments)` in a new daemon thread and return what it returns or raise what it raises."""
    loop = asyncio.get_running_loop()
    answer: asyncio.Future[Any] = loop.create_future()
    context = contextvars.copy_context()

    def tell(result: Any, error: BaseException | None) -> None:
        if answer.done():
            return  # timed out or stopped: nobody is listening any more
        if error is None:
            answer.set_result(result)
        else:
            answer.set_exception(error)

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

    threading.Thread(target=work, name=f"handler {getattr(function, '__qualname__', '')}", daemon=True).start()
    return await answer
