"""The targets and the command line of `make soak`."""

from __future__ import annotations

from argparse import ArgumentTypeError

import pytest

from benchmarks.harness.figures import Sample
from benchmarks.harness.flatness import Course
from benchmarks.harness.report import Row
from benchmarks.soak import contender, positive


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
    ours = contender(course=Course.of(60), rate=100, readings=[])
    more = {**{bound.figure: 0.0 for bound in ours.bounds}, name: value}
    assert Row(ours, [Sample(1, 0, more=more)]).meets_targets is met


@pytest.mark.parametrize("text", ["0", "-1", "inf", "nan", "x"])
def test_minutes_and_rate_are_above_nothing(text: str) -> None:
    """A number that is not above 0 is wrong usage."""
    with pytest.raises((ValueError, ArgumentTypeError)):
        positive(text)
