"""Logs: readable on a terminal, one JSON object a line otherwise, always on stderr, never with a secret.

Each command that logs calls `configure_logging` once, before it does anything else. Code that logs must not pass
secrets; the redaction here is the second line of defence, for the day on which some code does.
"""

from __future__ import annotations

import json
import logging
import os
import re
import sys
from collections.abc import Mapping
from typing import Any, Final, Literal

import orjson
import structlog
from structlog.typing import EventDict, Processor, WrappedLogger

from receiver.paths import TOKEN_IN_TEXT

REDACTED: Final = "***"

_SECRET_KEY: Final = re.compile(
    r"(tokens?|secrets?|signatures?|passwords?|authorization|cookie|api[_-]?keys?|(^|[_-])(body|raw|redis[_-]?url))$",
    re.IGNORECASE,
)
_SECRETS_IN_TEXT: Final = (
    (TOKEN_IN_TEXT, r"\1" + REDACTED),
    (re.compile(r"(\b(?:Bearer|Basic)\s+)[^\s\"',]+", re.IGNORECASE), r"\1" + REDACTED),
    (re.compile(r"\bkvx_\w+"), "kvx_" + REDACTED),
    (re.compile(r"(\b\w+://)[^\s/@]+@"), r"\1" + REDACTED + "@"),
    (re.compile(r"(\b\w*password=)[^\s&\"'<>]+", re.IGNORECASE), r"\1" + REDACTED),
)
_DEEPEST: Final = 8
_LARGEST_INTEGER: Final = 2**63


def configure_logging(level: str, log_format: Literal["auto", "json", "console"]) -> None:
    """Set up structlog, and the standard library's logging below it.

    Libraries log from WARNING on, at every level: arq logs the arguments of jobs at INFO, and they hold events.
    """
    structlog.configure(
        processors=_processors(readable=log_format == "console" or (log_format == "auto" and sys.stderr.isatty())),
        wrapper_class=structlog.make_filtering_bound_logger(logging.getLevelNamesMapping()[level.upper()]),
        logger_factory=lambda *_: _StandardError(),
        cache_logger_on_first_use=True,
    )
    logging.basicConfig(handlers=[_StructlogHandler(logging.WARNING)], level=logging.WARNING, force=True)


def redact(_logger: WrappedLogger, _method: str, event_dict: EventDict) -> EventDict:
    """Replace what looks like a secret by its key or within a text, and turn every value into a JSON type."""
    return {key: _redacted(key, value, 0) for key, value in event_dict.items()}


class _StandardError:
    """Writes to the current `sys.stderr`: a cached logger outlives the stream that a test replaces it with."""

    def msg(self, line: str) -> None:
        """Write one entry."""
        sys.stderr.write(line + "\n")

    debug = info = warning = error = critical = exception = log = msg


class _StructlogHandler(logging.Handler):
    """Passes the libraries' log records to structlog: there is one format and one redaction."""

    def emit(self, record: logging.LogRecord) -> None:
        """Log the record under one constant event name."""
        structlog.get_logger().log(
            record.levelno,
            "library.message",
            logger=record.name,
            message=_message(record),
            exc_info=record.exc_info,
        )


def _message(record: logging.LogRecord) -> str:
    try:
        return record.getMessage()
    except (TypeError, ValueError, KeyError):
        # A library's bad log call must not stop us. `logging` itself would print the arguments here.
        return str(record.msg)


def _processors(*, readable: bool) -> list[Processor]:
    shared: list[Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        structlog.processors.StackInfoRenderer(),
        structlog.processors.format_exc_info,
        redact,
    ]
    if readable:
        colors = sys.stderr.isatty() and not os.environ.get("NO_COLOR")
        # `format_exc_info` has turned the exception into a text; the renderer's default would print local variables.
        plain = structlog.dev.plain_traceback
        return [*shared, _escape_control, structlog.dev.ConsoleRenderer(colors=colors, exception_formatter=plain)]
    return [*shared, _render_json]


def _redacted(key: str, value: Any, depth: int) -> Any:
    if value is None or isinstance(value, bool | float):
        return value
    if _SECRET_KEY.search(key):
        return REDACTED
    if isinstance(value, Mapping | list | tuple | set | frozenset):
        return _redacted_container(key, value, depth + 1)
    return _redacted_scalar(value)


def _redacted_scalar(value: Any) -> str | int:
    if isinstance(value, int) and -_LARGEST_INTEGER <= value < _LARGEST_INTEGER:
        return value
    if isinstance(value, int):
        return f"{value:#x}"
    if isinstance(value, bytes | bytearray | memoryview):
        return f"<{len(value)} bytes>"
    return _redacted_text(str(value))


def _redacted_container(key: str, value: Any, depth: int) -> Any:
    if depth > _DEEPEST:
        return "…"
    if isinstance(value, Mapping):
        return {str(name): _redacted(str(name), item, depth) for name, item in value.items()}
    return [_redacted(key, item, depth) for item in value]


def _redacted_text(text: str) -> str:
    for pattern, replacement in _SECRETS_IN_TEXT:
        text = pattern.sub(replacement, text)
    return text


def _escape_control(_logger: WrappedLogger, _method: str, event_dict: EventDict) -> EventDict:
    """Escape line breaks and terminal control codes, which may come from outside; tracebacks keep their lines."""
    return {
        key: _printable(value) if isinstance(value, str) and key not in {"exception", "stack"} else value
        for key, value in event_dict.items()
    }


def _printable(text: str) -> str:
    return text if text.isprintable() else text.encode("unicode_escape").decode("ascii")


def _render_json(_logger: WrappedLogger, _method: str, event_dict: EventDict) -> str:
    try:
        return orjson.dumps(event_dict).decode()
    except TypeError:
        # orjson refuses lone surrogates, and no value may prevent a log line.
        return json.dumps(event_dict)
