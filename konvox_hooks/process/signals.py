"""When a process has to stop: SIGTERM, SIGINT, or the end of its parent.

Called by receiver, worker and supervisor, and by the commands that run until they are stopped.
"""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

PARENT_CHECK_SECONDS = 1.0
"""How often a child process checks that its parent still runs."""


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
