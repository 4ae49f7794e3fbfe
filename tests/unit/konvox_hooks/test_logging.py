"""Tests of logs: their form, and that they hold no secret, token, signature or body."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

import orjson
import pytest
import structlog
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from konvox_hooks.process.logging import REDACTED, configure_logging, redact


@pytest.fixture(autouse=True)
def logging_as_it_was() -> Iterator[None]:
    """Undo the logging configuration of a test."""
    root = logging.getLogger()
    handlers, level = list(root.handlers), root.level
    yield
    root.handlers[:] = handlers
    root.setLevel(level)
    structlog.reset_defaults()


def logged(capsys: pytest.CaptureFixture[str]) -> list[dict[str, Any]]:
    """The log lines on stderr, one object each; stdout must be empty."""
    captured = capsys.readouterr()
    assert captured.out == ""
    return [orjson.loads(line) for line in captured.err.split("\n") if line]


def fail_with_a_secret_at_hand() -> None:
    """Log an error in a frame whose local variable and message hold a secret."""
    local = "s3cret-local"
    try:
        int(f"/hooks/konvox/{local}")
    except ValueError:
        structlog.get_logger().exception("a.failed")


def test_json_lines_have_event_level_and_utc_time(capsys: pytest.CaptureFixture[str]) -> None:
    """A JSON line is one object with event, level, UTC time and the given data."""
    configure_logging("info", "json")
    structlog.get_logger().info("receiver.started", port=8080, hosts=("a", "b"), none=None, ratio=0.5)
    [entry] = logged(capsys)
    assert datetime.fromisoformat(entry.pop("timestamp")).tzinfo == UTC
    assert entry == {
        "event": "receiver.started",
        "level": "info",
        "port": 8080,
        "hosts": ["a", "b"],
        "none": None,
        "ratio": 0.5,
    }


def test_auto_is_json_without_a_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    """Without a terminal, the format `auto` is JSON."""
    configure_logging("info", "auto")
    structlog.get_logger().info("a.b")
    assert logged(capsys)[0]["event"] == "a.b"


def test_the_level_filters(capsys: pytest.CaptureFixture[str]) -> None:
    """An entry below the level is not written."""
    configure_logging("warning", "json")
    log = structlog.get_logger()
    log.debug("a.debug")
    log.info("a.info")
    log.warning("a.warning")
    assert [entry["event"] for entry in logged(capsys)] == ["a.warning"]


def test_bound_context_is_written(capsys: pytest.CaptureFixture[str]) -> None:
    """Values that are bound to the context are on each line."""
    configure_logging("info", "json")
    with structlog.contextvars.bound_contextvars(event_id="evt_1"):
        structlog.get_logger().info("a.b")
    assert logged(capsys)[0]["event_id"] == "evt_1"


def test_the_console_format_is_for_reading(capsys: pytest.CaptureFixture[str]) -> None:
    """An entry on a terminal is one line, without colors if there is no terminal, and its data cannot add lines."""
    configure_logging("info", "console")
    structlog.get_logger().info("a.b", path="x\ny\x1b[2J", token="t0ps3cret")
    shown = capsys.readouterr().err
    assert shown.count("\n") == 1
    assert "\x1b" not in shown
    assert "a.b" in shown
    assert "t0ps3cret" not in shown


@pytest.mark.parametrize("log_format", ["json", "console"])
def test_a_traceback_has_no_local_variables(capsys: pytest.CaptureFixture[str], log_format: Any) -> None:
    """An exception is written with its traceback, but without local variables and without secrets in its message."""
    configure_logging("info", log_format)
    fail_with_a_secret_at_hand()
    shown = capsys.readouterr().err
    assert "Traceback" in shown
    assert f"/hooks/konvox/{REDACTED}" in shown
    assert "s3cret-local" not in shown


@pytest.mark.parametrize(
    "key",
    [
        "token", "tokens", "hook_tokens", "url_token", "secret", "signing_secrets", "signingSecret", "signature",
        "x_konvox_signature", "authorization", "Authorization", "api_key", "apiKey", "X-API-Key", "password", "body",
        "raw", "raw_body", "redis_url", "cookie",
    ],
)  # fmt: skip
def test_keys_of_secrets_are_redacted(key: str) -> None:
    """Every value of a key that names a secret is replaced, at any depth."""
    assert redact(None, "info", {key: "value"}) == {key: REDACTED}
    assert redact(None, "info", {"data": [{key: ["value"]}]}) == {"data": [{key: REDACTED}]}


@pytest.mark.parametrize("key", ["body_bytes", "max_body_bytes", "token_count", "event", "path", "antibody", "draw"])
def test_other_keys_are_kept(key: str) -> None:
    """Sizes, counts and words that only resemble such keys stay readable."""
    assert redact(None, "info", {key: "value"}) == {key: "value"}


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("POST /hooks/konvox/s3cret-token HTTP/1.1", "POST /hooks/konvox/*** HTTP/1.1"),
        ("https://h/hooks/konvox/s3cret?x=s3cret", "https://h/hooks/konvox/***"),
        ("https://h/hooks/konvox?x=s3cret", "https://h/hooks/konvox?***"),
        ("https://h/hooks/konvox/?x=s3cret", "https://h/hooks/konvox/***"),
        ("https://h/hooks/konvox/s3cret/?x=s3cret", "https://h/hooks/konvox/***"),
        ("/Hooks/Konvox%2Fs3cret", "/Hooks/Konvox%2F***"),
        ("/hooks/konvox", "/hooks/konvox"),
        ("Authorization: Bearer s3cret", "Authorization: Bearer ***"),
        ("key kvx_live_s3cret is wrong", "key kvx_*** is wrong"),
        ("redis://me:s3cret@redis:6379/0", "redis://***@redis:6379/0"),
        ("redis+sentinel://me:s3cret@s1:1,s2:2/m", "redis+sentinel://***@s1:1,s2:2/m"),
        ("redis+sentinel://s1/m?sentinel_password=s3cret&x=1", "redis+sentinel://s1/m?sentinel_password=***&x=1"),
        ("redis://redis:6379/0 mail@example.com", "redis://redis:6379/0 mail@example.com"),
    ],
)
def test_secrets_inside_texts_are_masked(text: str, shown: str) -> None:
    """URL tokens, bearer tokens, API keys and passwords in URLs are masked anywhere in a text."""
    assert redact(None, "info", {"event": text, "list": [text]}) == {"event": shown, "list": [shown]}


def test_objects_are_made_plain_before_they_are_masked() -> None:
    """Bytes become their length, other objects their masked text, and the depth is limited."""
    nested: Any = "deep"
    for _ in range(100):
        nested = [nested]
    plain = redact(None, "info", {"payload": b"abc", "error": ValueError("kvx_live_x"), "nested": nested})
    assert plain["payload"] == "<3 bytes>"
    assert plain["error"] == f"kvx_{REDACTED}"
    assert "deep" not in str(plain["nested"])


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    value=st.recursive(
        st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.binary() | st.datetimes(),
        lambda inner: st.lists(inner) | st.dictionaries(st.text() | st.integers(), inner),
        max_leaves=10,
    )
)
def test_a_log_call_never_fails(capsys: pytest.CaptureFixture[str], value: Any) -> None:
    """Every value becomes one line of JSON: huge integers, lone surrogates, NaN and odd keys too."""
    configure_logging("info", "json")
    structlog.get_logger().info("a.b", value=value)
    line, rest = capsys.readouterr().err.split("\n")
    assert rest == ""
    assert '"a.b"' in line


@pytest.mark.parametrize("name", ["arq.worker", "aiohttp.access", "redis"])
def test_libraries_are_heard_from_warning_on(capsys: pytest.CaptureFixture[str], name: str) -> None:
    """A library's INFO is never shown, at any level of its logger; its warning is one of our lines."""
    configure_logging("debug", "json")
    library = logging.getLogger(name)
    library.setLevel(logging.DEBUG)
    try:
        library.info("job(%s)", "an event")
        library.warning("lost %s", "/hooks/konvox/s3cret")
    finally:
        library.setLevel(logging.NOTSET)
    [entry] = logged(capsys)
    assert entry["event"] == "library.message"
    assert (entry["logger"], entry["level"]) == (name, "warning")
    assert entry["message"] == f"lost /hooks/konvox/{REDACTED}"


def test_a_librarys_bad_log_call_shows_no_arguments(capsys: pytest.CaptureFixture[str]) -> None:
    """A library's log call with wrong arguments writes a line without them, raises nothing and prints nothing else."""
    configure_logging("info", "json")
    logging.getLogger("library").warning("number %d", "s3cret")
    [entry] = logged(capsys)
    assert entry["message"] == "number %d"


def test_a_librarys_exception_is_written(capsys: pytest.CaptureFixture[str]) -> None:
    """`exc_info` of a library's log record becomes a traceback."""
    configure_logging("info", "json")
    try:
        _ = dict[str, str]()["x"]
    except KeyError:
        logging.getLogger("asyncio").exception("never retrieved")
    [entry] = logged(capsys)
    assert "KeyError" in entry["exception"]
