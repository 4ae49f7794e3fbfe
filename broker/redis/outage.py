"""Waiting for Redis to come back: one log line when it is lost, one when it is restored, backoff with jitter between.

Used by the worker, by the check before a role starts (`broker.safe_admission`), and by `konvox-hooks events tail`.
"""

from __future__ import annotations

import asyncio

import structlog

from broker.errors import refusal_in_words
from konvox.backoff import ceiling_seconds, equal_jitter_seconds

logger = structlog.get_logger("broker")

_FIRST_WAIT_SECONDS = 0.2
_LONGEST_WAIT_SECONDS = 2.0


class Outage:
    """Whether Redis is away, and how many tries have failed since. One for all that talk to it in a process."""

    def __init__(self) -> None:
        self._failures = 0

    @property
    def under_way(self) -> bool:
        """Whether the last command failed."""
        return self._failures > 0

    async def wait(self, error: BaseException) -> None:
        """Note that a command failed, and wait before the next try."""
        self._failures += 1
        if self._failures == 1:
            logger.error("redis.lost", error=refusal_in_words(error))
        ceiling = ceiling_seconds(_FIRST_WAIT_SECONDS, _LONGEST_WAIT_SECONDS, self._failures)
        await asyncio.sleep(equal_jitter_seconds(ceiling))

    def over(self) -> None:
        """Note that a command worked."""
        if self._failures:
            logger.info("redis.restored", failed_tries=self._failures)
        self._failures = 0
