"""What the log says about requests and connections: how each ended, and nothing of what it brought.

Used by both ways through the public listener: by `receiver.connection`, and by `receiver.delegated` for what aiohttp
answers. A stranger could fill a disk with lines, so of each kind the first in a second has a line of its own,
and the others are counted in one line.
"""

from __future__ import annotations

import logging
from typing import Final, cast

import structlog
from aiohttp import web
from aiohttp.abc import AbstractAccessLogger
from aiohttp.http_exceptions import HttpProcessingError

from broker.errors import BrokerUnavailableError
from konvox.schemes import HeaderValues
from receiver.errors import OverloadedError
from receiver.paths import masked_path
from receiver.peers import TrustedProxies

logger = structlog.get_logger("receiver")

REASON: Final = web.ResponseKey("reason", str)
"""Why a request was refused, kept with its answer."""

IS_LOGGED: Final = web.ResponseKey("is_logged", bool)
"""Whether an answer has its line already, kept with it."""

_MOST_KINDS: Final = 64
"""How many kinds are told apart in a second. There are fewer, unless a reason holds something of a request."""

_OTHER: Final = "other"

Kind = tuple[str, str, int]
"""Event, reason and status."""


def logs_successes() -> bool:
    """Whether answers of 200 are logged as well: at `debug` only."""
    return bool(logger.is_enabled_for(logging.DEBUG))


class RequestLog:
    """The lines of one listener.

    Args:
        proxies: those whose word about a peer counts.
    """

    def __init__(self, proxies: TrustedProxies) -> None:
        self._proxies = proxies
        self._more: dict[Kind, int] = {}

    def answered(
        self,
        *,
        method: str,
        path: str,
        status: int,
        seconds: float,
        address: str | None,
        headers: HeaderValues | None,
        reason: str = "",
    ) -> None:
        """Log one request, without token, query, headers or body.

        Args:
            method: of the request; empty, as its path, if it has not come so far.
            path: of the request.
            status: of the answer.
            seconds: how long it took.
            address: the other end of the connection.
            headers: of the request, if they have come.
            reason: why it was refused; refusals are summed up by it.
        """
        refused = status >= 400
        if refused and not self._is_first("requests.refused", reason, status):
            return
        log = logger.info if refused else logger.debug
        log(
            "request.answered",
            method=method,
            path=masked_path(path),
            status=status,
            duration_ms=round(seconds * 1000, 2),
            remote=self._proxies.peer(address, headers),
        )

    def not_stored(self, outage: BrokerUnavailableError) -> None:
        """Log that neither Redis nor the spool took an event."""
        logger.warning("event.not_stored", reason=outage.reason)

    def shed(self, overload: OverloadedError) -> None:
        """Log that there was no room for a request."""
        if self._is_first("requests.shed", overload.reason, 503):
            logger.warning("request.shed", reason=overload.reason)

    def malformed(self, error: BaseException) -> None:
        """Log that what came is not HTTP. The error's text is left out, because it quotes the request."""
        kind = type(error).__name__
        if self._is_first("requests.malformed", kind, 400):
            logger.info("request.malformed", error=kind)

    def fault(self, fault: BaseException | None) -> None:
        """Log a fault of our own, with its traceback."""
        if self._is_first("requests.failed", type(fault).__name__, 500):
            logger.error("request.failed", exc_info=fault)

    def sum_up(self) -> None:
        """Log how many more there were of each kind since the last call; called once a second."""
        counts, self._more = self._more, {}
        for (event, reason, status), count in counts.items():
            if count:
                log = logger.warning if status >= 500 else logger.info
                log(event, reason=reason, status=status, count=count)

    def _is_first(self, event: str, reason: str, status: int) -> bool:
        kind = (event, reason, status)
        if kind not in self._more and len(self._more) >= _MOST_KINDS:
            kind = (event, _OTHER, status)
        count = self._more.get(kind)
        self._more[kind] = 0 if count is None else count + 1
        return count is None


class AiohttpLog(AbstractAccessLogger):
    """A line for each request that aiohttp answers, in the log of the listener that it is made with."""

    def __init__(self, access_log: logging.Logger, log_format: str) -> None:
        super().__init__(access_log, log_format)
        self._log = cast(RequestLog, access_log)  # `receiver.delegated` gives aiohttp this one to hand on
        self._logs_successes = logs_successes()

    def log(self, request: web.BaseRequest, response: web.StreamResponse, time: float) -> None:
        """Log a request; called by aiohttp after each answer. `time` is in seconds."""
        if response.get(IS_LOGGED) or (response.status < 400 and not self._logs_successes):
            return
        self._log.answered(
            method=request.method,
            path=request.path,
            status=response.status,
            seconds=time,
            address=request.remote,
            headers=request.headers,
            reason=response.get(REASON, ""),
        )


class ProtocolLog:
    """What aiohttp logs about connections, without the texts of its errors: those quote the request as it came.

    Args:
        log: of the listener.
    """

    def __init__(self, log: RequestLog) -> None:
        self._log = log

    def debug(self, _message: str, *_args: object, **_kwargs: object) -> None:
        """Leave out what is of use only to those who work on aiohttp."""

    def exception(self, _message: str, *_args: object, exc_info: BaseException | None = None) -> None:
        """Log that a request could not be read to its end, or that there is a fault of our own."""
        if isinstance(exc_info, (HttpProcessingError, web.RequestPayloadError, ConnectionError)):
            self._log.malformed(exc_info)
        else:
            self._log.fault(exc_info)
