"""How a campaign's life goes: when something happens, and to whom what. Pure, given a source of random numbers.

The same seed and the same calls make the same life: who replies, who opts out, in which order, with which copies.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from random import Random
from typing import Literal

_BURST_SECONDS = 5.0
_CHAOS_SECONDS = 2.0
_LATE_SECONDS = 10.0

_SUBJECTS = (
    "Re: Quick question",
    "Re: Your time this week",
    "Re: An idea for you",
    "Out of office",
    "Re: Following up",
)
UNKNOWN_EVENTS = ("message.opened", "link.clicked", "meeting.booked")
"""Events that Konvox does not document (the event reference lists more than we know): receivers must keep them too."""

Pace = Callable[[Random, float], Iterator[tuple[float, int]]]
"""From a source of random numbers and a rate: how long to wait, and how many events come then, again and again."""


@dataclass(frozen=True, slots=True)
class Fate:
    """What an enrolled contact does.

    Attributes:
        kind: `unattributed` is a reply that Konvox cannot assign to a campaign; `silent` is no event at all.
        subject: of an email reply, one of a few.
        manual: whether an opt-out was entered by a person.
    """

    kind: Literal["replied", "unattributed", "opted out", "silent"]
    email: bool
    subject: str
    manual: bool


def draw_fate(random: Random, channel: str) -> Fate:
    """What a contact does in a campaign on this channel."""
    share = random.random()
    kind: Literal["replied", "unattributed", "opted out", "silent"] = "silent"
    if share < 0.55:
        kind = "replied"
    elif share < 0.60:
        kind = "unattributed"
    elif share < 0.85:
        kind = "opted out"
    email = channel == "email" or (channel == "multi" and random.random() < 0.5)
    return Fate(kind, email, random.choice(_SUBJECTS), manual=random.random() < 0.2)


@dataclass(frozen=True, slots=True, kw_only=True)
class Scenario:
    """A way of life.

    Attributes:
        pace: when events come.
        copies: after how many seconds each copy of an event is delivered; in a quiet life one, at once.
        unknown_share: how many of the events, from 0 to 1, are of a type that Konvox does not document.
    """

    pace: Pace
    copies: Callable[[Random], tuple[float, ...]]
    unknown_share: float = 0.0


def steady_pace(_random: Random, rate: float) -> Iterator[tuple[float, int]]:
    """One by one, at equal distances."""
    while True:
        yield 1 / rate, 1


def burst_pace(_random: Random, rate: float) -> Iterator[tuple[float, int]]:
    """All of it at once, then nothing for seconds, and again."""
    size = max(2, round(rate * _BURST_SECONDS))
    yield 0.0, size
    while True:
        yield size / rate, size


def chaos_pace(random: Random, rate: float) -> Iterator[tuple[float, int]]:
    """One by one at any distance, and now and then many at once."""
    while True:
        size = random.randint(5, 25) if random.random() < 0.1 else 1
        yield random.expovariate(rate / size), size


def once_at_once(_random: Random) -> tuple[float, ...]:
    """One copy, now."""
    return (0.0,)


def chaos_copies(random: Random) -> tuple[float, ...]:
    """Now or late, so that a later event overtakes this one; some come again, as retries that were not needed."""
    first = random.uniform(0, _CHAOS_SECONDS) if random.random() < 0.3 else 0.0
    again = [first + random.uniform(0, _CHAOS_SECONDS)] if random.random() < 0.2 else []
    late = [first + random.uniform(_CHAOS_SECONDS, _LATE_SECONDS)] if random.random() < 0.1 else []
    return (first, *again, *late)


QUIET = Scenario(pace=steady_pace, copies=once_at_once)

SCENARIOS: Mapping[str, Scenario] = {
    "steady": QUIET,
    "burst": Scenario(pace=burst_pace, copies=once_at_once),
    "chaos": Scenario(pace=chaos_pace, copies=chaos_copies, unknown_share=0.1),
}
"""The ways of life by name."""
