"""What samples say: medians, spread, ratios round by round, targets. Pure."""

import statistics
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Self

CORES_BUSY_ELSEWHERE = "cores_busy_elsewhere"
"""The figure of a sample that says how busy others kept the machine meanwhile."""


class NotMeasuredError(Exception):
    """A sample cannot be taken, or what came out is not what went in."""


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
    """What a measure counts in: the text after the number, digits after the point, and whether more is better."""

    suffix: str
    digits: int
    more_is_better: bool = False

    def shown(self, value: float) -> str:
        """A value with its unit."""
        return f"{value:,.{self.digits}f}{self.suffix}"


PER_SECOND = Unit("/s", 0, more_is_better=True)
MILLISECONDS = Unit(" ms", 2)
SECONDS = Unit(" s", 1)
PERCENT = Unit(" %", 1)
TIMES_MORE = Unit(" times", 2, more_is_better=True)
TIMES_AS_LONG = Unit(" times as long", 2)


@dataclass(frozen=True, slots=True)
class Spread:
    """The median of some numbers, the least and the most of them."""

    median: float
    least: float
    most: float

    @classmethod
    def of(cls, numbers: Sequence[float]) -> Self:
        """The spread of at least one number."""
        return cls(statistics.median(numbers), min(numbers), max(numbers))

    def shown(self, digits: int, suffix: str = "") -> str:
        """The median with its unit, and the least and the most in brackets."""
        return f"{self.median:,.{digits}f}{suffix} ({self.least:,.{digits}f} to {self.most:,.{digits}f})"


@dataclass(frozen=True, slots=True)
class Bound:
    """A target for the median of a figure of our own: `value`, which has no label, or one of a sample's `more`."""

    figure: str
    label: str
    unit: str
    least: float | None = None
    most: float | None = None

    def verdict(self, samples: Sequence[Sample]) -> str:
        """The figure, the bound, and whether the median over these samples meets it."""
        median = spread(samples, self.figure).median
        met = (self.least is None or median >= self.least) and (self.most is None or median <= self.most)
        limit = f"≥ {self.least:g}" if self.most is None else f"≤ {self.most:g}"
        came_out = f"{self.label} {median:.4g}{self.unit}, " if self.label else ""
        return f"{came_out}{limit}{self.unit}: {'met' if met else '**missed**'}"


@dataclass(frozen=True, slots=True)
class Contender:
    """A row of the table: one contender in one measure. The first of a measure is ours; others are compared with it.

    Attributes:
        note: what is particular about it.
        concurrency: connections, or events in flight.
        sample: takes one sample, with files below the folder that it is given.
        bounds: the targets for our own figures.
        target_ratio: how many times as fast as this one we should be, if there is a target.
        peer: what must be installed for it (see `benchmarks.peers.install`), if anything.
        most_rounds: how many rounds are enough for a sample that takes long and spreads little.
    """

    measure: str
    name: str
    note: str
    concurrency: int | str
    unit: Unit
    sample: Callable[[Path], Awaitable[Sample]]
    bounds: tuple[Bound, ...] = ()
    target_ratio: float | None = None
    peer: str | None = None
    most_rounds: int | None = None


def spread(samples: Sequence[Sample], figure: str) -> Spread:
    """The spread of one figure over all rounds."""
    return Spread.of([sample.figure(figure) for sample in samples])


def ratio(ours: Sequence[Sample], theirs: Sequence[Sample], unit: Unit) -> Spread:
    """How many times as fast as theirs ours is, compared within each round: the machine was the same for both."""
    pairs = [(mine.value, other.value) for mine, other in zip(ours, theirs, strict=True)]
    return Spread.of([mine / other if unit.more_is_better else other / mine for mine, other in pairs])


def percentile(ordered: Sequence[float], percent: float) -> float:
    """The value that so many percent stay below, of at least one value in ascending order."""
    return ordered[min(len(ordered) - 1, int(len(ordered) * percent / 100))]
