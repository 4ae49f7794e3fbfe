"""Samples, and what several of them say: medians, spread, ratios round by round. Pure."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class Sample:
    """One run of one contender.

    Attributes:
        count: how many requests or events.
        rate: of them a second.
        cpu_seconds_per_1000: CPU time of the measured process for 1,000 of them.
        more: further figures, by name with unit.
    """

    count: int
    rate: float
    cpu_seconds_per_1000: float
    more: dict[str, float] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Spread:
    """The median of some numbers, and how far they lie apart."""

    median: float
    least: float
    most: float

    @classmethod
    def of(cls, numbers: Sequence[float]) -> Spread:
        """The spread of at least one number."""
        return cls(statistics.median(numbers), min(numbers), max(numbers))


def spread(samples: Sequence[Sample], figure: Callable[[Sample], float]) -> Spread:
    """The spread of one figure over all rounds."""
    return Spread.of([figure(sample) for sample in samples])


def ratio(ours: Sequence[Sample], theirs: Sequence[Sample]) -> Spread:
    """How many times as fast as theirs ours is, compared within each round: both met the same weather there."""
    return Spread.of([mine.rate / other.rate for mine, other in zip(ours, theirs, strict=True)])
