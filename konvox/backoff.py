"""How long to wait before something is tried again: exponential backoff, with jitter. Pure, but for chance.

Used wherever this project retries: handlers, the API client, the wait for Redis, and the sandbox.
"""

from __future__ import annotations

import random
from collections.abc import Callable

_LARGEST_EXPONENT = 60
"""Bounds the power: a float overflows after a thousand failures, which an outage of half an hour brings about."""


def ceiling_seconds(base_seconds: float, cap_seconds: float, failures: int, *, factor: float = 2.0) -> float:
    """The longest wait after a number of failures in a row.

    Args:
        base_seconds: the longest wait after the first failure.
        cap_seconds: the longest wait after any failure.
        failures: how many there were, from 1.
        factor: by how much each further failure lengthens the wait.
    """
    return min(cap_seconds, base_seconds * factor ** min(failures - 1, _LARGEST_EXPONENT))


def full_jitter_seconds(ceiling: float, *, chance: Callable[[], float] = random.random) -> float:
    """Any wait up to the ceiling: what failed together spreads as far as possible, and some of it waits hardly at all.

    Args:
        ceiling: the longest wait in seconds.
        chance: a random number from 0 to 1; tests replace it.
    """
    return ceiling * chance()


def equal_jitter_seconds(ceiling: float, *, chance: Callable[[], float] = random.random) -> float:
    """Any wait from half of the ceiling up to the ceiling, so that a server that is away is not asked all the time.

    Args:
        ceiling: the longest wait in seconds.
        chance: a random number from 0 to 1; tests replace it.
    """
    return ceiling * (1 + chance()) / 2
