"""What the benchmarks make of their samples: ratios, targets, percentiles."""

from __future__ import annotations

import pytest

from benchmarks.harness.figures import MILLISECONDS, PER_SECOND, Bound, Sample, percentile, ratio


def samples(*values: float) -> list[Sample]:
    """One for each round."""
    return [Sample(100, value) for value in values]


def test_ratios_are_taken_within_the_rounds() -> None:
    """How many times as fast we are is the median of the rounds' ratios, not the ratio of the medians."""
    compared = ratio(samples(10, 40, 90), samples(10, 10, 10), PER_SECOND)
    assert (compared.least, compared.median, compared.most) == (1, 4, 9)


def test_less_time_is_faster() -> None:
    """The ratio of two times is inverted: more is always better."""
    assert ratio(samples(2), samples(10), MILLISECONDS).median == 5


@pytest.mark.parametrize(("limits", "met"), [({"most": 25}, True), ({"most": 19}, False), ({"least": 21}, False)])
def test_the_median_is_held_to_the_bound(limits: dict[str, float], met: bool) -> None:
    """A bound holds for the median of any figure, not for each sample."""
    taken = [Sample(1, 0, more={"p99_ms": value}) for value in (1, 20, 300)]
    verdict = Bound("p99_ms", "p99", " ms", **limits).verdict(taken)
    assert verdict.startswith("p99 20 ms, ")
    assert ("missed" not in verdict) is met


def test_percentiles_of_few_are_among_them() -> None:
    """The p99 of less than a hundred values is the largest."""
    assert (percentile([1, 2, 3], 50), percentile([1, 2, 3], 99)) == (2, 3)
