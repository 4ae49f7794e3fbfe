"""How long the client waits, without waiting."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from email.utils import format_datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from konvox.api.backoff import CallRetries, retry_after_seconds, wait_seconds

NOW = datetime(2026, 5, 20, 14, 32, tzinfo=UTC)


@given(chance=st.floats(0, 1), attempt=st.integers(1, 1000))
def test_jitter_is_full_and_capped(chance: float, attempt: int) -> None:
    """The wait is a random share of the doubled base, never more than the cap, and never overflows."""
    policy = CallRetries(base_seconds=0.5, cap_seconds=8, random=lambda: chance)
    assert wait_seconds(policy, attempt=attempt) == pytest.approx(chance * min(0.5 * 2 ** (attempt - 1), 8))


def test_the_servers_wish_counts_up_to_the_cap() -> None:
    """`Retry-After` replaces the random wait, but not the cap."""
    policy = CallRetries(cap_seconds=8, random=lambda: 0.0)
    waits = [wait_seconds(policy, attempt=1, retry_after_seconds=wish) for wish in (0.0, 5.0, 100.0)]
    assert waits == [0.0, 5.0, 8.0]


@pytest.mark.parametrize(
    ("header", "seconds"),
    [
        (None, None),
        ("", None),
        ("soon", None),
        ("-1", None),
        ("1.5", None),
        ("9" * 5000, None),
        ("120", 120.0),
        (" 7 ", 7.0),
        (format_datetime(NOW + timedelta(seconds=30), usegmt=True), 30.0),
        (format_datetime(NOW - timedelta(days=1), usegmt=True), 0.0),
        ("Wed, 20 May 2026 14:32:10 -0000", 10.0),
    ],
)
def test_retry_after_in_seconds_or_as_a_date(header: str | None, seconds: float | None) -> None:
    """`Retry-After` is read in both forms of RFC 9110, and anything else counts as not given."""
    assert retry_after_seconds(header, now=NOW) == seconds


@given(st.text() | st.from_regex(r"\A\w{3}, \d{1,3} \w{3} \d{1,6} \d\d?:\d\d?:\d\d? [-+]?\d{1,6}\Z"))
def test_no_header_raises(header: str) -> None:
    """Any text in the header leads to None or to a number from 0."""
    seconds = retry_after_seconds(header, now=NOW)
    assert seconds is None or seconds >= 0
