"""The time limits of handlers: what runs too long is cancelled, and ends with a TimeoutError. Used by the dispatcher.

One timer serves all runs under the same limit: they are due in the order in which they began, so it is set to the
oldest. `asyncio.timeout` makes and removes a timer for each run, which costs more than all the rest of running a
handler that does nothing.

What happens at a time limit: an `async def` handler is cancelled, and its attempt has failed. A plain `def` runs in a
thread, which cannot be stopped: nobody waits for it any more (`threads.py`). A handler that swallows its cancellation
is abandoned some seconds later (`worker/runner.py`). One that blocks the event loop keeps the timer from firing: that
is the watchdog's business.
"""

from __future__ import annotations

import asyncio
from types import TracebackType
from typing import Any, Self

from broker.records import Job
from handlers.registry import Handler

Run = tuple[Handler, Job]
"""A handler, and the job that it runs for."""


class TimeLimit:
    """One limit, and all that runs under it at the moment.

    Args:
        seconds: how long each run may take.
    """

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds
        self._running: dict[LimitedRun, None] = {}  # the oldest first
        self._timer: asyncio.TimerHandle | None = None
        self._loop: asyncio.AbstractEventLoop | None = None

    def begin(self, run: LimitedRun) -> float:
        """Watch a run; returns when it is due to end, by the loop's clock."""
        loop = asyncio.get_running_loop()
        due = loop.time() + self.seconds
        self._running[run] = None
        if self._timer is None or self._loop is not loop:
            # A timer that has nothing left to watch is left alone: it fires once, and ends.
            self._loop = loop
            self._timer = loop.call_at(due, self._look)
        return due

    def end(self, run: LimitedRun) -> None:
        """Watch a run no longer."""
        self._running.pop(run, None)

    def run_in(self, task: asyncio.Task[Any]) -> Run | None:
        """What runs in a task under this limit; may be called from any thread, and looks at all of them."""
        return next((run.what for run in list(self._running) if run.task is task), None)  # copied in one step

    def _look(self) -> None:
        """Cancel what is due to end, and set the timer to the oldest that is left."""
        self._timer = None
        loop = asyncio.get_running_loop()
        for run in list(self._running):
            if run.due > loop.time():
                self._timer = loop.call_at(run.due, self._look)
                return
            del self._running[run]
            run.expire()


class LimitedRun:
    """One run in the current task: `with LimitedRun(limit): await …`.

    It is cancelled at its limit, which comes out as a TimeoutError. As with `asyncio.timeout`, a cancellation by anyone
    else meanwhile counts as well.

    Args:
        limit: the limit.
        what: the handler, and the job that it runs for.

    Attributes:
        task: the task that it runs in.
        due: when it is to end, by the loop's clock.
        expired: whether it was cancelled at its limit.
    """

    __slots__ = ("_cancelled_before", "_limit", "due", "expired", "task", "what")

    task: asyncio.Task[Any]

    def __init__(self, limit: TimeLimit, what: Run | None = None) -> None:
        self._limit = limit
        self.what = what
        self.expired = False
        self.due = 0.0

    def __enter__(self) -> Self:
        task = asyncio.current_task()
        if task is None:
            raise RuntimeError("a time limit needs a task that can be cancelled")
        self.task = task
        self._cancelled_before = task.cancelling()
        self.due = self._limit.begin(self)
        return self

    def expire(self) -> None:
        """Cancel the run."""
        self.expired = True
        self.task.cancel()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None, /
    ) -> None:
        self._limit.end(self)
        if not self.expired:
            return
        # Our own cancellation is taken back, even if the run swallowed it; any beyond that is somebody else's.
        only_ours = self.task.uncancel() <= self._cancelled_before
        if only_ours and kind is asyncio.CancelledError:
            raise TimeoutError(f"it took longer than {self._limit.seconds:g} s") from error
