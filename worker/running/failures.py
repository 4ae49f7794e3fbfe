"""What it means that a handler raised something: dropped, unfit, told to wait, or failed. Pure.

Called by the dispatcher. A handler may raise anything, an error that cannot even be shown included. In a group of
errors (`asyncio.TaskGroup` raises one) its leaves count:

- an ordinary error beside anything else is a failure, and no `Drop` hides it;
- a `Retry` beside a `Drop` has another attempt, because something is still to be done;
- of several waits the longest counts.

What an error was raised from, or while handling, does not count: `raise Failed from Retry(…)` is a failure.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from handlers import Drop, Retry
from handlers.errors import seconds_of_header
from konvox.errors import EventDoesNotFitError
from worker.running.tracebacks import error_line, text_of, traceback_of
from worker.running.verdicts import AttemptPolicy, HandlerRun

_SHOWN_LEAVES = 10
_MOST_LEAVES = 10_000
_TOO_MANY_REQUESTS, _UNAVAILABLE = 429, 503


def failed_run(name: str, error: BaseException, duration_ms: float, policy: AttemptPolicy) -> HandlerRun:
    """How a run ended that raised an error."""
    leaves = _leaves(error)
    if all(isinstance(leaf, Drop) for leaf in leaves):
        # Users may derive from it without calling its constructor, or pass something that is not text.
        reasons = dict.fromkeys(text_of(getattr(leaf, "reason", "")) for leaf in leaves)
        return HandlerRun(name, "dropped", duration_ms, "; ".join(filter(None, reasons)), policy=policy)
    if all(isinstance(leaf, EventDoesNotFitError) for leaf in leaves):
        return HandlerRun(name, "unfit", duration_ms, "; ".join(map(text_of, leaves)), policy=policy)
    asking = [leaf for leaf in leaves if not isinstance(leaf, Drop)]
    asked = [seconds for leaf in asking if (seconds := _wait_seconds(leaf)) is not None]
    run = HandlerRun(
        name,
        "failed",
        duration_ms,
        error=_one_line(error, leaves),
        # That a handler asks for another attempt is no fault to look for.
        traceback="" if all(isinstance(leaf, Retry) for leaf in asking) else traceback_of(error),
        policy=policy,
    )
    return run._replace(
        retry_after_seconds=max(asked, default=None), told_to_wait=len(asked) == len(asking) and bool(asked)
    )


def _leaves(error: BaseException) -> Sequence[BaseException]:
    """The errors in a group and in the groups within it; the error itself if it is none."""
    if not isinstance(error, BaseExceptionGroup):
        return [error]
    leaves: list[BaseException] = []
    waiting: list[BaseException] = [error]
    while waiting and len(leaves) < _MOST_LEAVES:
        found = waiting.pop()
        if isinstance(found, BaseExceptionGroup):
            waiting.extend(reversed(found.exceptions))
        else:
            leaves.append(found)
    return leaves


def _wait_seconds(error: BaseException) -> float | None:
    """For how long the handler was told to wait; None for an ordinary error, and for the usual backoff."""
    try:
        seconds = error.after_seconds if isinstance(error, Retry) else _wait_of_answer(error)
        return max(0.0, float(seconds)) if seconds is not None and math.isfinite(seconds) else None
    except Exception:  # noqa: BLE001 - whatever a stranger's error does when it is looked at
        return None


def _wait_of_answer(error: BaseException) -> float | None:
    """What an error about an HTTP answer says: of aiohttp, of the Konvox client, of requests, httpx or urllib.

    429 says to wait, even if not for how long. 503 does so only with `Retry-After`: otherwise something is broken.
    """
    response = getattr(error, "response", None)
    answer: Any = error if response is None else response  # in requests, an answer with an error is false
    if not hasattr(answer, "headers") and not hasattr(error, "retry_after_seconds"):
        return None  # some other `status` or `code`, such as that of SystemExit
    statuses = (getattr(answer, name, None) for name in ("status", "status_code", "code"))
    status = next((each for each in statuses if isinstance(each, int)), None)
    if status not in {_TOO_MANY_REQUESTS, _UNAVAILABLE}:
        return None
    seconds = getattr(error, "retry_after_seconds", None)
    headers = getattr(answer, "headers", None)
    if seconds is None and headers is not None:
        text = headers.get("Retry-After") or _header(headers, "retry-after")
        seconds = seconds_of_header(str(text)) if text else None
    return 0.0 if seconds is None and status == _TOO_MANY_REQUESTS else seconds


def _header(headers: Mapping[str, str], name: str) -> str | None:
    """A header by its name in lower case, from a mapping that tells upper from lower case."""
    return next((value for key, value in headers.items() if key.lower() == name), None)


def _one_line(error: BaseException, leaves: Sequence[BaseException]) -> str:
    if isinstance(error, Retry):
        return text_of(error)
    line = _shown(error)
    if leaves[:1] == [error]:
        return line
    more = f"; and {len(leaves) - _SHOWN_LEAVES} more" if len(leaves) > _SHOWN_LEAVES else ""
    return f"{line}: {'; '.join(map(_shown, leaves[:_SHOWN_LEAVES]))}{more}"


def _shown(error: BaseException) -> str:
    """Its type and text in one line, and nothing of what is in it if it is a group."""
    if isinstance(error, BaseExceptionGroup):
        return f"{type(error).__name__}: {' '.join(text_of(error.message).split())}"
    return error_line(error)
