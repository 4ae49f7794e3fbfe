"""Tests of log lines against hostile values, and of what handlers log."""

from __future__ import annotations

import asyncio
import logging
from typing import Any

import orjson
import pytest
import structlog

from broker.records import Job, Record
from handlers.registry import Handler, Registry
from handlers.testkit import make_context
from konvox.samples import sample_body
from konvox_hooks.process.logging import configure_logging
from tests.unit.konvox_hooks.test_logging import logged, logging_as_it_was
from worker.running.dispatcher import Dispatcher

__all__ = ["logging_as_it_was"]  # a fixture

HOSTILE = "x\ny\r\x1b[2J\x9b31m\x85\u2028\u2029\u202e\u2066\u200b\U000e0041\x7f" + "konvox"


@pytest.mark.parametrize("log_format", ["json", "console"])
@pytest.mark.parametrize("where", ["event", "value", "key", "nested", "exception", "stdlib", "stack"])
def test_no_text_controls_a_terminal_or_begins_a_line(
    capsys: pytest.CaptureFixture[str], log_format: Any, where: str
) -> None:
    """Control characters, marks of direction and line ends of a text are escaped, wherever it stands in a line."""
    configure_logging("info", log_format)
    log = structlog.get_logger()
    if where == "exception":
        log.error("a.failed", exc_info=ValueError(HOSTILE))
    elif where == "stdlib":
        logging.getLogger("mine").warning("%s", HOSTILE, extra={"more": HOSTILE})
    elif where == "event":
        log.info(HOSTILE)
    elif where == "nested":
        log.info("a.b", nested={"a": [HOSTILE]})
    else:
        log.info("a.b", **{HOSTILE if where == "key" else where: HOSTILE})
    shown = capsys.readouterr().err
    assert shown.replace("\n", "").isprintable()
    first, *others = shown.removesuffix("\n").split("\n")
    assert first[:1] in "{2"
    assert all(line.startswith("    ") for line in others)
    if log_format == "json" and where in {"value", "event"}:
        assert HOSTILE in orjson.loads(first).values()  # escaped, and not replaced


class UnspeakableError(Exception):
    """An error without a text."""

    def __str__(self) -> str:
        """Fail."""
        raise RuntimeError

    __repr__ = __str__


def deep(depth: int) -> None:
    """Raise far below."""
    if depth:
        other(depth - 1)
    raise ValueError("deep")


def other(depth: int) -> None:
    """The other half of the recursion, so that Python does not fold it."""
    deep(depth)


def hostile_errors() -> list[BaseException]:
    """Errors whose text is of any size, or cannot be made."""
    chain: BaseException = ValueError("end")
    for _ in range(200):
        outer = ValueError("one of many")
        outer.__cause__ = chain
        chain = outer
    group = ExceptionGroup("many", [ValueError("leaf " * 1000) for _ in range(1000)])
    nested: ExceptionGroup[Exception] = group
    for _ in range(50):
        nested = ExceptionGroup("deeper", [nested])
    return [ValueError("m" * 50_000_000), ValueError("m\n" * 5_000_000), UnspeakableError(), group, nested, chain]


@pytest.mark.parametrize("log_format", ["json", "console"])
@pytest.mark.parametrize("number", range(6))
def test_a_line_is_bounded_whatever_is_raised(capsys: pytest.CaptureFixture[str], log_format: Any, number: int) -> None:
    """An error of any size makes a line of at most 200 kB, with its beginning and its end."""
    configure_logging("info", log_format)
    error = hostile_errors()[number]
    structlog.get_logger().warning("a.failed", error=error, exc_info=error)
    shown = capsys.readouterr().err
    assert 0 < len(shown) < 200_000
    assert "a.failed" in shown
    assert type(error).__name__ in shown


def test_a_long_recursion_is_bounded(capsys: pytest.CaptureFixture[str]) -> None:
    """A traceback of hundreds of frames keeps its beginning and its end."""
    configure_logging("info", "json")
    try:
        deep(400)
    except ValueError:
        structlog.get_logger().exception("a.failed")
    shown = capsys.readouterr().err
    assert len(shown) < 100_000
    assert "test_a_long_recursion_is_bounded" in shown
    assert "ValueError: deep" in shown


@pytest.mark.parametrize(
    "values",
    [
        {"x": "v" * 50_000_000},
        {"x": ["v" * 1000] * 100_000},
        {"x": {str(number): "v" for number in range(100_000)}},
        {f"key {number}": "v" * 1000 for number in range(10_000)},
        {"k" * 1_000_000: 1},
        {"x": 10**100_000},
        {"x": [[[["v"] * 50] * 50] * 50] * 50},
        {"x": UnspeakableError()},
        {"x": [UnspeakableError()], "y": {UnspeakableError(): UnspeakableError()}},
    ],
    ids=range(9),
)
def test_a_line_is_bounded_whatever_is_logged(capsys: pytest.CaptureFixture[str], values: Any) -> None:
    """Values of any size and number make a line of at most 300 kB, which says that something is left out."""
    configure_logging("info", "json")
    structlog.get_logger().info("a.b", **values)
    [line] = capsys.readouterr().err.splitlines()
    assert len(line) < 300_000
    entry = orjson.loads(line)
    assert (entry["event"], entry["level"]) == ("a.b", "info")


@pytest.mark.parametrize("gap", range(0, 9000, 450))
def test_a_secret_at_the_cut_is_masked(capsys: pytest.CaptureFixture[str], gap: int) -> None:
    """A secret at the place where a long text is cut is masked like any other."""
    configure_logging("info", "json")
    structlog.get_logger().info("a.b", x=" " * (9_000 + gap) + "kvx_" + "s3cret" * 100 + " " * (19_500 - gap))
    assert "s3cret" not in capsys.readouterr().err


@pytest.mark.parametrize(("level", "heard"), [("debug", 4), ("info", 3), ("warning", 2), ("error", 1)])
def test_users_loggers_have_our_level(capsys: pytest.CaptureFixture[str], level: str, heard: int) -> None:
    """What users log with `logging` is written from KONVOX_LOG_LEVEL on, with its `extra`."""
    configure_logging(level, "json")
    mine = logging.getLogger("my_handlers")
    for method in (mine.debug, mine.info, mine.warning, mine.error):
        method("call %d", 7, extra={"order": "o1", "event": "mine"})
    entries = logged(capsys)
    assert len(entries) == heard
    for entry in entries:
        assert (entry["event"], entry["logger"], entry["message"]) == ("message.logged", "my_handlers", "call 7")
        assert entry["order"] == "o1"


def test_a_log_call_whose_text_fails_is_written(capsys: pytest.CaptureFixture[str]) -> None:
    """A log call with an argument whose text cannot be made writes a line and raises nothing."""
    configure_logging("info", "json")
    logging.getLogger("mine").info("it is %s", UnspeakableError())
    logging.getLogger("mine").info(UnspeakableError())
    assert [entry["message"] for entry in logged(capsys)] == ["it is %s", "<UnspeakableError without a text>"]


@pytest.mark.parametrize("kind", ["async", "plain", "thread of an async one"])
async def test_lines_of_a_handler_name_event_and_handler(capsys: pytest.CaptureFixture[str], kind: str) -> None:
    """A line that a handler logs, from its thread too, names the event and the handler; later lines do not."""
    configure_logging("info", "json")

    def plain(event: object, ctx: object) -> None:
        """Log with both libraries."""
        logging.getLogger("mine").info("by logging")
        structlog.get_logger().info("by.structlog")

    async def awaited(event: object, ctx: object) -> None:
        """Log, maybe in a thread."""
        await asyncio.to_thread(plain, event, ctx) if kind != "async" else plain(event, ctx)

    is_async = kind != "plain"
    handler = Handler("mine.log", awaited if is_async else plain, ("*",), "mine", "x", is_async=is_async)
    job = Job.first(Record.capture(sample_body("odd.event"), received_at_ms=0))
    await Dispatcher(Registry([handler]), lambda *_: make_context()).dispatch(job)
    logging.getLogger("mine").info("afterwards")
    *inside, outside = logged(capsys)
    assert len(inside) == 2
    for entry in inside:
        assert (entry["event_id"], entry["event_type"], entry["handler"]) == (job.record.id, "odd.event", "mine.log")
    assert "handler" not in outside
