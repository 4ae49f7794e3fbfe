"""What `run` is given by each measure: contenders, ready to be sampled."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path

from benchmarks.figures import Bound, Sample, Unit


@dataclass(frozen=True, slots=True)
class Entry:
    """A contender in a measure. The first one of a measure is ours, and the others are compared with it.

    Attributes:
        measure: the measure's name.
        name: who.
        note: what is particular about it.
        concurrency: connections, or events in flight; whatever the measure has of that kind.
        unit: of the sample's value.
        sample: takes one sample, with files below the folder that it is given.
        target_ratio: how many times as fast as this one we are to be, if there is a target.
        bounds: what our own figures are to keep to.
        peer: the name of what must be installed for it (see `benchmarks.peers.install`), if anything.
        most_rounds: how many rounds are enough of what takes long and spreads little.
    """

    measure: str
    name: str
    note: str
    concurrency: str
    unit: Unit
    sample: Callable[[Path], Awaitable[Sample]]
    target_ratio: float | None = None
    bounds: tuple[Bound, ...] = ()
    peer: str | None = None
    most_rounds: int | None = None
