"""End a process that runs users' code, although a task of it swallows its cancellation, or a thread of it hangs.

Used by `worker`, by local replay, and by `receiver` for the sake of late signals. Python's own way waits for all of
them without a limit: `asyncio.run` for the tasks, the interpreter for the threads. By then the role has stopped,
written what there was to write and handed back the rest, so that nothing depends on them any more.
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
"""How long what is left may take to end by itself. Handlers were given KONVOX_STOP_SECONDS before."""

_ASYNCIO = str(Path(asyncio.__file__).parent)

T = TypeVar("T")

logger = structlog.get_logger("konvox_hooks")

_unfinished: list[asyncio.Runner] = []
"""Event loops with tasks that would not end. Held on to: their destruction would call into users' code once more."""


def run_to_end(
    main: Coroutine[Any, Any, T], *, loop_factory: Callable[[], asyncio.AbstractEventLoop] | None = None
) -> T:
    """Run like `asyncio.run`, but wait for what users' code has left behind for `GRACE_SECONDS` only.

    A signal that comes after the end of `main` is ignored: it asks for what is happening anyway.

    Args:
        main: what to run.
        loop_factory: makes the event loop; asyncio's own if left out.
    """
    runner = asyncio.Runner(loop_factory=loop_factory)
    try:
        return runner.run(main)
    finally:
        left = runner.run(_cancel_the_rest())
        for signum in (signal.SIGTERM, signal.SIGINT):
            if runner.get_loop().remove_signal_handler(signum):
                signal.signal(signum, signal.SIG_IGN)
        if left:
            logger.warning("exit.forced", tasks=left)
            _unfinished.append(runner)
        else:
            runner.close()


def leave(exit_code: int) -> NoReturn:
    """End the process with this exit code, for certain."""
    if _unfinished:
        end_process(exit_code)
    if _threads_left():
        threading.Thread(target=_end_soon, args=(exit_code,), daemon=True).start()
    sys.exit(exit_code)


async def _cancel_the_rest() -> list[str]:
    """Cancel what still runs; returns where the tasks are that would not end."""
    loop = asyncio.get_running_loop()
    rest = asyncio.all_tasks() - {asyncio.current_task()}
    for task in rest:
        task.cancel()
    threads = asyncio.create_task(loop.shutdown_default_executor(), name="threads of asyncio.to_thread")
    _, pending = await asyncio.wait({*rest, threads}, timeout=GRACE_SECONDS)
    return sorted(task.get_name() if task is threads else _place_of_task(task) for task in pending)


def _threads_left() -> list[threading.Thread]:
    """The threads for which the interpreter would wait."""
    return [thread for thread in threading.enumerate() if not thread.daemon and thread is not threading.main_thread()]


def _end_soon(exit_code: int) -> None:
    time.sleep(GRACE_SECONDS)
    frames = sys._current_frames()
    places = [f"{thread.name}: {_place(frames.get(thread.ident or 0))}" for thread in _threads_left()]
    logger.warning("exit.forced", threads=sorted(places))
    end_process(exit_code)


def _place_of_task(task: asyncio.Task[Any]) -> str:
    """Where it waits: the innermost of its frames that is not asyncio's own."""
    coroutine: Any = task.get_coro()
    place = _place(None)
    while frame := getattr(coroutine, "cr_frame", None):
        if not frame.f_code.co_filename.startswith(_ASYNCIO):
            place = _place(frame)
        coroutine = coroutine.cr_await
    return place


def _place(frame: FrameType | None) -> str:
    if frame is None:
        return "somewhere"
    return f"{frame.f_code.co_qualname} ({frame.f_code.co_filename}:{frame.f_lineno})"
