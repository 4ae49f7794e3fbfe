"""Every answer of the public listener: status, content and headers, side by side. Pure.

Both ways through the listener take their answers from here: `receiver.connection` writes them as bytes, `receiver.app`
gives them to aiohttp. What a refusal says is in `RefusedError`, which carries one of these.

| status | when | answer |
|---|---|---|
| 200 | the event is durable, or was before | `stored` |
| 200 | all events of an array are durable, or were before | `stored_together` |
| 200 | GET or HEAD with a good token: somebody looks whether there is a receiver | `HEALTHY` |
| 204 | OPTIONS with a good token | `METHODS` |
| 200 | `register` or `doctor` asks whether this is the receiver | `challenge_answered` |
| 200 | `GET /healthz` | `HEALTHY` |
| 400 | no HTTP, no event, or a body that breaks off | `MALFORMED_REQUEST`, `not_an_event`, `BODY_BROKEN` |
| 401 | no signature that matches, or another company's event | `bad_signature`, `OTHER_COMPANY` |
| 404 | a wrong token, path or method (PUT …): one answer for all, so that nobody learns which it was | `NOT_FOUND` |
| 408 | the request or its body takes too long | `REQUEST_TOO_SLOW`, `BODY_TOO_SLOW` |
| 413 | the body is too large, or an array too long | `body_too_large`, `too_many_events` |
| 415 | the body is not JSON, or is compressed | `NOT_JSON`, `COMPRESSED` |
| 431 | the head is too large: all of it, one line, or the number of its headers | `HEAD_TOO_LARGE` |
| 500 | a fault of the receiver's own | `INTERNAL_ERROR` |
| 503 | neither Redis nor the spool takes the event | `NOT_STORED` |
| 503 | more comes than there is room for | `OVERLOADED`, `TOO_MANY_CONNECTIONS` |
"""

from __future__ import annotations

from asyncio import WriteTransport
from collections.abc import Mapping, Sequence
from email.utils import formatdate
from functools import lru_cache
from http import HTTPStatus
from time import time
from typing import NamedTuple

import orjson

RETRY_AFTER_SECONDS = 5
"""What a 503 asks of the sender. Konvox keeps to its own backoff; others may listen."""


class Response(NamedTuple):
    """An answer. A tuple, because it takes a fraction of the time of a frozen class to make, and each event makes one.

    Attributes:
        status: the HTTP status.
        content: the JSON object of the body.
        headers: further headers, as pairs.
    """

    status: int
    content: Mapping[str, str | int | Sequence[str]]
    headers: tuple[tuple[str, str], ...] = ()

    @property
    def body(self) -> bytes:
        """The body."""
        return orjson.dumps(self.content) if self.content else b""

    @property
    def reason(self) -> str:
        """What a refusal says; empty for a success."""
        return str(self.content.get("error", ""))

    def to_bytes(self, *, close: bool = False) -> bytes:
        """Head and body as they go over the wire (HTTP/1.1); with `close` it says that the connection ends."""
        status, content, headers = self
        body = orjson.dumps(content)
        return _head(status, headers, len(body), close, int(time())) + body


def stored(event_id: str, *, accepted: bool) -> Response:
    """The event is durable: it is new (`accepted`), or it was there before."""
    return Response(200, {"status": "accepted" if accepted else "duplicate", "id": event_id})


def stored_together(event_ids: Sequence[str], accepted: Sequence[bool]) -> Response:
    """The events of an array are durable. It is a duplicate if none of them is new; the ids are in its order."""
    new = sum(accepted)
    counts = {"accepted": new, "duplicates": len(accepted) - new}
    return Response(200, {"status": "accepted" if new else "duplicate", **counts, "ids": event_ids})


def challenge_answered(answer: str) -> Response:
    """The proof that this is the receiver that was looked for, see `receiver.challenge`."""
    return Response(200, {"challenge": answer})


HEALTHY = Response(200, {"status": "ok"})
METHODS = Response(204, {}, (("Allow", "GET, HEAD, OPTIONS, POST"),))


def _refusal(status: int, reason: str) -> Response:
    return Response(status, {"error": reason})


def not_an_event(reason: str) -> Response:
    """The body is no Konvox event."""
    return _refusal(400, reason)


def bad_signature(reason: str) -> Response:
    """The signature is missing or does not match."""
    return _refusal(401, reason)


def body_too_large(limit_bytes: int) -> Response:
    """The body is larger than the account takes."""
    return _refusal(413, f"the body is larger than {limit_bytes} bytes")


def too_many_events(reason: str) -> Response:
    """An array holds more events than are written in one batch."""
    return _refusal(413, reason)


MALFORMED_REQUEST = _refusal(400, "this is no HTTP request")
BODY_BROKEN = _refusal(400, "the body did not arrive whole")
OTHER_COMPANY = _refusal(401, "the event's companyId is not one of those that are accepted here")
NOT_FOUND = _refusal(404, "not found")
REQUEST_TOO_SLOW = _refusal(408, "the request did not arrive in time")
BODY_TOO_SLOW = _refusal(408, "the body did not arrive in time")
NOT_JSON = _refusal(415, "the content type must be application/json")
COMPRESSED = _refusal(415, "the body must not be compressed (no Content-Encoding)")
HEAD_TOO_LARGE = _refusal(431, "the head of the request is too large")

INTERNAL_ERROR = Response(500, {"error": "a fault of the receiver's own"})


def _unavailable(reason: str) -> Response:
    return Response(503, {"error": reason}, (("Retry-After", str(RETRY_AFTER_SECONDS)),))


NOT_STORED = _unavailable("not stored, try again")
OVERLOADED = _unavailable("too many requests, try again")
TOO_MANY_CONNECTIONS = _unavailable("too many connections, try again")


def last_words(transport: WriteTransport, response: Response) -> None:
    """Answer, and say that no more follows; the connection stays open to throw away what still comes.

    If it were closed at once, a sender that is still sending would get a reset in place of the answer.
    """
    if transport.is_closing():
        return
    transport.write(response.to_bytes(close=True))
    try:
        transport.write_eof()
    except NotImplementedError:  # not every transport can close one direction
        transport.close()


@lru_cache(maxsize=32)  # the answers of one second have few different heads
def _head(
    status: int,
    headers: tuple[tuple[str, str], ...],
    body_bytes: int,
    close: bool,  # noqa: FBT001 - by position it is faster, and every answer passes it
    now_seconds: int,
) -> bytes:
    lines = [
        f"HTTP/1.1 {status} {HTTPStatus(status).phrase}",
        "Content-Type: application/json",
        f"Date: {formatdate(now_seconds, usegmt=True)}",
        *(["Connection: close"] if close else []),
        *(f"{name}: {value}" for name, value in headers),
        f"Content-Length: {body_bytes}",
        "",
        "",
    ]
    return "\r\n".join(lines).encode("ascii")
