"""One connection of the public listener that aiohttp has taken over, with the same bounds as before.

Made by `receiver.listener` when `receiver.connection` meets something that is no plain delivery.
"""

from __future__ import annotations

import asyncio
from typing import Any, Protocol, cast

from aiohttp import web
from aiohttp.http_exceptions import HttpProcessingError
from aiohttp.http_parser import HttpRequestParser
from aiohttp.web_protocol import RequestHandler

from receiver.access_log import IS_LOGGED, REASON, AiohttpLog, ProtocolLog, RequestLog
from receiver.counters import Counters
from receiver.heads import BoundedParser, HeadTooLargeError
from receiver.refusals import count_refusal, reason_of
from receiver.responses import (
    HEAD_TOO_LARGE,
    INTERNAL_ERROR,
    MALFORMED_REQUEST,
    REQUEST_TOO_SLOW,
    Response,
    last_words,
)

LINGER_SECONDS = 2.0
"""How long the rest of a refused body is read and thrown away: a sender that is still sending would miss the answer."""

_PIECE_BYTES = 4_096
"""How much the parser gets at a time: a head is measured in such pieces."""

_BODY_BUFFER_BYTES = 16_384
"""How much of a body waits to be read. It is read as it comes."""


class DelegatedOwner(Protocol):
    """What a connection that is aiohttp's needs of the listener that it belongs to."""

    counters: Counters
    log: RequestLog

    @property
    def idle_seconds(self) -> float:
        """How long a connection may stay open without a request."""
        ...

    def delegated(self, connection: DelegatedConnection) -> None:
        """A connection is aiohttp's from now on."""
        ...

    def delegated_closed(self, connection: DelegatedConnection) -> None:
        """Such a connection is closed."""
        ...


class DelegatedConnection(RequestHandler):
    """aiohttp's side of a connection.

    Attributes:
        since: when the head that is being read began, or the last request was answered, by the loop's clock.
        is_known: whether an event came by it before it was aiohttp's.
        lingering: whether it has its last answer, and what still comes is thrown away.
    """

    __slots__ = ("_answered", "_bounded", "_owner", "is_known", "lingering", "since")

    def __init__(
        self, owner: DelegatedOwner, server: web.Server, loop: asyncio.AbstractEventLoop, *, is_known: bool
    ) -> None:
        super().__init__(server, loop=loop, **_options(owner))
        self._owner = owner
        self._answered = 0
        self._bounded = BoundedParser(
            HttpRequestParser(
                self,
                loop,
                _BODY_BUFFER_BYTES,
                payload_exception=web.RequestPayloadError,
                auto_decompress=False,
                max_msg_queue_size=self._max_msg_queue_size,
            )
        )
        self._parser = cast(HttpRequestParser, self._bounded)  # all that aiohttp calls of one is there
        self.is_known = is_known
        self.lingering = False
        self.since = loop.time()

    @property
    def busy(self) -> bool:
        """Whether a request is being answered."""
        return self._request_count > self._answered

    @property
    def reading(self) -> bool:
        """Whether a head has come in part."""
        return self._bounded.head_bytes > 0 and not self.busy

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Called by the connection that hands its transport over."""
        super().connection_made(transport)
        self._owner.delegated(self)

    def connection_lost(self, exc: BaseException | None) -> None:
        """Called by the event loop."""
        self._owner.delegated_closed(self)
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Called by the event loop, and by aiohttp with nothing to go on with what it has."""
        if self.lingering:
            return
        if len(data) <= _PIECE_BYTES:
            self._take(data)
            return
        for start in range(0, len(data), _PIECE_BYTES):
            self._take(data[start : start + _PIECE_BYTES])

    def _take(self, data: bytes) -> None:
        was_reading = self._bounded.head_bytes > 0
        super().data_received(data)
        if not was_reading and self._bounded.head_bytes > 0:
            self.since = self._loop.time()
        if self._bounded.is_too_large:
            self._refuse_head()

    def _refuse_head(self) -> None:
        """Answer a head that is too large, once the requests before it have their answers."""
        if self.busy or self.lingering or self.transport is None:
            return
        self.lingering = True
        self.since = self._loop.time()
        count_refusal(self._owner.counters, reason_of(HEAD_TOO_LARGE))
        self._owner.log.malformed(HeadTooLargeError())
        last_words(self.transport, HEAD_TOO_LARGE)

    def pause_writing(self) -> None:
        """Called by the event loop. Answers are short: a peer that leaves so many of them unread wants none."""
        super().pause_writing()
        self.abort()

    def log_access(self, request: web.BaseRequest, response: web.StreamResponse, time: float | None) -> None:
        """Called by aiohttp after each answer."""
        self.since = self._loop.time()
        self._answered += 1
        super().log_access(request, response, time)
        if self._bounded.is_too_large:
            self._loop.call_soon(self._refuse_head)

    def handle_error(
        self,
        request: web.BaseRequest,
        status: int = 500,
        exc: BaseException | None = None,
        message: str | None = None,
    ) -> web.StreamResponse:
        """Answer what is no HTTP, or a fault of our own; called by aiohttp, whose words may quote the request."""
        del status, message
        if request.writer.output_size > 0:
            raise ConnectionError("a part of the answer is sent already")
        # A header that is no UTF-8 is quoted by aiohttp in an answer, which cannot hold it.
        if isinstance(exc, (HttpProcessingError, UnicodeError)):
            count_refusal(self._owner.counters, reason_of(MALFORMED_REQUEST))
            self._owner.log.malformed(exc)
            answer = for_aiohttp(MALFORMED_REQUEST)
        else:
            self._owner.log.fault(exc)
            answer = for_aiohttp(INTERNAL_ERROR)
        answer[IS_LOGGED] = True
        answer.force_close()
        return answer

    def expire(self) -> None:
        """End a connection that has been idle or reading for too long."""
        if self.reading and self.transport is not None and not self.transport.is_closing():
            count_refusal(self._owner.counters, reason_of(REQUEST_TOO_SLOW))
            self.transport.write(REQUEST_TOO_SLOW.to_bytes(close=True))
        self.force_close()

    def abort(self) -> None:
        """End the connection now."""
        if self.transport is not None:
            self.transport.abort()


def _options(owner: DelegatedOwner) -> dict[str, Any]:
    return {
        "keepalive_timeout": owner.idle_seconds,
        "lingering_time": LINGER_SECONDS,
        "logger": ProtocolLog(owner.log),
        "access_log": owner.log,
        "access_log_class": AiohttpLog,
        "read_bufsize": _BODY_BUFFER_BYTES,
        # A signature is over the raw bytes, so bodies must reach us as they were sent.
        "auto_decompress": False,
    }


def for_aiohttp(response: Response) -> web.Response:
    """An answer as aiohttp sends it."""
    headers = dict(response.headers)
    answer = web.Response(
        status=response.status,
        body=response.body or None,
        content_type="application/json" if response.content else None,
        headers=headers or None,
    )
    if response.reason:
        answer[REASON] = response.reason
    return answer
