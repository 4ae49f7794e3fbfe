"""How long to wait before a call is repeated. Pure, but for the two callables that tests replace."""

from __future__ import annotations

import asyncio
import random
import re
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime

from konvox.backoff import ceiling_seconds, full_jitter_seconds

_DELTA_SECONDS = re.compile(r"[0-9]{1,9}")


@dataclass(frozen=True, slots=True, kw_only=True)
class CallRetries:
    """How often and when a call that is safe to repeat is repeated.

    Attributes:
        attempts: how many times a call is made at most, the first included; 1 switches retries off.
        base_seconds: the longest wait before the second attempt; it doubles with every further one.
        cap_seconds: no wait is longer, not even when `Retry-After` asks for more.
        sleep: waits; tests replace it.
        random: a number from 0 to 1; tests replace it.
    """

    attempts: int = 3
    base_seconds: float = 1.0
    cap_seconds: float = 30.0
    sleep: Callable[[float], Awaitable[None]] = asyncio.sleep
    random: Callable[[], float] = random.random


def wait_seconds(retries: CallRetries, *, attempt: int, retry_after_seconds: float | None = None) -> float:
    """How long to wait after the failed attempt number `attempt` (from 1).

    What the server asks for counts; otherwise exponential backoff with full jitter, so that many clients that failed
    together do not come back together.
    """
    if retry_after_seconds is not None:
        return min(retry_after_seconds, retries.cap_seconds)
    ceiling = ceiling_seconds(retries.base_seconds, retries.cap_seconds, attempt)
    return full_jitter_seconds(ceiling, chance=retries.random)


def retry_after_seconds(header: str | None, *, now: datetime) -> float | None:
    """Read a `Retry-After` header, in seconds or as a date; None where it is missing or neither."""
    if header is None:
        return None
    if _DELTA_SECONDS.fullmatch(header.strip()):
        return float(header)
    try:
        date = parsedate_to_datetime(header)
    except (ValueError, OverflowError):
        return None
    aware = date if date.tzinfo is not None else date.replace(tzinfo=UTC)
    return max(0.0, (aware - now).total_seconds())
