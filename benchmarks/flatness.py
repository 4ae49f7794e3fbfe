"""What readings over a long time say: whether memory, open files and threads of a process stay what they are. Pure."""

from __future__ import annotations

import math
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

Reading = Mapping[str, float]
"""What was read at one moment, by name; `seconds` since the start is one of them."""

_SETTLING_SECONDS = 120.0
_WINDOW_SECONDS = 60.0
_EVERY_SECONDS = 10.0
_READINGS_OF_A_TRY = 20


@dataclass(frozen=True, slots=True)
class Course:
    """When to read, and which readings are compared: those of a window at the end with those of one near the start.

    Attributes:
        seconds: how long it takes in all.
        settling: how long everything has to get as large as it gets.
        window: how long each of the windows is.
        every: how often to read.
    """

    seconds: float
    settling: float
    window: float
    every: float

    @classmethod
    def of(cls, seconds: float) -> Course:
        """Two minutes to settle, windows of one, and a reading every 10 s; in proportion where there is less time."""
        return cls(
            seconds,
            settling=min(_SETTLING_SECONDS, seconds / 4),
            window=min(_WINDOW_SECONDS, seconds / 4),
            every=min(_EVERY_SECONDS, seconds / _READINGS_OF_A_TRY),
        )

    def moments(self) -> list[float]:
        """When to read, in seconds since the start; not at the very end, when connections are being closed."""
        return [number * self.every for number in range(math.ceil(self.seconds / self.every))]

    def first(self, readings: Sequence[Reading]) -> list[Reading]:
        """Those of the window behind the settling."""
        return [each for each in readings if self.settling <= each["seconds"] <= self.settling + self.window]

    def last(self, readings: Sequence[Reading]) -> list[Reading]:
        """Those of the window at the end."""
        return [each for each in readings if self.seconds - self.window <= each["seconds"] <= self.seconds]

    def growth(self, readings: Sequence[Reading], name: str) -> float:
        """By how much the median of the last window is above that of the first."""
        return _median(self.last(readings), name) - _median(self.first(readings), name)

    def growth_percent(self, readings: Sequence[Reading], name: str) -> float:
        """The same, in percent of the first."""
        return 100 * self.growth(readings, name) / _median(self.first(readings), name)


def _median(readings: Sequence[Reading], name: str) -> float:
    return statistics.median(reading[name] for reading in readings)
