"""How far a command got: what Ctrl-C makes it say before it ends.

A command states its progress with `progress`. `cli.main` calls `end_on_ctrl_c` once. Receiver, worker and the commands
that run until Ctrl-C handle the signal themselves: for them, it is the ordinary end.
"""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from types import FrameType
from typing import Final

INTERRUPTED: Final = 130
"""The exit code after Ctrl-C."""

GRACE_SECONDS: Final = 0.7
"""How long a command may take to end after Ctrl-C. Then it is ended: a handler may block, or Redis may not answer."""

_descriptions: list[Callable[[], str]] = []


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


def end_on_ctrl_c(say: Callable[[str], None]) -> None:
    """From now on, Ctrl-C raises KeyboardInterrupt where the code is, and ends the process after `GRACE_SECONDS`.

    Args:
        say: writes the last message to stderr.
    """
    if signal.getsignal(signal.SIGINT) is not signal.default_int_handler:
        return  # ignored, as for a command in the background of a script

    def interrupt(_signum: int, _frame: FrameType | None) -> None:
        import threading  # noqa: PLC0415 - only needed here, and `--help` must start fast

        timer = threading.Timer(GRACE_SECONDS, _end, [say])
        timer.daemon = True
        timer.start()
        raise KeyboardInterrupt

    signal.signal(signal.SIGINT, interrupt)


def _end(say: Callable[[str], None]) -> None:
    say(f"stopped by Ctrl-C{how_far()}")
    for stream in (sys.stdout, sys.stderr):
        with suppress(OSError, ValueError):
            stream.flush()
    os._exit(INTERRUPTED)
