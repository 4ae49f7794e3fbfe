"""The errors of the handlers package, and the two exceptions by which a handler decides what happens next.

The loader and `@on` raise the errors when something is wrong with a user's module. Users' handlers raise `Retry` and
`Drop`, and the worker catches them.
"""

from __future__ import annotations

import math
from datetime import timedelta


class HandlerError(Exception):
    """Something is wrong with the handlers that are plugged in.

    Attributes:
        exit_code: of a command that ends with it: the handlers are part of the configuration.
    """

    exit_code = 2


class HandlerLoadError(HandlerError):
    """A file or module of handlers cannot be imported, or has no handler.

    Attributes:
        source: the entry of KONVOX_HANDLERS, as it was configured.
        reason: what is wrong with it, and how to fix it.
        traceback: where it failed, starting in the user's own code; empty if none of that was running.
    """

    def __init__(self, source: str, reason: str, traceback: str = "") -> None:
        super().__init__(f"{source}: {reason}" + (f"\n{traceback.rstrip()}" if traceback else ""))
        self.source = source
        self.reason = reason
        self.traceback = traceback


class DuplicateHandlerError(HandlerError):
    """Two handlers have the same name, and retries and dead letters know a handler by its name.

    Attributes:
        name: the name that both have.
        sources: `file:line` of each.
    """

    def __init__(self, name: str, sources: tuple[str, str]) -> None:
        super().__init__(f"two handlers are named {name}: rename one of the functions, at {' and '.join(sources)}")
        self.name = name
        self.sources = sources


class InvalidHandlerError(HandlerError):
    """`@on` has wrong arguments, or stands above something that cannot be a handler.

    Attributes:
        function: the function's name.
        source: `file:line` of the function.
        fault: what is wrong.
        hint: what to write instead.
    """

    def __init__(self, function: str, source: str, fault: str, hint: str) -> None:
        super().__init__(f"{source}: {function}: {fault}; {hint}")
        self.function = function
        self.source = source
        self.fault = fault
        self.hint = hint


class Retry(Exception):  # noqa: N818 - raised to ask for something, as StopIteration is; it is no fault
    """Raise it in a handler to have another attempt for this event: `raise Retry(after=30)`.

    It uses up an attempt, like any other exception, and says when the next one comes.

    Attributes:
        after_seconds: how long to wait; 0 for a time that has passed, None for the handler's usual backoff.
    """

    def __init__(self, after: float | timedelta | None = None) -> None:
        seconds = after.total_seconds() if isinstance(after, timedelta) else after
        if seconds is not None and not math.isfinite(seconds):
            raise ValueError(f"Retry(after={after!r}): give seconds, a timedelta, or nothing for the usual backoff")
        self.after_seconds = None if seconds is None else max(0.0, float(seconds))
        when = "after the usual backoff" if self.after_seconds is None else f"in {self.after_seconds:g} s"
        super().__init__(f"retry {when}")


class Drop(Exception):  # noqa: N818 - see Retry
    """Raise it in a handler to end an event for good, without another attempt: `raise Drop("a test contact")`.

    Attributes:
        reason: why, for people who look at the event later.
    """

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason
