"""What `make soak` makes of its readings: which it compares, and what it calls growth."""

from __future__ import annotations

from argparse import ArgumentTypeError

import pytest

from benchmarks.figures import Sample
from benchmarks.flatness import Course, Reading
from benchmarks.report import Row
from benchmarks.soak import _positive, entry


def readings(course: Course, *values: float) -> list[Reading]:
    """One for each moment, the last value for all that are left."""
    moments = course.moments()
    padded = [*values, *[values[-1]] * len(moments)]
    return [{"seconds": at, "rss": value} for at, value in zip(moments, padded, strict=False)]


def test_the_minute_after_the_first_two_is_compared_with_the_last() -> None:
    """Of 20 minutes, with a reading every 10 s."""
    course = Course.of(1200)
    taken = readings(course, 1)
    assert len(taken) == 120
    assert [each["seconds"] for each in course.first(taken)] == [120, 130, 140, 150, 160, 170, 180]
    assert [each["seconds"] for each in course.last(taken)] == [1140, 1150, 1160, 1170, 1180, 1190]


@pytest.mark.parametrize("seconds", [0.5, 6, 30, 100, 240, 241])
def test_a_try_has_readings_to_compare(seconds: float) -> None:
    """The windows of a short one do not overlap either, and none of its readings is after the end."""
    course = Course.of(seconds)
    taken = readings(course, 1)
    first, last = course.first(taken), course.last(taken)
    assert min(len(first), len(last)) >= 3
    assert first[-1]["seconds"] < last[0]["seconds"] <= taken[-1]["seconds"] < seconds


def test_growth_is_that_of_the_medians() -> None:
    """What a process takes to start does not count, and neither does a single outlier."""
    course = Course.of(20)
    taken = readings(course, 10, 10, 10, 10, 10, 100, 100, 900, 100, 100, 100, 104)
    assert course.growth(taken, "rss") == 4
    assert course.growth_percent(taken, "rss") == 4
    assert course.growth(readings(course, 5), "rss") == 0


@pytest.mark.parametrize(
    ("name", "value", "met"),
    [
        ("receiver_rss_growth_percent", 4.9, True),
        ("receiver_rss_growth_percent", 5.1, False),
        ("worker_rss_growth_percent", 5.1, False),
        ("receiver_open_files_growth", 1, False),
        ("worker_threads_growth", 1, False),
        ("worker_threads_growth", -1, True),
    ],
)
def test_each_process_is_held_to_each_target(name: str, value: float, met: bool) -> None:
    """Memory may grow a little, open files and threads not at all."""
    ours = entry(course=Course.of(60), rate=100, readings=[])
    more = {**{bound.figure: 0.0 for bound in ours.bounds}, name: value}
    assert Row(ours, [Sample(1, 0, more=more)], None).meets_targets is met


@pytest.mark.parametrize("text", ["0", "-1", "inf", "nan", "x"])
def test_minutes_and_rate_are_above_nothing(text: str) -> None:
    """Anything else is wrong usage."""
    with pytest.raises((ValueError, ArgumentTypeError)):
        _positive(text)
