"""What readings over a long time say: whether memory, open files and threads of a process stay flat. Pure."""

import math
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Self

Reading = Mapping[str, float]
"""What was read at one moment, by name; `seconds` since the start is one of them."""


@dataclass(frozen=True, slots=True)
class Course:
    """When to read. A window of readings after all has settled is compared with a window at the end, in seconds."""

    seconds: float
    settling: float
    window: float
    interval: float

    @classmethod
    def of(cls, seconds: float) -> Self:
        """Two minutes to settle, windows of one, and a reading every 10 s; in proportion where there is less time."""
        return cls(seconds, settling=min(120, seconds / 4), window=min(60, seconds / 4), interval=min(10, seconds / 20))

    def moments(self) -> list[float]:
        """When to read, in seconds since the start; not at the very end, when connections are being closed."""
        return [number * self.interval for number in range(math.ceil(self.seconds / self.interval))]

    def first(self, readings: Sequence[Reading]) -> list[Reading]:
        """Those of the window after the settling."""
        return _between(readings, self.settling, self.settling + self.window)

    def last(self, readings: Sequence[Reading]) -> list[Reading]:
        """Those of the window at the end."""
        return _between(readings, self.seconds - self.window, self.seconds)

    def growth(self, readings: Sequence[Reading], name: str) -> float:
        """By how much the median of the last window is above that of the first."""
        return _median(self.last(readings), name) - _median(self.first(readings), name)

    def growth_percent(self, readings: Sequence[Reading], name: str) -> float:
        """The same, in percent of the first."""
        return 100 * self.growth(readings, name) / _median(self.first(readings), name)


def _between(readings: Sequence[Reading], start: float, end: float) -> list[Reading]:
    return [reading for reading in readings if start <= reading["seconds"] <= end]


def _median(readings: Sequence[Reading], name: str) -> float:
    return statistics.median(reading[name] for reading in readings)
