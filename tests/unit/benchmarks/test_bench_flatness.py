"""What `make soak` makes of its readings: which it compares, and what it calls growth."""

from __future__ import annotations

import pytest

from benchmarks.harness.flatness import Course, Reading


def readings(course: Course, *values: float) -> list[Reading]:
    """One for each moment, the last value for all that are left."""
    moments = course.moments()
    padded = [*values, *[values[-1]] * len(moments)]
    return [{"seconds": at, "rss": value} for at, value in zip(moments, padded, strict=False)]


def test_the_minute_after_the_first_two_is_compared_with_the_last() -> None:
    """In 20 minutes there is a reading every 10 s, and the windows are a minute each."""
    course = Course.of(1200)
    taken = readings(course, 1)
    assert len(taken) == 120
    assert [each["seconds"] for each in course.first(taken)] == [120, 130, 140, 150, 160, 170, 180]
    assert [each["seconds"] for each in course.last(taken)] == [1140, 1150, 1160, 1170, 1180, 1190]


@pytest.mark.parametrize("seconds", [0.5, 6, 30, 100, 240, 241])
def test_a_try_has_readings_to_compare(seconds: float) -> None:
    """The windows of a short soak do not overlap either, and none of its readings is after the end."""
    course = Course.of(seconds)
    taken = readings(course, 1)
    first, last = course.first(taken), course.last(taken)
    assert min(len(first), len(last)) >= 3
    assert first[-1]["seconds"] < last[0]["seconds"] <= taken[-1]["seconds"] < seconds


def test_growth_is_that_of_the_medians() -> None:
    """What a process takes to start does not count as growth, and neither does a single outlier."""
    course = Course.of(20)
    taken = readings(course, 10, 10, 10, 10, 10, 100, 100, 900, 100, 100, 100, 104)
    assert course.growth(taken, "rss") == 4
    assert course.growth_percent(taken, "rss") == 4
    assert course.growth(readings(course, 5), "rss") == 0
