"""Tests of how commands format times, bodies and tracebacks."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from broker.records import Job, Record
from handlers.registry import Handler, Registry
from handlers.testkit import make_context
from konvox.samples import sample_body
from konvox_hooks.terminal.formatting import shown_block, shown_body, shown_line, shown_time, users_traceback
from worker.running.dispatcher import Dispatcher


@pytest.mark.parametrize(
    ("unix_ms", "shown"), [(0, "1970-01-01T00:00:00.000Z"), (1_780_000_000_001, "2026-05-28T20:26:40.001Z")]
)
def test_times_have_milliseconds(unix_ms: int, shown: str) -> None:
    """A time has the format of JSON Lines, with milliseconds."""
    assert shown_time(unix_ms) == shown


@given(st.text())
def test_a_line_is_one_line_and_a_block_keeps_its_lines(text: str) -> None:
    """A line has no line breaks, a block keeps its lines, and neither holds terminal control codes."""
    assert shown_line(text).isprintable()
    block = shown_block(text, indent=2)
    assert block.count("\n") == max(0, len(text.splitlines()) - 1)
    assert all(line.startswith("  ") and line.isprintable() for line in block.splitlines())


def test_a_body_is_indented_and_otherwise_as_it_came() -> None:
    """An indented body keeps the order of its keys, large numbers and letters beyond ASCII."""
    assert shown_body('{"z":12345678901234567890123,"a":"ü\\u009b"}') == (
        '{\n  "z": 12345678901234567890123,\n  "a": "ü "\n}'
    )


def fail_within(depth: int) -> None:
    """Raise some frames further down."""
    if depth:
        fail_within(depth - 1)
    nothing: dict[str, str] = {}
    try:
        _ = nothing["a"]
    except KeyError:
        raise ValueError("two\nlines") from None


@pytest.mark.parametrize("is_async", [True, False])
async def test_only_the_frames_of_the_worker_are_left_out(is_async: bool) -> None:
    """Only the worker's frames are removed, in async and plain handlers, in chains of causes and in long recursions."""

    def plain(event: object, ctx: object) -> None:
        """Raise."""
        try:
            fail_within(9)
        except ValueError as error:
            raise ExceptionGroup("several", [error]) from error

    async def awaited(event: object, ctx: object) -> None:
        """Raise."""
        plain(event, ctx)

    handler = Handler("mine.fail", awaited if is_async else plain, ("*",), "mine", "x", is_async=is_async)
    record = Record.capture(sample_body("odd.event"), received_at_ms=0)
    [run] = await Dispatcher(Registry([handler]), lambda *_: make_context()).dispatch(Job.first(record))
    assert "/worker/running/" in run.traceback
    shown = users_traceback(run.traceback)
    assert "/worker/running/" not in shown
    assert "context.run(" not in shown
    assert ", in plain\n" in shown
    assert "Previous line repeated" in shown
    assert "ExceptionGroup: several" in shown
    assert shown.count("ValueError: two") == run.traceback.count("ValueError: two")


def test_a_traceback_of_nobodys_frames_is_empty() -> None:
    """A traceback with frames of the worker only, as of a time limit, is empty."""
    assert users_traceback("Traceback (most recent call last):\nTimeoutError: too long\n") == ""
    assert users_traceback("") == ""
