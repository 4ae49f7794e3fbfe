"""The scenarios: when events come, how contacts react, and how often an event is delivered. Called by `simulation`.

Pure, given a source of random numbers. The same seed and the same calls lead to the same events, in the same order,
with the same copies.
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
"""Events that Konvox does not document. Its event reference may list more than we know; receivers must keep them."""

Pace = Callable[[Random, float], Iterator[tuple[float, int]]]
"""Takes a source of random numbers and a rate per second; yields the seconds to wait and the number of events then."""


@dataclass(frozen=True, slots=True)
class Reaction:
    """How an enrolled contact reacts.

    Attributes:
        kind: `unattributed` is a reply that Konvox cannot assign to a campaign; `silent` is no event.
        email: whether the contact reacts by email, rather than on LinkedIn.
        subject: the subject of an email reply.
        manual: whether a person entered the opt-out.
    """

    kind: Literal["replied", "unattributed", "opted out", "silent"]
    email: bool
    subject: str
    manual: bool


def draw_reaction(random: Random, channel: str) -> Reaction:
    """Choose the reaction of a contact in a campaign on this channel."""
    share = random.random()
    kind: Literal["replied", "unattributed", "opted out", "silent"] = "silent"
    if share < 0.55:
        kind = "replied"
    elif share < 0.60:
        kind = "unattributed"
    elif share < 0.85:
        kind = "opted out"
    email = channel == "email" or (channel == "multi" and random.random() < 0.5)
    return Reaction(kind, email, random.choice(_SUBJECTS), manual=random.random() < 0.2)


@dataclass(frozen=True, slots=True, kw_only=True)
class Scenario:
    """How events come and are delivered.

    Attributes:
        pace: when events come.
        copies: returns the wait in seconds before each copy of an event.
        unknown_share: the share of events, from 0 to 1, of a type that Konvox does not document.
    """

    pace: Pace
    copies: Callable[[Random], tuple[float, ...]]
    unknown_share: float = 0.0


def steady_pace(_random: Random, rate: float) -> Iterator[tuple[float, int]]:
    """One event at a time, at equal intervals."""
    while True:
        yield 1 / rate, 1


def burst_pace(_random: Random, rate: float) -> Iterator[tuple[float, int]]:
    """Many events at once, then none for some seconds, and so on."""
    size = max(2, round(rate * _BURST_SECONDS))
    yield 0.0, size
    while True:
        yield size / rate, size


def chaos_pace(random: Random, rate: float) -> Iterator[tuple[float, int]]:
    """One event at a time at random intervals, and sometimes many at once."""
    while True:
        size = random.randint(5, 25) if random.random() < 0.1 else 1
        yield random.expovariate(rate / size), size


def single_copy(_random: Random) -> tuple[float, ...]:
    """One copy without a wait."""
    return (0.0,)


def chaos_copies(random: Random) -> tuple[float, ...]:
    """One copy at once or later, when other events overtake it; sometimes further copies, like needless retries."""
    first = random.uniform(0, _CHAOS_SECONDS) if random.random() < 0.3 else 0.0
    duplicate = [first + random.uniform(0, _CHAOS_SECONDS)] if random.random() < 0.2 else []
    late = [first + random.uniform(_CHAOS_SECONDS, _LATE_SECONDS)] if random.random() < 0.1 else []
    return (first, *duplicate, *late)


STEADY = Scenario(pace=steady_pace, copies=single_copy)

SCENARIOS: Mapping[str, Scenario] = {
    "steady": STEADY,
    "burst": Scenario(pace=burst_pace, copies=single_copy),
    "chaos": Scenario(pace=chaos_pace, copies=chaos_copies, unknown_share=0.1),
}
"""The scenarios by name."""
