"""How long to wait before something is tried again."""

from __future__ import annotations

import math
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from konvox.backoff import ceiling_seconds, equal_jitter_seconds, full_jitter_seconds

seconds = st.floats(0, 1e6)


@pytest.mark.parametrize(("failures", "ceiling"), [(1, 1), (2, 2), (5, 16), (10, 512), (11, 600), (99, 600)])
def test_the_ceiling_doubles_up_to_the_cap(failures: int, ceiling: float) -> None:
    """Each further failure doubles the longest wait, until the cap is reached."""
    assert ceiling_seconds(1.0, 600.0, failures) == ceiling


def test_another_factor_than_two_can_be_given() -> None:
    """The ceiling grows by the factor that is asked for, and without a cap it has no end."""
    assert [ceiling_seconds(0.5, math.inf, failures, factor=3) for failures in (1, 2, 3)] == [0.5, 1.5, 4.5]


@given(seconds, seconds, st.integers(1, sys.maxsize))
def test_the_ceiling_never_overflows_nor_exceeds_the_cap(base: float, cap: float, failures: int) -> None:
    """Any number of failures gives a wait from 0 up to the cap."""
    assert 0 <= ceiling_seconds(base, cap, failures) <= cap


@given(seconds, seconds, st.integers(1, 1000))
def test_the_ceiling_never_shrinks(base: float, cap: float, failures: int) -> None:
    """A further failure never makes the longest wait shorter."""
    assert ceiling_seconds(base, cap, failures) <= ceiling_seconds(base, cap, failures + 1)


@given(seconds, st.floats(0, 1))
def test_jitter_takes_the_share_that_chance_gives(ceiling: float, chance: float) -> None:
    """Full jitter spreads over the whole range, equal jitter over its upper half."""
    assert full_jitter_seconds(ceiling, chance=lambda: chance) == pytest.approx(ceiling * chance)
    assert equal_jitter_seconds(ceiling, chance=lambda: chance) == pytest.approx(ceiling / 2 + ceiling / 2 * chance)


@pytest.mark.parametrize(("jitter", "least"), [(full_jitter_seconds, 0.0), (equal_jitter_seconds, 0.5)])
def test_by_default_chance_is_random(jitter: object, least: float) -> None:
    """A thousand waits are a thousand different ones, from nearly the least to nearly the most."""
    assert callable(jitter)
    waits = [jitter(1.0) for _ in range(1000)]
    span = 1 - least
    assert len(set(waits)) == 1000
    assert least <= min(waits) < least + span / 10
    assert 1 - span / 10 < max(waits) <= 1
