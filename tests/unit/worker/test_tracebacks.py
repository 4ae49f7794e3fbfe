"""Tests of errors of handlers as text, against hostile errors."""

from __future__ import annotations

import pytest

from broker.records import Job, Record
from handlers import Drop, Retry
from handlers.registry import Handler, Registry
from handlers.testkit import make_context
from konvox.samples import sample_body
from worker.running.dispatcher import Dispatcher
from worker.running.tracebacks import error_line, shortened, text_of, traceback_of, users_traceback


class UnspeakableError(Exception):
    """An error without a text."""

    def __str__(self) -> str:
        """Fail."""
        raise KeyError


class SpeechlessDrop(Drop):
    """A drop whose reason has no text."""

    def __init__(self) -> None:
        self.reason = UnspeakableError()  # type: ignore[assignment]


def crooked_syntax_error() -> SyntaxError:
    """A syntax error that Python itself cannot format."""
    return SyntaxError("x", ("file", "line", "offset", 7))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "error",
    [ValueError("m" * 50_000_000), ValueError("m\n" * 1_000_000), UnspeakableError(), crooked_syntax_error()],
    ids=["long", "many lines", "without text", "crooked"],
)
def test_texts_are_bounded_whatever_was_raised(error: Exception) -> None:
    """Line and traceback of an error are bounded, and name its class."""
    assert len(error_line(error)) <= 2_000
    assert "\n" not in error_line(error)
    assert len(traceback_of(error)) < 25_000
    assert type(error).__name__ in error_line(error)
    assert type(error).__name__ in traceback_of(error)


def test_a_text_that_fails_is_named() -> None:
    """An object without a text is named by its class."""
    assert text_of(UnspeakableError()) == "<UnspeakableError without a text>"
    assert text_of("\ud800") == "\\ud800"


def test_what_is_shortened_keeps_beginning_and_end() -> None:
    """A shortened text has its beginning, its end, and how much was left out."""
    assert shortened("abc", 3) == "abc"
    assert shortened("a" * 10 + "b" * 10, 10) == "aaaaa … 10 characters left out … bbbbb"


def test_only_a_line_feed_ends_a_line_of_a_traceback() -> None:
    """Line ends of other scripts in an error do not become lines."""
    text = 'Traceback:\n  File "/x/y.py", line 1, in f\n    pass\nValueError: a\x85b\u2028c\n'
    assert users_traceback(text) == text.removesuffix("\n")


@pytest.mark.parametrize("error", [SpeechlessDrop(), UnspeakableError(), crooked_syntax_error(), Retry(after=1)])
async def test_no_error_escapes_the_dispatcher(error: Exception) -> None:
    """An error whose text fails ends the attempt like any other, and is no fault of the worker."""

    async def fail(event: object, ctx: object) -> None:
        """Raise it."""
        raise error

    handler = Handler("mine.fail", fail, ("*",), "mine", "x", is_async=True)
    job = Job.first(Record.capture(sample_body("odd.event"), received_at_ms=0))
    [run] = await Dispatcher(Registry([handler]), lambda *_: make_context()).dispatch(job)
    assert run.ended == ("dropped" if isinstance(error, Drop) else "failed")
    assert run.error
