"""A module's `lifespan`: entered when the worker starts, left when it ends, which may take only so long.

It is users' code, run when the worker has been told to stop and everything is written and handed back. An exit that
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
"""How long leaving one may take although no time is left: most only close a connection."""

CANCELLED_SECONDS = 1.0
"""How long one that is cancelled may take to end, before the process ends without it."""

LOOK_SECONDS = 0.1
"""How often to look how much time is left: a second signal takes it all away."""

SecondsLeft = Callable[[], float]

logger = structlog.get_logger("worker")


class BoundedLifespan:
    """An async context manager around a module's own.

    Args:
        module: the module.
        lifespan: its `lifespan`.
        seconds_left: how much of the time to stop is left; without it leaving may take for ever.
        end: ends the process with an exit code; other than `end_process` in tests.
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
        patience = asyncio.timeout(None)
        try:
            async with patience:
                watch = (asyncio.get_running_loop(), patience, self._seconds_left, 0 if error is None else 1)
                threading.Thread(target=self._watch, args=watch, name="lifespan watch", daemon=True).start()
                try:
                    return await self._inner.__aexit__(kind, error, trace)
                finally:
                    self._left.set()
        except Exception:
            if not patience.expired():
                raise
            return None  # cancelled by us: what it says to that is no fault of the worker

    def _watch(
        self,
        loop: asyncio.AbstractEventLoop,
        patience: asyncio.Timeout,
        seconds_left: SecondsLeft,
        exit_code: int,
    ) -> None:
        """In a thread, because the loop may be blocked."""
        not_before = time.monotonic() + LEAST_SECONDS
        while not self._left.wait(LOOK_SECONDS):
            if time.monotonic() >= not_before and seconds_left() <= 0:
                break
        if self._left.is_set():
            return

        def cancel() -> None:
            if not self._left.is_set():
                patience.reschedule(loop.time())

        mend = "let the code behind its yield end soon: close connections with a time limit"
        logger.error("lifespan.left_behind", module=self._module, mend=mend)
        loop.call_soon_threadsafe(cancel)
        if not self._left.wait(CANCELLED_SECONDS):
            self._end(exit_code)
