"""A module's `lifespan`: entered when the worker starts, left when it stops, within a time limit.

Its exit is users' code. It runs when the worker was asked to stop, and everything is written and released. An exit that
waits for ever is cancelled; one that swallows its cancellation, or blocks the event loop, ends with the process.
"""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable
from types import TracebackType
from typing import Any

import structlog

from handlers.loader import Lifespan
from worker.errors import LifespanError
from worker.running.watchdog import end_process

LEAST_SECONDS = 1.0
"""How long an exit may take even if no time is left: most only close a connection."""

CANCELLED_SECONDS = 1.0
"""How long an exit that is cancelled may take to end; then the process ends without it."""

LOOK_SECONDS = 0.1
"""How often to ask how much time is left: after a second signal, none is."""

SecondsLeft = Callable[[], float]
"""How much of the time to stop is left."""

logger = structlog.get_logger("worker")


class BoundedLifespan:
    """An async context manager around a module's own.

    Args:
        module: the module.
        lifespan: its `lifespan`.
        seconds_left: how much of the time to stop is left. None for no limit.
        end: ends the process with an exit code; tests replace it.
    """

    def __init__(
        self,
        module: str,
        lifespan: Lifespan,
        seconds_left: SecondsLeft | None,
        *,
        end: Callable[[int], object] = end_process,
    ) -> None:
        self._module = module
        self._lifespan = lifespan
        self._seconds_left = seconds_left
        self._end = end
        self._left = threading.Event()

    async def __aenter__(self) -> Any:
        """Enter it; returns what it yields.

        Raises:
            LifespanError: it failed.
        """
        try:
            self._inner = self._lifespan()
            return await self._inner.__aenter__()
        except Exception as error:
            raise LifespanError(self._module, error) from error

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> bool | None:
        """Leave it, as long as there is time."""
        if self._seconds_left is None:
            return await self._inner.__aexit__(kind, error, trace)
        limit = asyncio.timeout(None)
        try:
            async with limit:
                watch = (asyncio.get_running_loop(), limit, self._seconds_left, 0 if error is None else 1)
                threading.Thread(target=self._watch, args=watch, name="lifespan watch", daemon=True).start()
                try:
                    return await self._inner.__aexit__(kind, error, trace)
                finally:
                    self._left.set()
        except Exception:
            if not limit.expired():
                raise
            return None  # we cancelled it: what it raises then is no fault of the worker

    def _watch(
        self,
        loop: asyncio.AbstractEventLoop,
        limit: asyncio.Timeout,
        seconds_left: SecondsLeft,
        exit_code: int,
    ) -> None:
        """Cancel an exit that takes too long, and end the process if that does not help.

        In a thread, because the loop may be blocked.
        """
        not_before = time.monotonic() + LEAST_SECONDS
        while not self._left.wait(LOOK_SECONDS):
            if time.monotonic() >= not_before and seconds_left() <= 0:
                break
        if self._left.is_set():
            return

        def cancel() -> None:
            if not self._left.is_set():
                limit.reschedule(loop.time())

        hint = "let the code behind its yield end soon: close connections with a time limit"
        logger.error("lifespan.abandoned", module=self._module, hint=hint)
        loop.call_soon_threadsafe(cancel)
        if not self._left.wait(CANCELLED_SECONDS):
            self._end(exit_code)
