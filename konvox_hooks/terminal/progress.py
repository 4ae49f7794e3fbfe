"""How far a command got: what Ctrl-C makes it say before it ends.

A command states its progress with `progress`. `cli.main` calls `end_on_ctrl_c` once. Receiver, worker and the commands
that run until Ctrl-C handle the signal themselves: for them, it is the ordinary end.
"""

from __future__ import annotations

import os
import signal
import sys
import threading
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager, suppress
from types import FrameType
from typing import TYPE_CHECKING, Any, Final, TypeVar

if TYPE_CHECKING:
    import asyncio

T = TypeVar("T")

INTERRUPTED: Final = 130
"""The exit code after Ctrl-C."""

GRACE_SECONDS: Final = 0.7
"""How long a command may take to end after Ctrl-C. Then it is ended: a handler may block, or Redis may not answer."""

CANCEL_SECONDS: Final = 0.3
"""How long a cancelled command may take to stop what it has started, before it is interrupted where it is."""

_descriptions: list[Callable[[], str]] = []
_main_tasks: list[asyncio.Task[Any] | None] = []
_timers: list[threading.Timer] = []


@contextmanager
def progress(describe: Callable[[], str]) -> Iterator[None]:
    """Within the block, Ctrl-C makes the command say `describe()`, such as "12 of 50 sent".

    An interrupted block leaves its description for `how_far`, because that is called after the block has been left.
    """
    _descriptions.append(describe)
    try:
        yield
    except Exception:
        _descriptions.remove(describe)
        raise
    else:
        _descriptions.remove(describe)


def how_far() -> str:
    """How far the command got, with a colon in front; empty if it has nothing to say about that."""
    text = _descriptions[-1]() if _descriptions else ""
    return f": {text}" if text else ""


def forget() -> None:
    """Forget what an earlier command in this process left."""
    _descriptions.clear()


async def interruptible(main: Awaitable[T]) -> T:
    """Await the main coroutine of a command so that Ctrl-C cancels it: it can stop what it has started."""
    import asyncio  # noqa: PLC0415 - it is loaded where this runs, and `--help` must start fast

    _main_tasks.append(asyncio.current_task())
    try:
        return await main
    except asyncio.CancelledError:
        if not _timers:
            raise
        raise KeyboardInterrupt from None
    finally:
        _main_tasks.pop()


def end_on_ctrl_c(say: Callable[[str], None]) -> None:
    """From now on, Ctrl-C interrupts the command, and ends the process after `GRACE_SECONDS` at the latest.

    What is `interruptible` is cancelled first. If that has no effect, because code blocks the event loop, or where
    nothing is, KeyboardInterrupt is raised where the code is.

    Args:
        say: writes the last message to stderr.
    """
    if signal.getsignal(signal.SIGINT) is not signal.default_int_handler:
        return  # ignored, as for a command in the background of a script
    main_thread = threading.get_ident()

    def interrupt(_signum: int, _frame: FrameType | None) -> None:
        is_first = not _timers
        if is_first:
            _start(GRACE_SECONDS, lambda: _end(say))
        if not is_first or not _main_tasks or (task := _main_tasks[-1]) is None:
            raise KeyboardInterrupt
        task.get_loop().call_soon_threadsafe(task.cancel)
        _start(CANCEL_SECONDS, lambda: _interrupt_again(main_thread))

    signal.signal(signal.SIGINT, interrupt)


def _start(seconds: float, action: Callable[[], None]) -> None:
    timer = threading.Timer(seconds, action)
    timer.daemon = True
    timer.start()
    _timers.append(timer)


def _interrupt_again(main_thread: int) -> None:
    if _main_tasks:
        signal.pthread_kill(main_thread, signal.SIGINT)  # unlike a flag, it also ends a blocking call


def _end(say: Callable[[str], None]) -> None:
    say(f"stopped by Ctrl-C{how_far()}")
    for stream in (sys.stdout, sys.stderr):
        with suppress(OSError, ValueError):
            stream.flush()
    os._exit(INTERRUPTED)
