"""What a row is: a fault, and how to play it once."""

from __future__ import annotations

import random
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field

from tests.chaos.matrix.counting import Allowed
from tests.chaos.matrix.stage import Stage

Strike = Callable[[Stage, random.Random], Awaitable[Allowed]]
"""Plays a fault once, with its moments drawn from the chance that it is given, and says what the fault excuses.

It returns as soon as the fault is over and everything has been acked; the runner waits until all has settled.
"""


@dataclass(frozen=True, slots=True)
class Row:
    """A row of the matrix.

    Attributes:
        number: its number there.
        fault: what fails.
        strike: plays it once.
        settings: of the processes, where others than usual are needed.
        redis: likewise, of Redis.
        workers: how many of them.
    """

    number: int
    fault: str
    strike: Strike
    settings: Mapping[str, str] = field(default_factory=dict)
    redis: Mapping[str, str] = field(default_factory=dict)
    workers: int = 2
