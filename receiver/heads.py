"""How large the head of a request may be. What a stranger sends is held in memory until its head has come whole.

`receiver.connection` applies the bound itself; `BoundedParser` applies it on connections that aiohttp has taken over.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, TypeAlias

from aiohttp.http_exceptions import BadHttpMessage, HttpProcessingError, LineTooLong
from aiohttp.http_parser import HttpRequestParser, RawRequestMessage
from aiohttp.streams import StreamReader
from aiohttp.web import RequestPayloadError

MAX_HEAD_BYTES: Final = 16_384
"""The largest head: request line, headers and the blank line. aiohttp holds each header twice beside these bytes."""

HEAD_END: Final = b"\r\n\r\n"

_FRAMING_SHARE: Final = 8
"""How many bytes of framing a byte of a body may cost. A chunk of one byte costs five."""

Messages: TypeAlias = Sequence[tuple[RawRequestMessage, StreamReader]]
Parsed: TypeAlias = tuple[Messages, bool, bytes]

_NOTHING: Final[Parsed] = ((), False, b"")


class HeadTooLargeError(BadHttpMessage):
    """The head of a request is larger than `MAX_HEAD_BYTES`."""

    def __init__(self) -> None:
        super().__init__("the head of the request is too large")


def is_head_too_large(error: HttpProcessingError) -> bool:
    """Whether the parser refused a line that is too long, or too many headers."""
    return isinstance(error, (HeadTooLargeError, LineTooLong)) or error.message.startswith("Too many headers")


class BoundedParser:
    """aiohttp's parser with a bound on each head as a whole, and on the framing and trailers of a body.

    aiohttp bounds a line and the number of headers only, which together is a megabyte. Its methods are those that
    aiohttp's protocol calls.

    Args:
        parser: aiohttp's.

    Attributes:
        head_bytes: how much has come of a head that is not whole.
        is_too_large: whether a head was too large. What comes afterwards is thrown away.
    """

    def __init__(self, parser: HttpRequestParser) -> None:
        self._parser = parser
        self._body: StreamReader | None = None
        self._framing_bytes = 0
        self._is_broken = False
        self.head_bytes = 0
        self.is_too_large = False

    def feed_data(self, data: bytes) -> Parsed:
        """Take in what has come. No upgrade is ever made, so what follows one is the next request.

        Raises:
            HttpProcessingError: it is no HTTP. What comes afterwards is thrown away.
        """
        if self._is_broken:
            return _NOTHING
        try:
            messages, upgraded, tail = self._parser.feed_data(data)
            self._account(messages, data)
        except HttpProcessingError as error:
            self._is_broken = True
            self.is_too_large = is_head_too_large(error)
            if self.is_too_large:
                return _NOTHING
            raise
        if upgraded:
            self._parser.set_upgraded(False)
            more, _, _ = self.feed_data(tail)
            return [*messages, *more], False, b""
        return messages, False, b""

    def _account(self, messages: Messages, data: bytes) -> None:
        """Count what belongs to heads. Exact for a head that comes alone; at most one piece off for one behind a body.

        Raises:
            HeadTooLargeError: it is too much.
        """
        if messages:
            if len(messages) == 1 and self._body is None:
                self._count_head(max(data.find(HEAD_END), 0))
            body = messages[-1][1]
            rest = len(data) - (data.rfind(HEAD_END) + len(HEAD_END)) - body.total_bytes
            self.head_bytes = max(rest, 0) if body.is_eof() else 0
            self._body, self._framing_bytes = (None, 0) if body.is_eof() else (body, body.total_bytes)
        elif self._body is None:
            self._count_head(len(data))
        else:
            self._count_framing(self._body, len(data))

    def _count_head(self, size_bytes: int) -> None:
        self.head_bytes += size_bytes
        if self.head_bytes > MAX_HEAD_BYTES:
            raise HeadTooLargeError

    def _count_framing(self, body: StreamReader, size_bytes: int) -> None:
        """Chunks have extensions and trailers, which are held like headers and are no part of the body."""
        self._framing_bytes += size_bytes
        if body.is_eof():
            self._body = None
        elif self._framing_bytes - body.total_bytes > MAX_HEAD_BYTES + _FRAMING_SHARE * body.total_bytes:
            self._is_broken = True
            body.set_exception(RequestPayloadError("the body has too much framing"))

    def feed_eof(self) -> RawRequestMessage | None:
        """Called by aiohttp at the end of what comes."""
        return self._parser.feed_eof()

    def pause_reading(self) -> None:
        """Called by aiohttp when a body is not read as fast as it comes."""
        self._parser.pause_reading()

    def message_consumed(self) -> None:
        """Called by aiohttp when it begins to answer a request."""
        self._parser.message_consumed()

    def set_upgraded(self, value: bool) -> None:  # noqa: FBT001 - as aiohttp has it
        """Called by aiohttp after an upgrade, which there never is."""
