"""What a process of any role needs: signal handlers, a watch on its parent, and settings of the garbage collector.

Called by receiver, worker and supervisor, and by the commands that run until they are stopped.
"""

from __future__ import annotations

import asyncio
import gc
import os
import signal
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

PARENT_CHECK_SECONDS = 1.0
"""How often a child process checks that its parent still runs."""

GARBAGE_AFTER_ALLOCATIONS = 10_000
"""A search for garbage starts after this many allocations of containers, frees subtracted; Python's default is 700."""


def on_stop_signal(stop: Callable[[], object]) -> None:
    """Call `stop` on SIGTERM and on SIGINT."""
    loop = asyncio.get_running_loop()
    for signum in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(signum, stop)


@asynccontextmanager
async def bound_to_parent(stop: Callable[[], object], parent_pid: int | None) -> AsyncIterator[None]:
    """Within the block, call `stop` when the parent process is gone: a child must not outlive its supervisor.

    Args:
        stop: called once.
        parent_pid: the parent's id, from the parent itself: it may be gone before we could look it up. None: there is
            no parent to watch.
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


def tune_garbage_collection() -> None:
    """Exclude the objects that exist now from the search for garbage, and search less often than by default.

    Each event makes about a hundred objects that reference counting frees; frequent searches would find nothing.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(GARBAGE_AFTER_ALLOCATIONS)
