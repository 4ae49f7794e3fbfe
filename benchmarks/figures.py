"""Samples, and what several of them say: medians, spread, ratios round by round, targets. Pure."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class Sample:
    """One run of one contender.

    Attributes:
        count: how many requests or events.
        value: what was measured, in the measure's unit.
        cpu_seconds_per_1000: CPU time of the measured processes for 1,000 of them, where that says something.
        more: further figures, by name with unit.
    """

    count: int
    value: float
    cpu_seconds_per_1000: float | None = None
    more: dict[str, float] = field(default_factory=dict)

    def figure(self, name: str) -> float:
        """One of its figures: `value`, or one of `more`."""
        return self.value if name == "value" else self.more[name]


@dataclass(frozen=True, slots=True)
class Unit:
    """What a measure counts in.

    Attributes:
        suffix: behind the number.
        digits: behind the point.
        more_is_better: as with a rate; otherwise less is, as with a time.
    """

    suffix: str
    digits: int
    more_is_better: bool


PER_SECOND = Unit("/s", 0, more_is_better=True)
MILLISECONDS = Unit(" ms", 2, more_is_better=False)
SECONDS = Unit(" s", 1, more_is_better=False)
PERCENT = Unit(" %", 1, more_is_better=False)
TIMES_MORE = Unit(" times", 2, more_is_better=True)
TIMES_AS_LONG = Unit(" times as long", 2, more_is_better=False)


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


@dataclass(frozen=True, slots=True)
class Bound:
    """What the median of a figure is to keep to.

    Attributes:
        figure: `value`, or one of a sample's `more`.
        label: what it is called in the table; empty for the value itself.
        unit: for the table.
        least: it must be at least that.
        most: it must be at most that.
    """

    figure: str
    label: str
    unit: str
    least: float | None = None
    most: float | None = None

    def met(self, samples: Sequence[Sample]) -> bool:
        """Whether the median over these samples keeps to it."""
        median = spread(samples, self.figure).median
        return (self.least is None or median >= self.least) and (self.most is None or median <= self.most)

    def verdict(self, samples: Sequence[Sample]) -> str:
        """The bound, what came out, and whether it is met."""
        limit = f"≥ {self.least:g}" if self.most is None else f"≤ {self.most:g}"
        came_out = f"{self.label} {spread(samples, self.figure).median:.4g}{self.unit}, " if self.label else ""
        return f"{came_out}{limit}{self.unit}: {met_or_missed(met=self.met(samples))}"


def met_or_missed(*, met: bool) -> str:
    """A verdict for the table."""
    return "met" if met else "**missed**"


def spread(samples: Sequence[Sample], figure: str) -> Spread:
    """The spread of one figure over all rounds."""
    return Spread.of([sample.figure(figure) for sample in samples])


def ratio(ours: Sequence[Sample], theirs: Sequence[Sample], unit: Unit) -> Spread:
    """How many times as fast as theirs ours is, compared within each round: both met the same weather there."""
    pairs = [(mine.value, other.value) for mine, other in zip(ours, theirs, strict=True)]
    return Spread.of([mine / other if unit.more_is_better else other / mine for mine, other in pairs])


def percentile(ordered: Sequence[float], percent: float) -> float:
    """The value that so many percent of them stay below; of at least one, in order."""
    return ordered[min(len(ordered) - 1, int(len(ordered) * percent / 100))]
