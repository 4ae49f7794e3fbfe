"""End a process although a task swallows its cancellation or a thread hangs. Nothing else ends processes by force.

Called by the commands `worker`, `replay` and `receiver` (`run_to_end`), and by `cli.main` (`exit_process`). Python
itself waits without a limit: `asyncio.run` for tasks, the interpreter for threads. By the time this module acts, the
role has written its results and released the rest, and nothing depends on those tasks and threads any more.
"""

from __future__ import annotations

import asyncio
import signal
import sys
import threading
import time
from collections.abc import Callable, Coroutine
from pathlib import Path
from types import FrameType
from typing import Any, NoReturn, TypeVar

import structlog

from worker.running.watchdog import end_process

GRACE_SECONDS = 1.0
"""How long remaining tasks and threads may take to end. Handlers had KONVOX_STOP_SECONDS before."""

_ASYNCIO = str(Path(asyncio.__file__).parent)

T = TypeVar("T")

logger = structlog.get_logger("konvox_hooks")

_unfinished: list[asyncio.Runner] = []
"""Event loops with tasks that did not end. They are kept: destroying them would call users' code again."""


def run_to_end(
    main: Coroutine[Any, Any, T], *, loop_factory: Callable[[], asyncio.AbstractEventLoop] | None = None
) -> T:
    """Run like `asyncio.run`, but wait for the remaining tasks no longer than `GRACE_SECONDS`.

    Signals that come after the end of `main` are ignored, because the process is ending already.

    Args:
        main: the coroutine to run.
        loop_factory: makes the event loop; asyncio's own by default.
    """
    runner = asyncio.Runner(loop_factory=loop_factory)
    try:
        return runner.run(main)
    finally:
        abandoned = runner.run(_cancel_remaining_tasks())
        for signum in (signal.SIGTERM, signal.SIGINT):
            if runner.get_loop().remove_signal_handler(signum):
                signal.signal(signum, signal.SIG_IGN)
        if abandoned:
            logger.warning("exit.forced", tasks=abandoned)
            _unfinished.append(runner)
        else:
            runner.close()


def exit_process(exit_code: int) -> NoReturn:
    """End the process with this exit code, at the latest after `GRACE_SECONDS`."""
    if _unfinished:
        end_process(exit_code)
    if _blocking_threads():
        threading.Thread(target=_end_after_grace, args=(exit_code,), daemon=True).start()
    sys.exit(exit_code)


async def _cancel_remaining_tasks() -> list[str]:
    """Cancel all other tasks; returns the places in the code where those wait that did not end."""
    loop = asyncio.get_running_loop()
    remaining = asyncio.all_tasks() - {asyncio.current_task()}
    for task in remaining:
        task.cancel()
    threads = asyncio.create_task(loop.shutdown_default_executor(), name="threads of asyncio.to_thread")
    _, pending = await asyncio.wait({*remaining, threads}, timeout=GRACE_SECONDS)
    return sorted(task.get_name() if task is threads else _place_of_task(task) for task in pending)


def _blocking_threads() -> list[threading.Thread]:
    """The threads for whose end the interpreter would wait."""
    return [thread for thread in threading.enumerate() if not thread.daemon and thread is not threading.main_thread()]


def _end_after_grace(exit_code: int) -> None:
    time.sleep(GRACE_SECONDS)
    frames = sys._current_frames()
    places = [f"{thread.name}: {_place(frames.get(thread.ident or 0))}" for thread in _blocking_threads()]
    logger.warning("exit.forced", threads=sorted(places))
    end_process(exit_code)


def _place_of_task(task: asyncio.Task[Any]) -> str:
    """Where the task waits: its innermost frame that is not asyncio's own."""
    coroutine: Any = task.get_coro()
    place = _place(None)
    while frame := getattr(coroutine, "cr_frame", None):
        if not frame.f_code.co_filename.startswith(_ASYNCIO):
            place = _place(frame)
        coroutine = coroutine.cr_await
    return place


def _place(frame: FrameType | None) -> str:
    if frame is None:
        return "unknown place"
    return f"{frame.f_code.co_qualname} ({frame.f_code.co_filename}:{frame.f_lineno})"
