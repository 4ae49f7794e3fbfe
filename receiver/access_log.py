"""What the log says about requests and connections: how each ended, and nothing of what it brought.

Used by both ways through the public listener: by `receiver.connection`, and by aiohttp for `receiver.app`.
"""

from __future__ import annotations

import logging

import structlog
from aiohttp import web
from aiohttp.abc import AbstractAccessLogger
from aiohttp.http_exceptions import HttpProcessingError

from broker.errors import BrokerUnavailableError
from receiver.errors import OverloadedError
from receiver.paths import masked_path

logger = structlog.get_logger("receiver")


def logs_successes() -> bool:
    """Whether answers of 200 are logged as well: at `debug` only."""
    return bool(logger.is_enabled_for(logging.DEBUG))


def log_request(*, method: str, path: str, status: int, seconds: float, remote: str | None) -> None:
    """Log one request, without token, query, headers or body."""
    log = logger.debug if status < 400 else logger.info
    log(
        "request.answered",
        method=method,
        path=masked_path(path),
        status=status,
        duration_ms=round(seconds * 1000, 2),
        remote=remote,
    )


def log_not_stored(outage: BrokerUnavailableError) -> None:
    """Log that neither Redis nor the spool took an event."""
    logger.warning("event.not_stored", reason=outage.reason)


def log_shed(overload: OverloadedError) -> None:
    """Log that there was no room for a request."""
    logger.warning("request.shed", reason=overload.reason)


def log_malformed(error: BaseException) -> None:
    """Log that what came is not HTTP. The error's text is left out, because it quotes the request."""
    logger.info("request.malformed", error=type(error).__name__)


def log_fault(fault: BaseException | None) -> None:
    """Log a fault of our own, with its traceback."""
    logger.error("request.failed", exc_info=fault)


class AccessLog(AbstractAccessLogger):
    """One line for each request that aiohttp answers."""

    def __init__(self, access_log: logging.Logger, log_format: str) -> None:
        super().__init__(access_log, log_format)
        self._logs_successes = logs_successes()

    def log(self, request: web.BaseRequest, response: web.StreamResponse, time: float) -> None:
        """Log a request; called by aiohttp after each answer. `time` is in seconds."""
        if response.status >= 400 or self._logs_successes:
            log_request(
                method=request.method,
                path=request.path,
                status=response.status,
                seconds=time,
                remote=request.remote,
            )


class ProtocolLog:
    """What aiohttp logs about connections, without the texts of its errors: those quote the request as it came."""

    def debug(self, _message: str, *_args: object, **_kwargs: object) -> None:
        """Leave out what is of use only to those who work on aiohttp."""

    def exception(self, _message: str, *_args: object, exc_info: BaseException | None = None) -> None:
        """Log that a request could not be read, or that there is a fault of our own."""
        if isinstance(exc_info, HttpProcessingError):
            log_malformed(exc_info)
        else:
            log_fault(exc_info)
