"""The errors' messages and data, and the exceptions that handlers raise."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from typing import Any

import pytest

from handlers import Drop, Retry
from handlers.errors import DuplicateHandlerError, HandlerError, HandlerLoadError, InvalidHandlerError


@pytest.mark.parametrize(
    ("after", "seconds"),
    [(None, None), (30, 30.0), (0.5, 0.5), (timedelta(minutes=2), 120.0), (-1, 0.0), (timedelta(seconds=-9), 0.0)],
)
def test_retry_takes_seconds_and_timedeltas(after: float | timedelta | None, seconds: float | None) -> None:
    """`Retry` takes seconds or a timedelta; a negative wait means at once, and none means the usual backoff."""
    assert Retry(after=after).after_seconds == seconds


@pytest.mark.parametrize("after", [float("nan"), float("inf")])
def test_retry_refuses_a_wait_that_never_ends(after: float) -> None:
    """`Retry` refuses infinity and NaN, because a slip in arithmetic must not park an event for ever."""
    with pytest.raises(ValueError, match="give seconds"):
        Retry(after=after)


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("30", 30.0),
        (" 0.5 ", 0.5),
        ("-5", 0.0),
        ("Wed, 21 Oct 2015 07:28:00 GMT", 0.0),
        ("Wednesday, 21-Oct-15 07:28:00 GMT", 0.0),
        *(
            (text, None)
            for text in ("", " ", "soon", "nan", "inf", "1e999", "9" * 400, "1_0", "²", "٣", "\x00", "\ud800")
        ),
        *((text, None) for text in ("Wed, 99 Oct 2015 07:28:00 GMT", "Wed, 21 Oct 2015 07:28:00 +9999", "5;q=1")),
    ],
)
def test_retry_takes_the_text_of_a_header(text: str, seconds: float | None) -> None:
    """Seconds and dates count, a date that has passed means at once, and nonsense means the usual backoff."""
    assert Retry(after=text).after_seconds == seconds


def test_retry_takes_a_date_to_come() -> None:
    """A date is as long away as it is."""
    date = format_datetime(datetime.now(UTC) + timedelta(seconds=90), usegmt=True)
    assert Retry(after=date).after_seconds == pytest.approx(90, abs=10)


@pytest.mark.parametrize("after", [[5], object(), 10**400])
def test_retry_refuses_what_is_no_time(after: Any) -> None:
    """A slip in the handler's own code is said, and the attempt fails."""
    with pytest.raises(ValueError, match="give seconds"):
        Retry(after=after)


def test_retry_says_when() -> None:
    """The text of a `Retry`, which operators find in the log, says when the handler is retried."""
    assert str(Retry(after=30)) == "retry in 30 s"
    assert str(Retry()) == "retry after the usual backoff"


def test_drop_keeps_its_reason() -> None:
    """A `Drop` keeps its reason as data and as its message."""
    drop = Drop("a test contact")
    assert (drop.reason, str(drop)) == ("a test contact", "a test contact")


def test_control_exceptions_are_no_faults_of_the_plug_in() -> None:
    """`Retry` and `Drop` are no HandlerError, so code that catches that does not swallow them."""
    assert not issubclass(Retry, HandlerError)
    assert not issubclass(Drop, HandlerError)


def test_load_error_shows_the_traceback_below_its_reason() -> None:
    """The message of a load error is source, reason and traceback, and each of them is an attribute too."""
    error = HandlerLoadError("./mine.py", "it fails", "Traceback\n  boom\n")
    assert (error.source, error.reason, error.traceback) == ("./mine.py", "it fails", "Traceback\n  boom\n")
    assert str(error) == "./mine.py: it fails\nTraceback\n  boom"
    assert str(HandlerLoadError("./mine.py", "it fails")) == "./mine.py: it fails"


def test_duplicate_error_names_both_places() -> None:
    """The error about a duplicate names both places, so its reader can go to either."""
    error = DuplicateHandlerError("hooks.tell", ("a.py:1", "b.py:2"))
    assert (error.name, error.sources) == ("hooks.tell", ("a.py:1", "b.py:2"))
    assert "hooks.tell" in str(error)
    assert "a.py:1 and b.py:2" in str(error)


def test_invalid_error_says_where_what_and_the_hint() -> None:
    """The message about an invalid handler is one line of place, function, fault and hint."""
    error = InvalidHandlerError("tell", "a.py:1", "no event", "name one")
    assert str(error) == "a.py:1: tell: no event; name one"
    assert error.exit_code == 2
