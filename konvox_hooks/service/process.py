"""What a process of any role needs: signals, the watch on its parent, and garbage collection that fits a service.

Used by both roles, the supervisor, and the commands that run until they are stopped.
"""

from __future__ import annotations

import asyncio
import gc
import os
import signal
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

PARENT_CHECK_SECONDS = 1.0
"""How often a child process looks whether its parent is still there."""

GARBAGE_AFTER_ALLOCATIONS = 10_000
"""So many more allocated than freed containers start a search for garbage; Python's default is 700."""


def with_signals(stop: Callable[[], object]) -> None:
    """Call `stop` on SIGTERM and on SIGINT."""
    loop = asyncio.get_running_loop()
    for signum in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(signum, stop)


@asynccontextmanager
async def bound_to_parent(stop: Callable[[], object], parent_pid: int | None) -> AsyncIterator[None]:
    """Stop when the parent process is gone, however it went: a child must not outlive its supervisor.

    The parent is told to us, rather than looked up: it may be gone before we get here. None: there is none to watch.
    """

    async def watch() -> None:
        while True:
            if os.getppid() != parent_pid:
                stop()
                return
            await asyncio.sleep(PARENT_CHECK_SECONDS)

    watcher = asyncio.create_task(watch()) if parent_pid is not None else None
    try:
        yield
    finally:
        if watcher is not None:
            watcher.cancel()


def rarely_collect_garbage() -> None:
    """Leave out of the search for garbage what stays for ever, and search after more allocations than by default.

    Each event makes some hundred objects that die by themselves; looking through all of them that often finds nothing.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(GARBAGE_AFTER_ALLOCATIONS)
