"""`ctx.run`: lets a plain `def` handler use what has to be awaited, such as `ctx.http` and `ctx.konvox`.

The worker makes one for each attempt that asks for it, and the test kit one for each context.
"""

from __future__ import annotations

import asyncio
import concurrent.futures
import inspect
import sys
from collections.abc import Awaitable, Coroutine
from dataclasses import dataclass
from typing import Any, Generic, Never, TypeVar

from handlers.errors import ContextMisusedError

T = TypeVar("T")


class ThreadRunner:
    """Runs awaitables in an event loop for code that cannot await, and returns what they return.

    Args:
        loop: where to run them. Without one, each runs in a loop of its own, which ends with it.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop | None) -> None:
        self._loop = loop
        self._running: set[concurrent.futures.Future[Any]] = set()
        self._closed = False

    def __call__(self, awaitable: Awaitable[T], /) -> T:
        """See `handlers.context.Runner`."""
        if not inspect.isawaitable(awaitable):
            raise ContextMisusedError(
                f"ctx.run takes something to await, such as ctx.http.post(…), not {type(awaitable).__name__}"
            )
        running = running_loop()
        if running is not None and self._loop in {None, running}:
            discard(awaitable)
            raise ContextMisusedError("ctx.run is for plain functions: in an async def, write await instead")
        if self._closed:
            discard(awaitable)
            raise TimeoutError("ctx.run: the attempt has ended, at its time limit or because the worker stops")
        if self._loop is None:
            return asyncio.run(_outcome_of(awaitable)).value()
        return self._run_in(self._loop, awaitable)

    def close(self) -> None:
        """Cancel what still runs, and run nothing more: the attempt is over."""
        self._closed = True
        for future in list(self._running):
            future.cancel()

    def _run_in(self, loop: asyncio.AbstractEventLoop, awaitable: Awaitable[T]) -> T:
        outcome = _outcome_of(awaitable)
        try:
            future = asyncio.run_coroutine_threadsafe(outcome, loop)
        except RuntimeError:  # the loop is closed
            outcome.close()
            discard(awaitable)
            raise
        self._running.add(future)
        if self._closed:  # it was closed between the look above and this line
            future.cancel()
        try:
            return future.result().value()
        except concurrent.futures.CancelledError:
            reason = "the attempt has ended" if self._closed else "what it ran was cancelled"
            raise TimeoutError(f"ctx.run: {reason}") from None
        finally:
            self._running.discard(future)


@dataclass(frozen=True, slots=True)
class _Returned(Generic[T]):
    result: T

    def value(self) -> T:
        return self.result


@dataclass(frozen=True, slots=True)
class _Raised:
    error: BaseException

    def value(self) -> Never:
        raise self.error


async def _outcome_of(awaitable: Awaitable[T]) -> _Returned[T] | _Raised:
    """What it returns or raises. As a value, because an exit that a task raises would end the worker's loop."""
    try:
        result = await awaitable
        # An answer only exists where aiohttp was imported; handlers without a use for it do not wait for that.
        if (aiohttp := sys.modules.get("aiohttp")) and isinstance(result, aiohttp.ClientResponse):
            await result.read()  # which frees the connection: a plain function has no `async with` to do it
    except asyncio.CancelledError:
        raise
    except BaseException as error:  # noqa: BLE001 - it is raised again in the thread that asked
        return _Raised(error)
    return _Returned(result)


def discard(awaitable: object) -> None:
    """Close what will not be awaited, so that Python does not complain that it never was."""
    if isinstance(awaitable, Coroutine):
        awaitable.close()


def running_loop() -> asyncio.AbstractEventLoop | None:
    """The loop that runs in this thread, if any."""
    try:
        return asyncio.get_running_loop()
    except RuntimeError:
        return None
