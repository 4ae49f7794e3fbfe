"""Logs: readable on a terminal, one JSON object a line otherwise, always on stderr, never with a secret.

Each command that logs calls `configure_logging` once, before it does anything else. Code that logs must not pass
secrets; the redaction in `log_values` is the second line of defence, for the day on which some code does.

What the standard library's `logging` gets becomes our lines too. In a handler, and in what it starts, each line names
the event and the handler.
"""

from __future__ import annotations

import json
import logging
import os
import sys
from typing import Final, Literal

import orjson
import structlog
from structlog.typing import EventDict, Processor, WrappedLogger

from konvox_hooks.process.log_values import REDACTED, plain_values, text_of
from konvox_hooks.safe_text import escaped_line, safe_json, safe_lines
from worker.running.run_context import PRESENT_RUN

__all__ = ["REDACTED", "configure_logging", "redact"]

_LIBRARIES: Final = ("aiohttp", "arq", "asyncio", "concurrent", "redis")
"""The libraries below us. They log from WARNING on, at every level: arq logs the arguments of jobs at INFO, and they
hold events."""

_RECORD_FIELDS: Final = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime"}
_TRACES: Final = ("exception", "stack")


def configure_logging(level: str, log_format: Literal["auto", "json", "console"]) -> None:
    """Set up structlog, and the standard library's logging with the same level: handlers may use either."""
    number = logging.getLevelNamesMapping()[level.upper()]
    structlog.configure(
        processors=_processors(readable=log_format == "console" or (log_format == "auto" and sys.stderr.isatty())),
        wrapper_class=structlog.make_filtering_bound_logger(number),
        logger_factory=lambda *_: _StandardError(),
        cache_logger_on_first_use=True,
    )
    for library in _LIBRARIES:
        logging.getLogger(library).setLevel(max(number, logging.WARNING))
    logging.basicConfig(handlers=[_StructlogHandler(number)], level=number, force=True)


def redact(_logger: WrappedLogger, _method: str, event_dict: EventDict) -> EventDict:
    """Replace what looks like a secret by its key or within a text, bound every value, and make it a JSON type."""
    return plain_values(event_dict)


class _StandardError:
    """Writes to the current `sys.stderr`: a cached logger outlives the stream that a test replaces it with."""

    def msg(self, line: str) -> None:
        """Write one entry."""
        sys.stderr.write(line + "\n")

    debug = info = warning = error = critical = exception = log = msg


class _StructlogHandler(logging.Handler):
    """Passes the records of `logging` to structlog: there is one format and one redaction."""

    def emit(self, record: logging.LogRecord) -> None:
        """Log the record under a constant event name."""
        is_library = record.name.partition(".")[0] in _LIBRARIES
        if is_library and record.levelno < logging.WARNING:
            return
        extra = {name: value for name, value in vars(record).items() if name not in _RECORD_FIELDS}
        ours = {
            "event": "library.message" if is_library else "message.logged",
            "logger": record.name,
            "message": _message(record),
            "exc_info": record.exc_info,
        }
        if record.stack_info:
            ours["stack"] = record.stack_info
        structlog.get_logger().log(record.levelno, **(extra | ours))


def _message(record: logging.LogRecord) -> str:
    try:
        return record.getMessage()
    except Exception:  # noqa: BLE001 - a text of users' code may fail in any way
        # A bad log call must not stop anybody. `logging` itself would print the arguments here.
        return text_of(record.msg)


def _processors(*, readable: bool) -> list[Processor]:
    shared: list[Processor] = [
        structlog.contextvars.merge_contextvars,
        _add_run,
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        structlog.processors.StackInfoRenderer(),
        _format_exception,
        redact,
    ]
    if readable:
        colors = sys.stderr.isatty() and not os.environ.get("NO_COLOR")
        # `format_exc_info` has turned the exception into a text; the renderer's default would print local variables.
        plain = structlog.dev.plain_traceback
        return [*shared, _escape_control, structlog.dev.ConsoleRenderer(colors=colors, exception_formatter=plain)]
    return [*shared, _render_json]


def _add_run(_logger: WrappedLogger, _method: str, event_dict: EventDict) -> EventDict:
    """Say for which event and in which handler a line is logged."""
    run = PRESENT_RUN.get()
    if run is None:
        return event_dict
    return {"event_id": run.event_id, "event_type": run.event_type, "handler": run.handler, **event_dict}


def _format_exception(logger: WrappedLogger, method: str, event_dict: EventDict) -> EventDict:
    """Replace an exception by its traceback. That calls users' code, which may fail."""
    try:
        return structlog.processors.format_exc_info(logger, method, event_dict)
    except Exception:  # noqa: BLE001 - see the docstring
        event_dict.pop("exc_info", None)
        return {**event_dict, "exception": "an exception whose traceback cannot be shown"}


def _escape_control(_logger: WrappedLogger, _method: str, event_dict: EventDict) -> EventDict:
    """Escape line ends and terminal control codes, which may come from outside.

    A traceback keeps its lines. They are indented, so that none of them looks like an entry of its own.
    """
    return {escaped_line(key): _shown(key, value) for key, value in event_dict.items()}


def _shown(key: str, value: object) -> object:
    if not isinstance(value, str):
        return value
    return safe_lines(value, indent="    ") if key in _TRACES else escaped_line(value)


def _render_json(_logger: WrappedLogger, _method: str, event_dict: EventDict) -> str:
    try:
        return safe_json(orjson.dumps(event_dict).decode())
    except TypeError:
        # orjson refuses lone surrogates, and no value may prevent a log line.
        return json.dumps(event_dict)
