"""What the log says about requests and connections: what came of each, and nothing that came in it.

Used by both ways through the public listener: `receiver.connection`, and aiohttp's.
"""

from __future__ import annotations

import logging

import structlog
from aiohttp import web
from aiohttp.abc import AbstractAccessLogger
from aiohttp.http_exceptions import HttpProcessingError

from receiver.verification import masked_path

logger = structlog.get_logger("receiver")


def logs_successes() -> bool:
    """Whether answers of 200 are told as well: at `debug` only."""
    return bool(logger.is_enabled_for(logging.DEBUG))


def tell_request(*, method: str, path: str, status: int, seconds: float, remote: str | None) -> None:
    """Write the line of one request, without token, query, headers or body."""
    tell = logger.debug if status < 400 else logger.info
    tell(
        "request.answered",
        method=method,
        path=masked_path(path),
        status=status,
        duration_ms=round(seconds * 1000, 2),
        remote=remote,
    )


def tell_malformed(error: BaseException) -> None:
    """Tell that what came was no request; its text is left out, because it quotes the request."""
    logger.info("request.malformed", error=type(error).__name__)


def tell_fault(fault: BaseException | None) -> None:
    """Tell of a fault of our own, with its traceback."""
    logger.error("request.failed", exc_info=fault)


class AccessLog(AbstractAccessLogger):
    """One line a request that aiohttp answers."""

    def __init__(self, access_log: logging.Logger, log_format: str) -> None:
        super().__init__(access_log, log_format)
        self._logs_successes = logs_successes()

    def log(self, request: web.BaseRequest, response: web.StreamResponse, time: float) -> None:
        """Write the line; called by aiohttp after each answer. `time` is in seconds."""
        if response.status >= 400 or self._logs_successes:
            tell_request(
                method=request.method,
                path=request.path,
                status=response.status,
                seconds=time,
                remote=request.remote,
            )


class ProtocolLog:
    """What aiohttp tells about connections, without the texts of its errors: those quote the request as it came."""

    def debug(self, _message: str, *_args: object, **_kwargs: object) -> None:
        """Leave out what is of use only to whoever works on aiohttp."""

    def exception(self, _message: str, *_args: object, exc_info: BaseException | None = None) -> None:
        """Tell that a request could not be read, or that there is a fault of our own."""
        if isinstance(exc_info, HttpProcessingError):
            tell_malformed(exc_info)
        else:
            tell_fault(exc_info)
