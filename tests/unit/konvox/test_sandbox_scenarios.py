"""Tests of the scenarios: paces, reactions and copies, from a source of random numbers."""

from __future__ import annotations

from collections import Counter
from itertools import islice
from random import Random

import pytest

from konvox.sandbox.scenarios import SCENARIOS, draw_reaction


@pytest.mark.parametrize("name", SCENARIOS)
@pytest.mark.parametrize("rate", [0.5, 10, 2000])
def test_every_pace_keeps_the_rate_on_the_average(name: str, rate: float) -> None:
    """Every pace has the given rate on average, within a tenth or two."""
    turns = list(islice(SCENARIOS[name].pace(Random(1), rate), 5000))
    seconds, events = sum(wait for wait, _ in turns), sum(size for _, size in turns)
    assert events / seconds == pytest.approx(rate, rel=0.2)
    assert all(wait >= 0 and size >= 1 for wait, size in turns)


@pytest.mark.parametrize("name", SCENARIOS)
def test_the_same_seed_repeats_the_scenario(name: str) -> None:
    """The same seed repeats pace, copies and reactions, and another seed changes them where there is chance."""

    def scenario(seed: int) -> list[object]:
        random, scenario = Random(seed), SCENARIOS[name]
        turns = list(islice(scenario.pace(random, 5), 50))
        return [turns, [scenario.copies(random) for _ in turns], [draw_reaction(random, "multi") for _ in turns]]

    assert scenario(1) == scenario(1)
    assert scenario(1) != scenario(2)


def test_steady_and_burst_deliver_once_and_at_once() -> None:
    """The steady and the burst scenario deliver each event once and at once, and a burst has many events."""
    for name in ("steady", "burst"):
        assert {SCENARIOS[name].copies(Random(seed)) for seed in range(100)} == {(0.0,)}
    assert {size for _, size in islice(SCENARIOS["steady"].pace(Random(1), 10), 50)} == {1}
    assert {size for _, size in islice(SCENARIOS["burst"].pace(Random(1), 10), 50)} == {50}


def test_chaos_holds_back_and_doubles() -> None:
    """In the chaos scenario most events come once and at once, some late, some several times, some many at once."""
    random = Random(1)
    copies = [SCENARIOS["chaos"].copies(random) for _ in range(1000)]
    numbers = Counter(len(times) for times in copies)
    assert numbers[1] > numbers[2] > numbers[3] > 0
    assert 0 < sum(times[0] > 0 for times in copies) < 500
    assert all(time >= 0 for times in copies for time in times)
    assert any(size > 1 for _, size in islice(SCENARIOS["chaos"].pace(random, 10), 100))


@pytest.mark.parametrize(("channel", "email"), [("email", {True}), ("linkedin", {False}), ("multi", {True, False})])
def test_reactions_follow_the_channel(channel: str, email: set[bool]) -> None:
    """Every reaction occurs, and replies come over the campaign's channel."""
    random = Random(1)
    reactions = [draw_reaction(random, channel) for _ in range(500)]
    assert {reaction.kind for reaction in reactions} == {"replied", "unattributed", "opted out", "silent"}
    assert {reaction.email for reaction in reactions} == email
    assert {reaction.manual for reaction in reactions} == {True, False}
