"""The errors of the handlers package, and the two exceptions by which a handler decides what happens next.

The loader and `@on` raise the errors when something is wrong with a user's module. Users' handlers raise `Retry` and
`Drop`, and the worker catches them.
"""

from __future__ import annotations

import math
from datetime import UTC, datetime, timedelta

from konvox.api.backoff import retry_after_seconds


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


class FormerNameTakenError(DuplicateHandlerError):
    """A handler's `was=` gives a name that belongs to another handler, or that another gives as well.

    Attributes:
        name: that name.
        sources: `file:line` of the handler with the `was=`, and of the other.
    """

    def __init__(self, name: str, sources: tuple[str, str], *, in_use: bool) -> None:
        fault = "is the name of a handler" if in_use else "is in the was= of two handlers"
        hint = "only one can have its retries and dead letters: take it out of was= or rename one"
        HandlerError.__init__(self, f"{name} {fault}, at {' and '.join(sources)}: {hint}")
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


class ContextMisusedError(HandlerError):
    """A handler uses its context as it cannot be used, such as `ctx.run` in an `async def`."""


class Retry(Exception):  # noqa: N818 - raised to ask for something, as StopIteration is; it is no fault
    """Raise it in a handler to have another attempt for this event: `raise Retry(after=30)`.

    With a time it uses up no attempt, as long as the wait ends within the handler's `retry_for`. Without one it counts
    like any other exception. The next attempt comes a little later than asked for, because jobs that were told to wait
    at the same time must not all return at the same time.

    Args:
        after: how long to wait, as seconds, as a `timedelta`, or as the text of a `Retry-After` header (seconds or a
            date). None, and a text that is neither, mean the handler's usual backoff.

    Attributes:
        after_seconds: how long to wait; 0 for a time that has passed, None for the handler's usual backoff.

    Raises:
        ValueError: `after` is a number that is not finite, or no time at all.
    """

    def __init__(self, after: float | timedelta | str | None = None) -> None:
        self.after_seconds = _seconds(after)
        when = "after the usual backoff" if self.after_seconds is None else f"in {self.after_seconds:g} s"
        super().__init__(f"retry {when}")


def _seconds(after: float | timedelta | str | None) -> float | None:
    if after is None:
        return None
    if isinstance(after, str):
        return seconds_of_header(after)  # from outside, and so never an error
    try:
        seconds = after.total_seconds() if isinstance(after, timedelta) else float(after)
    except (TypeError, ValueError, OverflowError):
        seconds = math.nan
    if not math.isfinite(seconds):
        raise ValueError(
            f"Retry(after={after!r}): give seconds, a timedelta, the text of a Retry-After header, "
            "or nothing for the usual backoff"
        )
    return max(0.0, seconds)


def seconds_of_header(text: str) -> float | None:
    """How long a `Retry-After` header asks to wait, 0 for a time that has passed; None where it says no time."""
    try:
        seconds = float(text) if text.isascii() and "_" not in text else math.nan  # what float() takes for a number
    except ValueError:
        return retry_after_seconds(text, now=datetime.now(UTC))
    return max(0.0, seconds) if math.isfinite(seconds) else None


class Drop(Exception):  # noqa: N818 - see Retry
    """Raise it in a handler to end an event for good, without another attempt: `raise Drop("a test contact")`.

    Attributes:
        reason: why, for people who look at the event later.
    """

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason
